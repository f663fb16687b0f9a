"""From matplotlib's SVG to a drawing that can stand inside a page.

Ink becomes ``currentColor`` and series colours become CSS variables with a fallback, so light, dark and
print all work; identifiers are prefixed, so drawings inlined in one page do not capture each other's; text
stays text.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

from overt.studies.report.palette import COLOURS, INK, PAPER

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_DROPPED = {"metadata", "style"}
_VARIABLE = re.compile(r"var\(--[a-z-]+, (#[0-9a-f]{3,6})\)")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_POWER = re.compile("(.*10)([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_PLAIN = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "−0123456789")
_NUMBER = re.compile(r"-?\d+\.\d{3,}")


def embed(raw: str, *, prefix: str, title: str, description: str) -> str:
    """Turn the text that matplotlib wrote into one compact, accessible, themeable ``<svg>`` element.

    Parameters
    ----------
    raw : str
        SVG document.
    prefix : str
        Put before every identifier.
    title, description : str
        Become ``<title>`` and ``<desc>``: what a screen reader says.

    Returns
    -------
    str
        The element, without prolog and doctype.
    """
    root = ElementTree.fromstring(raw)
    _plain_names(root)
    _drop(root)
    used = _referenced(root)
    for element in root.iter():
        _rewrite(element, prefix, used)
    _unwrap(root)
    for element in root.iter("text"):
        _raise_exponents(element)
    _label(root, prefix, title, description)
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def numbered(svg: str, prefix: str) -> str:
    """Rename all identifiers to ``<prefix>-1``, ``-2``, …, so that drawings can stand in one document."""
    root = ElementTree.fromstring(svg)
    _plain_names(root)
    found = dict.fromkeys(element.attrib["id"] for element in root.iter() if "id" in element.attrib)
    names = {old: f"{prefix}-{number}" for number, old in enumerate(found, start=1)}
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.attrib[key] = names[value]
            elif key in ("xlink:href", "href") and value.startswith("#"):
                element.attrib[key] = "#" + names.get(value[1:], value[1:])
            elif key in ("aria-labelledby", "aria-describedby"):
                element.attrib[key] = " ".join(names.get(name, name) for name in value.split())
            elif "url(#" in value:
                element.attrib[key] = _REFERENCE.sub(lambda m: f"url(#{names.get(m[1], m[1])})", value)
    root.attrib.update({"xmlns": _SVG, "xmlns:xlink": _XLINK})
    return ElementTree.tostring(root, encoding="unicode")


def size(svg: str) -> tuple[float, float]:
    """Return (width, height) of the drawing's view box."""
    box = ElementTree.fromstring(svg).attrib.get("viewBox", "").split()
    if len(box) != 4:
        raise ValueError("svg must have a viewBox with four numbers")
    return float(box[2]), float(box[3])


def standalone(panels: Sequence[str]) -> str:
    """Join panels side by side into one SVG document that needs no page: all colours become plain ones."""
    sizes = [size(panel) for panel in panels]
    gap = 16.0
    width = sum(w for w, _ in sizes) + gap * (len(sizes) - 1)
    height = max(h for _, h in sizes)
    body: list[str] = []
    x = 0.0
    for panel, (w, h) in zip(panels, sizes, strict=True):
        named = numbered(panel, f"panel{len(body)}")
        body.append(re.sub(r"^<svg ", f'<svg x="{x:g}" y="0" width="{w:g}" height="{h:g}" ', named))
        x += w + gap
    drawing = panels[0] if len(panels) == 1 else "".join(body)
    if len(panels) > 1:
        drawing = f'<svg xmlns="{_SVG}" viewBox="0 0 {width:g} {height:g}">{drawing}</svg>'
    drawing = re.sub(r"^<svg ", f'<svg width="{width:g}pt" height="{height:g}pt" ', drawing)
    drawing = _VARIABLE.sub(r"\1", drawing).replace("currentColor", "#1a1a1a")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{drawing}\n'


def _plain_names(root: ElementTree.Element) -> None:
    """Write names without namespace braces; the two declarations go on the root."""
    for element in root.iter():
        element.tag = element.tag.replace(f"{{{_SVG}}}", "")
        for key in [key for key in element.attrib if key.startswith("{")]:
            value = element.attrib.pop(key)
            if key == f"{{{_XLINK}}}href":
                element.attrib["xlink:href"] = value


def _drop(root: ElementTree.Element) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in _DROPPED or (child.tag == "defs" and all(c.tag in _DROPPED for c in child)):
                parent.remove(child)
        if parent.tag not in ("text", "tspan"):
            parent.text = None
        for child in parent:
            child.tail = None


def _referenced(root: ElementTree.Element) -> set[str]:
    found: set[str] = set()
    for element in root.iter():
        for key, value in element.attrib.items():
            found.update(_REFERENCE.findall(value))
            if key == "xlink:href" and value.startswith("#"):
                found.add(value[1:])
    return found


def _rewrite(element: ElementTree.Element, prefix: str, used: set[str]) -> None:
    attributes = element.attrib
    identifier = attributes.pop("id", None)
    if identifier in used:
        attributes["id"] = f"{prefix}-{identifier}"
    for key, value in list(attributes.items()):
        if key == "xlink:href" and value.startswith("#"):
            attributes[key] = f"#{prefix}-{value[1:]}"
        elif key in ("style", "fill", "stroke", "clip-path"):
            attributes[key] = _REFERENCE.sub(rf"url(#{prefix}-\1)", _theme(value))
        elif key in ("d", "x", "y", "width", "height", "transform"):
            attributes[key] = _NUMBER.sub(
                lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), value
            )
        if key == "d":
            attributes[key] = " ".join(attributes[key].split())
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]


def _raise_exponents(element: ElementTree.Element) -> None:
    """Raise the exponent of ``10⁻³`` properly: superscript characters are too small to read in many fonts."""
    found = _POWER.fullmatch(element.text or "")
    if found is not None:
        element.text = found[1]
        exponent = ElementTree.SubElement(element, "tspan", {"dy": "-3.6", "style": "font-size: 78%"})
        exponent.text = found[2].translate(_PLAIN)


def _unwrap(parent: ElementTree.Element) -> None:
    """Replace groups without attributes by their children."""
    children: list[ElementTree.Element] = []
    for child in parent:
        _unwrap(child)
        children.extend(child if child.tag == "g" and not child.attrib else [child])
    parent[:] = children


def _theme(style: str) -> str:
    style = style.replace(INK, "currentColor").replace(PAPER, "var(--paper, #ffffff)")
    for name, colour in COLOURS.items():
        if name != "ink":
            style = style.replace(colour, f"var(--{name}, {colour})")
    style = re.sub(r" *font-family: 'DejaVu Sans'[^;]*;?", "", style)  # the root says it once
    return re.sub(r"'DejaVu Sans'[^;]*", _FONT, style)  # matplotlib before 3.10 writes the `font` shorthand


def _label(root: ElementTree.Element, prefix: str, title: str, description: str) -> None:
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib.update(
        {
            "xmlns": _SVG,
            "xmlns:xlink": _XLINK,
            "role": "img",
            "aria-labelledby": f"{prefix}-title {prefix}-desc",
            "style": f"stroke-linejoin: round; stroke-linecap: butt; font-family: {_FONT}",
        }
    )
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(tag, {"id": f"{prefix}-{tag}"})
        element.text = text
        root.insert(position, element)

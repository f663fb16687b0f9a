"""One look per method: colour, marker and dash, the same in every figure.

Colours are those of Okabe and Ito (2008, "Color Universal Design"), told apart by people with any common
colour vision. Colour is never the only cue: marker and dash differ as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

INK = "#010203"  # stands for the page's text colour; drawings are written with currentColor in its place
PAPER = "#fdfeff"  # stands for the page's background

COLOURS: dict[str, str] = {
    "blue": "#0072b2",
    "vermillion": "#d55e00",
    "green": "#009e73",
    "purple": "#cc79a7",
    "orange": "#e69f00",
    "sky": "#56b4e9",
    "ink": INK,
}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
_DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2), (3, 1.5), (8, 2))


@dataclass(frozen=True)
class Style:
    """How one method is drawn: a name in ``COLOURS``, a matplotlib marker, a dash pattern (empty: solid)."""

    colour: str
    marker: str
    dashes: tuple[float, ...] = ()

    @property
    def hex(self) -> str:
        """The colour as ``#rrggbb``."""
        return COLOURS[self.colour]


_KNOWN: dict[str, Style] = {
    "explicit": Style("vermillion", "o"),
    "depth 1": Style("ink", "X", (1.5, 1.5)),
    "depth 2": Style("sky", "v", (5, 2)),
    "depth 3": Style("blue", "s"),
    "depth 4": Style("green", "D", (6, 2, 1.5, 2)),
    "depth 5": Style("orange", "p", (3, 1.5)),
    "nuclear norm": Style("purple", "^", (5, 2)),
    "softimpute": Style("orange", "P", (3, 1.5)),
    "irls": Style("ink", "h"),
    "adam": Style("vermillion", "o"),
    "gd": Style("ink", "X", (1.5, 1.5)),
    "momentum": Style("sky", "v", (5, 2)),
    "rmsprop": Style("blue", "s"),
    "muon": Style("green", "D", (6, 2, 1.5, 2)),
    "grouprmsprop": Style("purple", "^", (5, 2)),
    "amsgrad": Style("orange", "P", (3, 1.5)),
}
_ALIASES = {
    "explicit (depth 1)": "explicit",
    "explicit, depth 1": "explicit",
    "depth 1, explicit": "explicit",
    "depth 1 explicit": "explicit",
    "normalized nuclear norm": "explicit",
    "minimum nuclear norm": "nuclear norm",
    "nuclear-norm minimization": "nuclear norm",
    "soft impute": "softimpute",
    "depth 1, implicit": "depth 1",
    "depth 2, implicit": "depth 2",
    "depth 3, implicit": "depth 3",
    "depth 4, implicit": "depth 4",
    "depth 3 implicit": "depth 3",
    "depth 4 implicit": "depth 4",
    "sgd": "gd",
}


def method_styles(names: Iterable[str]) -> dict[str, Style]:
    """Return a style for each name.

    Methods that the studies know (depths, the explicit penalty, baselines, optimizers) always look the
    same. Any other name takes the next colour and marker that no name before it in this figure has taken.

    Examples
    --------
    >>> method_styles(["Depth 3", "mine"])["Depth 3"].colour
    'blue'
    """
    ordered = list(dict.fromkeys(names))
    styles: dict[str, Style] = {}
    for name in ordered:
        key = name.strip().lower()
        known = _KNOWN.get(_ALIASES.get(key, key))
        if known is not None and known not in styles.values():
            styles[name] = known
    for name in ordered:
        if name not in styles:
            styles[name] = _next_free(styles)
    return {name: styles[name] for name in ordered}


def _next_free(styles: dict[str, Style]) -> Style:
    colours, used = list(COLOURS), [style.colour for style in styles.values()]
    markers = [style.marker for style in styles.values()]
    colour = min(colours, key=lambda name: (used.count(name), colours.index(name)))
    marker = min(_MARKERS, key=lambda mark: (markers.count(mark), _MARKERS.index(mark)))
    return Style(colour, marker, _DASHES[len(styles) % len(_DASHES)])

"""What a study hands to its report: figures, tables, pictures, and the numbers behind them.

Everything here is plain data. A :class:`Figure` holds drawings that are already made (SVG text, PNG bytes),
so that the report needs no plotting library and two reports of the same records are the same bytes.
"""

from __future__ import annotations

import csv
import io
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from overt._utils.checks import is_integer, is_number, message

Cell: TypeAlias = str | int | float | bool | None

_IDENTIFIER = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ACTIVE_ELEMENTS = {
    "animate",
    "embed",
    "foreignobject",
    "handler",
    "iframe",
    "object",
    "script",
    "set",
    "style",
}
_OUTSIDE = re.compile(r"url\(\s*[\"']?(?!#)|@import", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """A table of text and numbers.

    Parameters
    ----------
    columns : sequence of str
        Header of each column.
    rows : sequence of sequences
        Cells: text, numbers, truth values, or None for "nothing here". Each row is as long as ``columns``.
    caption : str
        One line above the table.

    Raises
    ------
    ValueError
        If a row is not as long as the header.
    TypeError
        If a cell is something else.

    Examples
    --------
    >>> Table(("optimizer", "error"), [("adam", 2e-7), ("gd", None)]).rows[1]
    ('gd', None)
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "rows", tuple(tuple(row) for row in self.rows))
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"rows[{number}] has {len(row)} cells for {len(self.columns)} columns {self.columns}"
                )
            for cell in row:
                if cell is not None and not isinstance(cell, str | int | float | np.generic):
                    raise TypeError(message(f"a cell of rows[{number}]", "text, a number or None", cell))

    @classmethod
    def from_records(cls, records: Sequence[Mapping[str, Cell]], caption: str = "") -> Table:
        """Build a table whose columns are the records' keys, in the order in which they first appear."""
        columns = tuple(dict.fromkeys(key for record in records for key in record))
        return cls(columns, [tuple(record.get(column) for column in columns) for record in records], caption)

    def to_csv(self) -> str:
        """Return the table as CSV text: RFC 4180 quoting, ``\\n`` line ends, floats to full precision."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(["" if cell is None else cell for cell in row] for row in self.rows)
        return buffer.getvalue()


@dataclass(frozen=True)
class Figure:
    """One numbered figure of a report.

    Parameters
    ----------
    id : str
        Lower-case words joined by hyphens, unique within a study; names the files ``figures/<id>.svg`` and
        ``.csv``.
    title : str
        What the figure shows, in one line.
    caption : str
        How to read it: axes, settings, number of seeds, what an interval means.
    svg : str or sequence of str, optional
        A drawing, or several that belong side by side (they stack where the page is narrow).
    table : Table, optional
        A table that is shown whole.
    images : sequence of (caption, PNG bytes)
        Pictures, shown as a grid; see :func:`encode_png`.
    data : sequence of mappings
        The numbers that are drawn, one mapping per row; written as CSV. Where it is empty, ``table`` is
        written.
    claim : str
        The claim that it belongs to, beside which a report shows it; empty for none.

    Raises
    ------
    ValueError
        If the identifier is malformed, a drawing is not passive SVG, or a picture is not PNG.
    """

    id: str
    title: str
    caption: str = ""
    svg: str | Sequence[str] | None = None
    table: Table | None = None
    images: Sequence[tuple[str, bytes]] = ()
    data: Sequence[Mapping[str, Cell]] = field(default_factory=tuple)
    claim: str = ""

    def __post_init__(self) -> None:
        if not _IDENTIFIER.fullmatch(self.id):
            raise ValueError(
                f"id must be lower-case words joined by hyphens, such as 'error-by-depth', got {self.id!r}"
            )
        panels = () if self.svg is None else (self.svg,) if isinstance(self.svg, str) else tuple(self.svg)
        for panel in panels:
            refuse_active_svg(panel)
        images = tuple((str(caption), bytes(png)) for caption, png in self.images)
        for caption, png in images:
            png_size(png, name=f"the picture {caption!r}")
        object.__setattr__(self, "svg", panels or None)
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "data", tuple(dict(row) for row in self.data))

    @property
    def panels(self) -> tuple[str, ...]:
        """The drawings, as a tuple; empty where there is none."""
        return tuple(self.svg or ())

    @property
    def pictured(self) -> bool:
        """Whether there is anything to look at but a table."""
        return bool(self.panels or self.images)

    @property
    def data_table(self) -> Table | None:
        """The numbers behind the figure: ``data`` where given, else ``table``."""
        return Table.from_records(self.data) if self.data else self.table


def refuse_active_svg(svg: str) -> None:
    """Raise ValueError unless ``svg`` is well-formed SVG that runs nothing and fetches nothing."""
    if "<!doctype" in svg.lower():  # a drawing needs none, and entities can grow without bound
        raise ValueError("svg must not hold a document type; pass the <svg> element alone")
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ValueError(
            f"svg is not well-formed XML: {error}; pass the text that a chart function returned"
        ) from None
    if _local_name(root.tag) != "svg":
        raise ValueError(f"svg must have <svg> as its root, got <{_local_name(root.tag)}>")
    for element in root.iter():
        if _local_name(element.tag) in _ACTIVE_ELEMENTS:
            raise ValueError(f"svg must be a passive drawing, but it holds <{_local_name(element.tag)}>")
        for key, value in element.attrib.items():
            name, target = _local_name(key), value.strip().lower()
            if name.startswith("on"):
                raise ValueError(f"svg must be a passive drawing, but it holds the event handler {name!r}")
            link = name in ("href", "src") and not target.startswith(("#", "data:image/"))
            if link or _OUTSIDE.search(value):
                raise ValueError(f"svg must not refer to anything outside itself, but it refers to {value!r}")


def _local_name(tag: object) -> str:
    return str(tag).rpartition("}")[2].lower()


def encode_png(image: ArrayLike) -> bytes:
    """Encode a picture with values in [0, 1] as PNG.

    Parameters
    ----------
    image : array_like, shape (height, width) or (height, width, 3)
        Grey or RGB. Values outside [0, 1] are clipped; NaN (a removed pixel) becomes mid-grey.

    Returns
    -------
    bytes
        An 8-bit PNG without any metadata: the same array gives the same bytes.

    Raises
    ------
    ValueError
        If the array has another shape or holds no pixels.

    Examples
    --------
    >>> png_size(encode_png([[0.0, 0.5, 1.0]]))
    (3, 1)
    """
    from PIL import Image

    pixels = np.asarray(image, dtype=np.float64)
    if pixels.size == 0 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise ValueError(f"image must have shape (height, width) or (height, width, 3), got {pixels.shape}")
    pixels = np.clip(np.nan_to_num(pixels, nan=0.5, posinf=1.0, neginf=0.0), 0.0, 1.0)
    buffer = io.BytesIO()
    Image.fromarray(np.rint(pixels * 255.0).astype(np.uint8)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def png_size(png: bytes, *, name: str = "png") -> tuple[int, int]:
    """Return (width, height) in pixels, read from the header; ValueError where it is not PNG."""
    if not png.startswith(_PNG_SIGNATURE) or len(png) < 24:
        raise ValueError(f"{name} is not a PNG file; encode arrays with encode_png")
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def format_number(value: Any, digits: int = 3) -> str:
    """Write a number for reading: ``0.0123``, ``1.23e−7``, ``12 000``; text is returned as it is.

    Examples
    --------
    >>> format_number(15000), format_number(0.02571), format_number(1.234e-7), format_number(None)
    ('15\\u202f000', '0.0257', '1.23e−7', '–')
    """
    if value is None:
        return "–"
    if is_integer(value):
        return f"{int(value):,}".replace(",", "\u202f").replace("-", "−")
    if is_number(value):
        return _format_float(float(value), digits)
    if np.asarray(value).dtype == np.bool_:
        return "yes" if value else "no"
    return str(value)


def _format_float(value: float, digits: int) -> str:
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    exponent = int(f"{value:.{digits - 1}e}".split("e")[1])  # of the rounded number: 0.9996 reads 1.00
    for figures in range(1, digits + 1):  # short decimals, such as a learning rate, are written short
        text = f"{value:.{figures - 1}e}"
        if float(text) == value:
            digits = figures
            break
    if exponent < -2 or exponent >= 6:
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(power)}".replace("-", "−")
    text = f"{value:,.{max(0, digits - 1 - exponent)}f}"
    return text.replace(",", "\u202f").replace("-", "−")

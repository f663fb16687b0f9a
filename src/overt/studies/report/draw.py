"""Draw the figures of a study one by one, so that one that fails leaves the others standing."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from overt.studies.report.figures import Figure

if TYPE_CHECKING:
    from overt.studies.base import Run

    Maker = Callable[[Sequence[Run]], Figure | Sequence[Figure] | None]

__all__ = ["Undrawn", "draw", "fault"]


class Undrawn(Exception):  # noqa: N818  (what it says is that some figures are missing)
    """Some figures of a study failed; the report shows the others and says so.

    Parameters
    ----------
    figures : sequence of Figure
        Those that were drawn.
    faults : sequence of str
        One line for each that was not.
    """

    def __init__(self, figures: Sequence[Figure], faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.figures = list(figures)
        self.faults = list(faults)


def draw(makers: Sequence[Maker], runs: Sequence[Run]) -> list[Figure]:
    """Return what each maker draws of the runs: a figure, several, or none (None).

    Raises
    ------
    Undrawn
        If a maker fails, or some figures of one that makes several. All others have been called; what they
        drew is in the exception, from which a report takes it.

    Examples
    --------
    >>> from overt.studies.report.figures import Figure
    >>> [figure.id for figure in draw([lambda runs: Figure("one", "One"), lambda runs: None], [])]
    ['one']
    """
    figures: list[Figure] = []
    faults: list[str] = []
    cause: Exception | None = None
    for maker in makers:
        try:
            drawn = maker(runs)
        except Undrawn as part:
            cause = cause or part
            figures += part.figures
            faults += part.faults
        except Exception as error:
            cause = cause or error
            name = getattr(getattr(maker, "func", maker), "__name__", "a figure")  # func: of a partial
            faults.append(f"{name}: {fault(error)}")
        else:
            figures += [] if drawn is None else [drawn] if isinstance(drawn, Figure) else drawn
    if faults:
        raise Undrawn(figures, faults) from cause
    return figures


def fault(error: BaseException) -> str:
    """Say in one line what an exception is and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"

"""Pictures of a feature machine. Matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overt._utils.checks import check_choice, check_integer
from overt.features.members import Path

__all__ = ["draw"]


def draw(
    path: Path, importances: NDArray[np.float64], names: Sequence[str], ax: Any, kind: str, most: int
) -> Any:
    """Draw and return the axes; see :meth:`overt.RFMRegressor.plot`."""
    check_choice(kind, "kind", ("importances", "path"))
    most = check_integer(most, "most", least=1)
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.subplots()[1]
    if kind == "path":
        _errors(path, ax)
    else:
        _bars(importances, names, ax, most)
    return ax


def _bars(importances: NDArray[np.float64], names: Sequence[str], ax: Any, most: int) -> None:
    order = np.argsort(-importances, kind="stable")[:most][::-1]
    ax.barh([str(names[i]) for i in order], importances[order])
    ax.set(xlabel="share of the gradient")


def _errors(path: Path, ax: Any) -> None:
    start = {m.kernel: m for m in path if m.round == 0}
    for chain in dict.fromkeys(m.chain for m in path if m.round and m.basis != "screen"):
        members = [start[chain[0]], *(m for m in path if m.chain == chain)]  # type: ignore[index]
        ax.plot([m.round for m in members], [m.error for m in members], ".-", label=f"{chain[0]}, {chain[1]}")
    chosen = [m for m in path if m.weight > 0]
    sizes = [200 * m.weight for m in chosen]
    xs, ys = [m.round for m in chosen], [m.error for m in chosen]
    ax.scatter(xs, ys, s=sizes, facecolors="none", edgecolors="black", label="weight in the stack")
    ax.set(xlabel="round", ylabel="out-of-fold error (share of the variance)", yscale="log")
    ax.legend()

"""Pictures of feature machines and reweighted learners. Matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overt._utils.checks import check_choice, check_integer
from overt.features.members import Path

__all__ = ["draw_machine", "draw_reweighted"]


def draw_machine(
    path: Path, importances: NDArray[np.float64], names: Sequence[str], ax: Any, kind: str, most: int
) -> Any:
    """Draw and return the axes; see :meth:`overt.RFMRegressor.plot`."""
    most, ax = _axes(ax, kind, most)
    if kind == "path":
        _errors(path, ax)
    else:
        _bars(importances, names, ax, most)
    return ax


def draw_reweighted(
    path: Sequence[Any],
    chosen: Any,
    importances: NDArray[np.float64],
    names: Sequence[str] | None,
    ax: Any,
    kind: str,
    most: int,
) -> Any:
    """Draw and return the axes; see :meth:`overt.features.Reweighted.plot`.

    ``path`` and ``chosen`` are rounds, and ``importances`` has the shape of what has weights.
    """
    most, ax = _axes(ax, kind, most)
    if kind == "path":
        _rounds(path, chosen, ax)
    elif importances.ndim > 1:
        picture = importances.reshape(-1, *importances.shape[-2:]).sum(0)
        ax.figure.colorbar(ax.imshow(picture, cmap="viridis"), ax=ax, label="share of the gradient")
        ax.set(xlabel="column", ylabel="row")
    else:
        labels = [f"x{i}" for i in range(len(importances))] if names is None else names
        _bars(importances, labels, ax, most)
    return ax


def _axes(ax: Any, kind: str, most: int) -> tuple[int, Any]:
    check_choice(kind, "kind", ("importances", "path"))
    most = check_integer(most, "most", least=1)
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.subplots()[1]
    return most, ax


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


def _rounds(path: Sequence[Any], chosen: Any, ax: Any) -> None:
    first, *later = path
    for basis, alpha in dict.fromkeys((one.basis, one.alpha) for one in later):
        rounds = [one for one in later if (one.basis, one.alpha) == (basis, alpha)]
        ax.errorbar(
            [0, *(one.round for one in rounds)],
            [first.validation_error, *(one.validation_error for one in rounds)],
            [0.0, *(one.stderr for one in rounds)],
            fmt=".-",
            capsize=2,
            elinewidth=0.7,
            label=f"{basis}, α = {alpha:g}",
        )
    ax.axhline(first.validation_error, color="gray", lw=1, ls=":", label="plain")
    ax.scatter(
        [chosen.round],
        [chosen.validation_error],
        s=150,
        facecolors="none",
        edgecolors="black",
        label="chosen",
        zorder=3,
    )
    ax.set(xlabel="round", ylabel="validation error (± standard error of the gain)")
    ax.set_xticks(range(1 + max((one.round for one in path), default=0)))
    ax.legend()

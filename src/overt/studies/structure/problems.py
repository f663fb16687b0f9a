"""The problems by name, and the rows that a network is trained on, chosen by and tested on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from overt.problems import StructuredProblem

__all__ = [
    "AXES",
    "CONTROLS",
    "PROBLEMS",
    "RIGHT",
    "ROTATED",
    "STRUCTURED",
    "WORDS",
    "Name",
    "Rows",
    "instance",
    "rows",
    "test_error",
]

Name = Literal["staircase", "parity", "digits", "multi-index", "additive", "rotated additive"]
SHARE = 0.2  # of the training rows, by which settings are chosen


@dataclass(frozen=True)
class Kind:
    """A problem: its generator in `overt.problems`, its usual sizes, and whether its directions are axes."""

    generator: str
    sizes: Mapping[str, Any]
    rotated: bool = False
    control: bool = False
    label: str = ""


PROBLEMS: dict[str, Kind] = {
    "staircase": Kind("staircase", {"dim": 50, "n_samples": 500}, label="staircase, 3 of 50 inputs"),
    "parity": Kind("parity", {"dim": 20, "n_samples": 500}, label="parity of 3 of 20"),
    "digits": Kind("noisy_digits", {"irrelevant": 200, "n_samples": 100}, label="digits, 200 noise columns"),
    "multi-index": Kind(
        "multi_index", {"dim": 60, "n_samples": 1000, "rotated": True}, True, label="rotated, rank 3 of 60"
    ),
    "additive": Kind(
        "additive", {"dim": 50, "n_samples": 500}, control=True, label="control: all inputs matter"
    ),
    "rotated additive": Kind(
        "additive",
        {"dim": 50, "n_samples": 500, "rotated": True},
        True,
        True,
        "control: all inputs matter, rotated",
    ),
}
WORDS = {name: kind.label for name, kind in PROBLEMS.items()}
AXES = tuple(name for name, kind in PROBLEMS.items() if not kind.rotated and not kind.control)
ROTATED = tuple(name for name, kind in PROBLEMS.items() if kind.rotated and not kind.control)
STRUCTURED = (*AXES, *ROTATED)
CONTROLS = tuple(name for name, kind in PROBLEMS.items() if kind.control)
RIGHT = {name: "eigen" if kind.rotated else "identity" for name, kind in PROBLEMS.items()}
"""The basis in which the directions that matter are few."""


def instance(name: str, seed: int, **sizes: Any) -> StructuredProblem:
    """One instance in single precision; ``sizes`` replace the usual ones where they are not None."""
    from overt import problems

    kind = PROBLEMS[name]
    given = {key: value for key, value in sizes.items() if value is not None}
    make: Callable[..., StructuredProblem] = getattr(problems, kind.generator)
    return make(**{**kind.sizes, **given}, seed=seed, dtype=torch.float32)


@dataclass(frozen=True)
class Rows:
    """Inputs (n, d) and targets (n, k): a number, or ±1 for each class."""

    X: Tensor
    Y: Tensor

    def __len__(self) -> int:
        return len(self.X)


def rows(problem: StructuredProblem) -> tuple[Rows, Rows, Rows]:
    """All training rows; those to learn from, which are the first; and the others, to choose by."""
    Y = problem.y[:, None]
    if problem.classes:
        Y = 2 * torch.nn.functional.one_hot(problem.y, problem.classes).to(problem.X.dtype) - 1
    n = len(Y) - round(SHARE * len(Y))
    return Rows(problem.X, Y), Rows(problem.X[:n], Y[:n]), Rows(problem.X[n:], Y[n:])


def test_error(outputs: Tensor, problem: StructuredProblem) -> float:
    """Mean squared error on the test rows, of variance about 1; or the share of wrong classes.

    Parameters
    ----------
    outputs : Tensor
        Shape (n_test, k).
    """
    if problem.classes:
        return float((outputs.argmax(1) != problem.y_test).double().mean())
    return float((outputs[:, 0] - problem.y_test).double().square().mean())

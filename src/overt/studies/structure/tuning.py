"""A method tuned on validation rows and tested once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from overt import measure
from overt.studies.structure.methods import METHODS
from overt.studies.structure.networks import Recipe, Trained, outputs_of, train, tuned
from overt.studies.structure.problems import rows, test_error

if TYPE_CHECKING:
    from overt.problems import StructuredProblem

__all__ = ["chosen", "record_of", "refitted"]


def chosen(
    problem: StructuredProblem, method: str, recipe: Recipe, knob: Sequence[float] = ()
) -> list[Trained]:
    """All settings of a method, the one that validation chose first."""
    _, learn, choose = rows(problem)
    return tuned(method, learn, choose, recipe, knob)


def record_of(
    problem: StructuredProblem, method: str, recipe: Recipe, knob: Sequence[float] = ()
) -> dict[str, Any]:
    """The record of a method: the error of the chosen network, its effective rank, and all settings."""
    found = chosen(problem, method, recipe, knob)
    best = found[0]
    record: dict[str, Any] = {
        "status": "trained" if best.state else "diverged",
        "error": None,
        "effective_rank": None,
        "chosen": best.setting,
        "steps": recipe.max_steps,
        "trials": [one.row for one in found],
    }
    if best.state:
        record["error"] = test_error(outputs_of(best.model, problem.X_test), problem)
        record["effective_rank"] = float(measure(best.model, problem.X).effective_rank)
    return record


def refitted(problem: StructuredProblem, method: str, recipe: Recipe) -> tuple[Trained, dict[str, Any]]:
    """The chosen setting trained once more on all rows, for as many steps as validation chose."""
    found = chosen(problem, method, recipe)
    best, everything = found[0], rows(problem)[0]
    again = train(METHODS[method], best.setting, everything, None, recipe, best.step)
    return again, {"chosen": best.setting, "trials": [one.row for one in found]}

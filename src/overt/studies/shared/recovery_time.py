"""Seconds until a training recovers the truth, with the common refit tried on the way."""

from __future__ import annotations

import time
from typing import Any

from overt.studies.base import RunContext
from overt.studies.claims.vocabulary import RECOVERED
from overt.studies.shared.completion_runs import Arm, Problem, model_of, penalty_of
from overt.studies.shared.recovery import refit_record
from overt.training import Recording, State, Stopping, TrainResult, train

__all__ = ["time_to_recovery"]

FIRST, SPACING = 100, 1.25  # the first refit, and the factor between the steps of two


def time_to_recovery(problem: Problem, arm: Arm, context: RunContext) -> tuple[TrainResult, dict[str, Any]]:
    """Train with a refit at log-spaced steps until one recovers the matrix; all of it takes time.

    Returns
    -------
    result, record : TrainResult, dict
        ``record`` is the last refit's (`refit_record`), how training ended, its ``seconds``, and
        ``seconds_to_recovery``: these where the matrix was recovered, else None.
    """
    following, found = FIRST, dict[str, Any]()

    def look(state: State) -> bool:
        nonlocal following
        if state.step < following:
            return False
        following = round(state.step * SPACING)
        found.update(refit_record(state.W, problem))
        return bool(found["error"] <= RECOVERED)

    context.progress(f"depth {arm.depth}, weight {arm.weight:g}, {arm.optimizer}, lr {arm.lr:g}")
    model = model_of(problem, arm)
    start = time.perf_counter()
    result = train(
        model,
        problem,
        optimizer=arm.optimizer,
        lr=arm.lr,
        penalty=penalty_of(model, problem, arm),
        max_steps=arm.max_steps,
        tolerance=1e-14,
        stopping=Stopping(stall_steps=arm.max_steps),
        recording=Recording(per_decade=1, check_every=10, error_targets=()),
        callback=look,
    )
    seconds = time.perf_counter() - start
    if not found:
        found.update(refit_record(result.W, problem))
    good = found["error"] <= RECOVERED
    ended = {"status": result.status, "steps": result.steps, "seconds": seconds}
    return result, found | ended | {"seconds_to_recovery": seconds if good else None}

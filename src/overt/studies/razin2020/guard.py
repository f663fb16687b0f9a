"""What runs must have ended for each claim, and the settings that R5 and R6 are judged at."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from overt.studies.base import Run
from overt.studies.claims.evidence import number, select, usual
from overt.studies.claims.rule import Guard, ended
from overt.studies.razin2020.claims import GROUPS

__all__ = ["GUARDED", "JUDGED", "REACHED", "SCALE", "guard", "judged_count", "told_apart_at"]

JUDGED = {3: 300, 4: 1000}  # number of observations of the tensors that R5 is judged at
TOLD_APART = 160  # number of observations that R6 is judged at
SCALE = 1e-4  # of the initialization of R5's tensors
REACHED = 1e-6  # loss of a flow
# Relative losses: residuals of 1 % (R5, errors of 5 %) and 0.1 % (R6, values to 1 %).
FIT, CLOSE_FIT = 1e-4, 1e-6
GUARDED = {
    "R1": f"ended above a loss of {REACHED:g}",
    "R2": f"ended above a loss of {REACHED:g}",
    "R3": f"ended above a loss of {REACHED:g}",
    "R5": f"ended before they fitted the data (relative loss above {FIT:g})",
    "R6": f"ended before they fitted the data (loss above {CLOSE_FIT:g})",
}


def guard(claim: str, runs: Sequence[Run]) -> Guard:
    """Flows must have come to a loss of 1e-6, tensors and matrices must fit."""

    def done(run: Run) -> bool | None:
        config, record = run.config, run.records[0]
        if config["group"] not in GROUPS[claim]:
            return None
        if claim in ("R1", "R2", "R3"):
            asked = claim == "R3" or config["determinant"] == "positive"
            return number(record["loss"]) <= REACHED if asked else None
        if claim == "R5":
            here = (config["n_observed"], config["init_scale"]) == (
                judged_count(runs, config["order"]),
                SCALE,
            )
            return ended(run, FIT) if here else None
        if config["n_observed"] != told_apart_at(runs):
            return None
        return record["status"] in ("converged", "diverged") or _last_loss(record) <= CLOSE_FIT

    return Guard(done, GUARDED[claim], ("open_entry", "error", "excess"))


def _last_loss(record: dict[str, Any]) -> float:
    """The training loss that the message of a run of R6 ends with; it records no other."""
    found = re.search(r"training loss (\S+)", str(record.get("message", "")))
    return float(found.group(1)) if found else math.inf


def judged_count(runs: Sequence[Run], order: int) -> Any:
    """The number of observations that R5 is judged at for tensors of an order."""
    return usual(select(runs, group="tensor", order=order), "n_observed", JUDGED.get(order))


def told_apart_at(runs: Sequence[Run]) -> Any:
    return usual(select(runs, group="which"), "n_observed", TOLD_APART)

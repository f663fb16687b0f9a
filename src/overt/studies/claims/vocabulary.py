"""The words that all studies share for what became of a run.

*Raw error*: ‖W − W*‖/‖W*‖ of what training ended at; the record's ``raw_error``.
*Recovered*: an error of at most 1e-5 after the study's refit, which is the same for every arm; ``error``.
*Ended*: there is no more to expect. A run that only its budget ended has no known outcome.
*Felt*: a penalty was felt where the run ends with less of it than the same run at weight zero.
"""

from __future__ import annotations

import math

from overt.studies.base import Run

__all__ = ["RECOVERED", "STATIONARY", "ended", "fitted", "recovered"]

RECOVERED = 1e-5  # a relative error
STATIONARY = 5e-2  # of the gradient of the whole objective; see `overt.studies.shared.stationarity`


def recovered(run: Run) -> bool:
    """Recovered the truth: a relative error of at most 1e-5 after the common refit."""
    error = run.records[0].get("error")
    return error is not None and error <= RECOVERED


def ended(run: Run) -> bool:
    """Ended: the run diverged, is stationary for its whole objective, or is no iterative run."""
    record = run.records[0]
    gradient = record.get("relative_gradient")
    if record.get("status") == "diverged" or "status" not in record:
        return True
    return record["status"] != "budget" if gradient is None else _small(gradient, STATIONARY)


def fitted(run: Run, bar: float) -> bool:
    """Ended, for a run without a penalty: it diverged, or the relative loss is at most the bar."""
    record = run.records[0]
    return record.get("status") != "budget" or _small(record.get("loss"), bar)


def _small(value: float | None, bar: float) -> bool:
    return value is not None and not math.isnan(value) and value <= bar

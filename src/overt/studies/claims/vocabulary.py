"""The words that all studies share for what became of a run.

*Raw error*: ‖W − W*‖/‖W*‖ of what training ended at; the record's ``raw_error``.
*Recovered*: an error of at most 1e-5 after the study's refit, which is the same for every arm; ``error``.
*Ended*: there is no more to expect. A run that only its budget ended has no known outcome.
*Felt*: a penalty is felt where the run ends with an effective rank of at most 0.9 of that of the same run at
weight zero; see `felt` and its opposite `unfelt`.
"""

from __future__ import annotations

import math
from typing import Any

from overt.studies.base import Run
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Where
from overt.studies.claims.verdict_rules import Bar, above, below

__all__ = ["FELT", "RECOVERED", "STATIONARY", "ended", "felt", "fitted", "recovered", "unfelt"]

RECOVERED = 1e-5  # a relative error
FELT = 0.9  # of the effective rank at weight zero
STATIONARY = 1e-2  # of the gradient of the whole objective; see `overt.studies.shared.stationarity`


def recovered(run: Run) -> bool:
    """Recovered the truth: a relative error of at most 1e-5 after the common refit."""
    error = run.records[0].get("error")
    return error is not None and error <= RECOVERED


def ended(run: Run, bar: float = STATIONARY) -> bool:
    """Ended: the run diverged, is stationary for its whole objective, or is no iterative run."""
    record = run.records[0]
    gradient = record.get("relative_gradient")
    if record.get("status") == "diverged" or "status" not in record:
        return True
    return record["status"] != "budget" if gradient is None else _small(gradient, bar)


def fitted(run: Run, bar: float) -> bool:
    """Ended, for a run without a penalty: it diverged, or the relative loss is at most the bar."""
    record = run.records[0]
    return record.get("status") != "budget" or _small(record.get("loss"), bar)


def felt(with_it: Where, **quantity: Any) -> Bar:
    """The bar of a penalty that is felt: seed by seed at most 0.9 of the effective rank at weight zero.

    It is broken where the ratio is above 1; between the two nothing is decided.

    Parameters
    ----------
    with_it : mapping
        The settings of the penalized arm; those of the other are ``weight`` 0.
    **quantity
        ``where``, ``each``, ``tuned`` of the `overt.studies.claims.quantities.Ratio`.

    Examples
    --------
    >>> felt({"weight": 0.01}, where={"optimizer": "adam"}).high
    0.9
    """
    return below(_effect(with_it, **quantity), FELT, refuted=1.0)


def unfelt(with_it: Where, **quantity: Any) -> Bar:
    """The bar of a penalty that is not felt: the ratio of `felt` is above 0.9. Broken where it is below."""
    return above(_effect(with_it, **quantity), FELT)


def _effect(with_it: Where, **quantity: Any) -> Ratio:
    label = "effective rank with the penalty / at weight zero"
    return Ratio("effective_rank", label, of_=with_it, over={"weight": 0.0}, **quantity)


def _small(value: float | None, bar: float) -> bool:
    return value is not None and not math.isnan(value) and value <= bar

"""The explicit route: a full matrix, a normalized penalty, Adam, and an exact refit."""

from __future__ import annotations

from overt.completion.explicit.problem import largest_rank, normalized_problem, sane
from overt.completion.explicit.route import ZERO_MESSAGE, ExplicitRun, explicit, explicit_run

__all__ = [
    "ZERO_MESSAGE",
    "ExplicitRun",
    "explicit",
    "explicit_run",
    "largest_rank",
    "normalized_problem",
    "sane",
]

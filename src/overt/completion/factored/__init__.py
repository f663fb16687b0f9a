"""Ridge-regularized factors of growing rank, for noisy and large data."""

from __future__ import annotations

from overt.completion.factored.solver import factored

__all__ = ["factored"]

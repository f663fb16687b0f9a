"""Exact refit on a found rank, for completion and sensing."""

from __future__ import annotations

from overt.completion.refit.damped import Limits
from overt.completion.refit.gauss_newton import refit, refit_entries, refit_measurements
from overt.completion.refit.normal import balanced

__all__ = ["Limits", "balanced", "refit", "refit_entries", "refit_measurements"]

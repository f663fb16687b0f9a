"""Exact refit on a found rank, for completion and sensing."""

from __future__ import annotations

from overt.completion.refit.gauss_newton import balanced, refit, refit_entries

__all__ = ["balanced", "refit", "refit_entries"]

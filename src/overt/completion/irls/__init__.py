"""Rank-blind iteratively reweighted least squares for completion and sensing."""

from __future__ import annotations

from overt.completion.irls.solver import irls

__all__ = ["irls"]

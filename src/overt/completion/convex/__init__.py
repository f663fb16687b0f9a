"""Convex baselines: nuclear norm minimization and SoftImpute."""

from __future__ import annotations

from overt.completion.convex.nuclear import nuclear_norm_minimization
from overt.completion.convex.soft_impute import soft_impute, weight_max

__all__ = ["nuclear_norm_minimization", "soft_impute", "weight_max"]

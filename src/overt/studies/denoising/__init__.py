"""Denoisers learned from noisy data alone: the pointwise penalty at weight σ² and its rivals."""

from overt.studies.denoising.study import study

__all__ = ["study"]

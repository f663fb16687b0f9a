"""One algorithm: reweighting, feature machines, depth and a penalty on the same matrices."""

from overt.studies.one_algorithm.study import study

__all__ = ["study"]

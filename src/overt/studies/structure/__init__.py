"""Beyond linear: sparse Jacobian penalties, feature machines and reweighting where few directions matter."""

from overt.studies.structure.study import study

__all__ = ["study"]

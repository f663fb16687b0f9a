"""Deep matrix factorization: depth, initialization, the nuclear norm and the singular values' dynamics."""

from overt.studies.arora2019.study import study

__all__ = ["study"]

"""What explicit penalties buy on images: accuracy, likelihood, robustness, compressibility, cost."""

from overt.studies.generalization.study import study

__all__ = ["study"]

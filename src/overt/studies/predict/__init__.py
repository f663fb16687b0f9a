"""How well measures of a trained network rank its generalization gap."""

from overt.studies.predict.study import PredictStudy, study

__all__ = ["PredictStudy", "study"]

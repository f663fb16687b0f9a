"""Predicting generalization, as a study."""

from overt.studies.part import StudyOfParts
from overt.studies.predict.zoo import Zoo

study = StudyOfParts(
    "predict", "Which measures of a trained network rank its generalization gap", [Zoo()], version=2
)

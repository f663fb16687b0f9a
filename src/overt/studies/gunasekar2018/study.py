"""Gunasekar et al. 2018 as a study."""

from overt.studies.gunasekar2018.regression import Regression
from overt.studies.gunasekar2018.separable import Separable
from overt.studies.part import StudyOfParts

study = StudyOfParts(
    "gunasekar2018",
    "Implicit bias of linear convolutional networks",
    [Separable(), Regression()],
    version=2,
)

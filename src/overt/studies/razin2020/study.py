"""Razin & Cohen 2020 as a study."""

from overt.studies.part import StudyOfParts
from overt.studies.razin2020.growth import Growth
from overt.studies.razin2020.perturbed import Perturbed
from overt.studies.razin2020.steps import Steps
from overt.studies.razin2020.tensors import Tensors
from overt.studies.razin2020.which import Which

study = StudyOfParts(
    "razin2020",
    "Implicit regularization may not be explainable by norms",
    [Which(), Tensors(), Growth(), Steps(), Perturbed()],
    version=2,
)

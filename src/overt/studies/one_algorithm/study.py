"""The study of one algorithm in four forms."""

from overt.studies.one_algorithm.fewest import Fewest
from overt.studies.one_algorithm.seconds import Seconds
from overt.studies.one_algorithm.steps import Steps
from overt.studies.part import StudyOfParts

study = StudyOfParts(
    "one_algorithm",
    "One algorithm in four forms: reweighted least squares, feature machines, depth, a penalty",
    [Fewest(), Steps(), Seconds()],
)

"""The measure of networks as a study."""

from overt.studies.measure.alignment import Alignment
from overt.studies.measure.collapse import Collapse
from overt.studies.measure.factors import Factors
from overt.studies.part import StudyOfParts

study = StudyOfParts(
    "measure",
    "One measure: collapse, dynamics and alignment",
    [Alignment(), Factors(), Collapse()],
    version=2,
)

"""The study of generalization."""

from overt.studies.generalization.compare import Compare
from overt.studies.generalization.cost import Cost
from overt.studies.generalization.sizes import Sizes
from overt.studies.generalization.transfer import Transfer
from overt.studies.part import StudyOfParts

study = StudyOfParts(
    "generalization",
    "Do explicit spectral penalties generalize? Images, equal tuning, one test",
    [Compare(), Sizes(), Transfer(), Cost()],
    version=2,
)

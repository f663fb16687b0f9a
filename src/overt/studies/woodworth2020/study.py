"""Woodworth et al. 2020 as a study."""

from overt.studies.part import StudyOfParts
from overt.studies.woodworth2020.minimum import Minimum
from overt.studies.woodworth2020.scale import Scale
from overt.studies.woodworth2020.sparse import Sparse

study = StudyOfParts(
    "woodworth2020",
    "Kernel and rich regimes in linear regression",
    [Sparse(), Scale(), Minimum()],
    version=2,
)

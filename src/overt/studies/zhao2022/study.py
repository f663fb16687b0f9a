"""Zhao (2022) as a study."""

from overt.studies.part import StudyOfParts
from overt.studies.zhao2022.layers import Layers
from overt.studies.zhao2022.methods import Methods
from overt.studies.zhao2022.optimizers import Optimizers
from overt.studies.zhao2022.penalties import Penalties
from overt.studies.zhao2022.ratings import ZhaoRatings

study = StudyOfParts(
    "zhao2022",
    "Zhao 2022: an explicit penalty and an adaptive optimizer in the place of depth",
    [ZhaoRatings(), Methods(), Optimizers(), Penalties(), Layers()],
    version=2,
)

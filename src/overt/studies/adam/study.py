"""Why the penalty needs Adam, if it does, as a study."""

from overt.studies.adam.decoupled import Decoupled
from overt.studies.adam.felt import Felt
from overt.studies.adam.interventions import Interventions
from overt.studies.adam.optimizers import Optimizers
from overt.studies.part import StudyOfParts

study = StudyOfParts(
    "adam",
    "Does the explicit penalty need Adam, and what of it? Conjectures put to interventions",
    [Interventions(), Optimizers(), Felt(), Decoupled()],
    version=2,
)

"""The study of structure."""

from overt.studies.part import StudyOfParts
from overt.studies.structure.ansatz import Ansatz
from overt.studies.structure.dials import Dials
from overt.studies.structure.features import Features
from overt.studies.structure.machines import Machines
from overt.studies.structure.penalties import Penalties

study = StudyOfParts(
    "structure",
    "Does an explicit bias pay in non-linear models? Where few directions matter",
    [Penalties(), Dials(), Machines(), Features(), Ansatz()],
)

"""Li, Luo & Lyu (2021), Towards Resolving the Implicit Bias of Gradient Descent, as a study."""

from overt.studies.li2021.flows import Flows
from overt.studies.li2021.path import Path
from overt.studies.part import StudyOfParts

study = StudyOfParts(
    "li2021",
    "Greedy low-rank learning from infinitesimal initialization",
    [Path(), Flows()],
    version=2,
)

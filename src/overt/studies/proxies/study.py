"""Proxies of rank as a study: as explicit penalties, and as what trained networks are stationary for."""

from overt.studies.part import StudyOfParts
from overt.studies.proxies.inverse import Inverse
from overt.studies.proxies.penalties import Penalties
from overt.studies.proxies.windows import Windows

study = StudyOfParts(
    "proxies",
    "Which proxy of rank to penalize, and which one training minimizes by itself",
    [Penalties(), Windows(), Inverse()],
    version=2,
)

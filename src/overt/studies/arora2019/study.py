"""Arora, Cohen, Hu & Luo (2019), Implicit Regularization in Deep Matrix Factorization, as a study."""

from overt.studies.arora2019.depths import Depths
from overt.studies.arora2019.flow import Ratings, Synthetic
from overt.studies.arora2019.rivals import Rivals
from overt.studies.arora2019.scales import Scales
from overt.studies.part import StudyOfParts

study = StudyOfParts(
    "arora2019",
    "Implicit regularization in deep matrix factorization",
    [Depths(), Rivals(), Scales(), Synthetic(), Ratings()],
    version=2,
)

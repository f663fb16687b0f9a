"""The story as a study: questions that other studies ask at length in small, and some of its own."""

from overt.studies.part import StudyOfParts
from overt.studies.story.cost import Cost
from overt.studies.story.depth import Depth
from overt.studies.story.photograph import Photograph
from overt.studies.story.robust import Robust
from overt.studies.story.shorter import Movielens, Nuclear, Regression, Steps

study = StudyOfParts(
    "story",
    "Implicit regularization, and the explicit penalty in its place",
    [Depth(), Photograph(), Movielens(), Steps(), Robust(), Nuclear(), Regression(), Cost()],
    version=4,
)

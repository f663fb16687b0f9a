"""The study of grokking."""

from overt.studies.grokking.learning import Learning
from overt.studies.part import StudyOfParts

study = StudyOfParts(
    "grokking", "Modular addition: when do networks generalize, and from what?", [Learning()]
)

"""Why the penalty needs Adam."""

from overt.studies.adam.study import AdamStudy, study

__all__ = ["AdamStudy", "study"]

"""The main claims in a few minutes."""

from overt.studies.story.study import study

__all__ = ["study"]

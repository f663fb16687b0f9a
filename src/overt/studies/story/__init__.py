"""The story: what gradient descent prefers implicitly, and what the explicit penalty does in its place."""

from overt.studies.story.study import Story, study

__all__ = ["Story", "study"]

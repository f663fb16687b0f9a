"""Do explicit penalties generalize? Image classifiers with little data, every method tuned alike."""

from overt.studies.generalization.study import study

__all__ = ["study"]

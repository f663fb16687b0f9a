"""Modular addition: when networks generalize, with weight decay and with explicit penalties."""

from overt.studies.grokking.study import study

__all__ = ["study"]

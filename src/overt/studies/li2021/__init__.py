"""Greedy low-rank learning: from a tiny initialization gradient flow learns one rank after another."""

from overt.studies.li2021.study import study

__all__ = ["study"]

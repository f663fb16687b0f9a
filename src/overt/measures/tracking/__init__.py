"""Spectra recorded while a model trains."""

from overt.measures.tracking.tracker import SpectrumTracker

__all__ = ["SpectrumTracker"]

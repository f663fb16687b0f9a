"""Spectra recorded while a model trains."""

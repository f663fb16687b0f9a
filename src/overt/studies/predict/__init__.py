"""How well measures of a trained network, spectra of the Jacobian among them, rank its generalization gap."""

from overt.studies.predict.study import study

__all__ = ["study"]

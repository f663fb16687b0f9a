"""Decompositions: the only room that calls SVD, eigh, QR or a polar iteration."""

from overt.linalg._gradients import rank_tolerance
from overt.linalg.checks import check_matrix, check_spectrum, require_finite
from overt.linalg.decompositions import eigh, orthonormal_basis, qr, svd
from overt.linalg.factored import Factored
from overt.linalg.polar import polar
from overt.linalg.spectrum import singular_values

__all__ = [
    "Factored",
    "check_matrix",
    "check_spectrum",
    "eigh",
    "orthonormal_basis",
    "polar",
    "qr",
    "rank_tolerance",
    "require_finite",
    "singular_values",
    "svd",
]

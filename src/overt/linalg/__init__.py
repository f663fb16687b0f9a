"""Decompositions: the only room that calls SVD, eigh, QR or a polar iteration."""

from overt._utils.tensors import check_matrix, check_spectrum, require_finite
from overt.linalg.bases import Basis, make_basis
from overt.linalg.conjugate_gradients import LinearSolution, conjugate_gradients
from overt.linalg.decompositions import eigh, orthonormal_basis, qr, svd
from overt.linalg.factored import Factored
from overt.linalg.lanczos import LeadingEigenpairs, block_lanczos
from overt.linalg.polar import polar
from overt.linalg.row_stack import RowStack
from overt.linalg.spectrum import rank_tolerance, singular_values

__all__ = [
    "Basis",
    "Factored",
    "LeadingEigenpairs",
    "LinearSolution",
    "RowStack",
    "block_lanczos",
    "check_matrix",
    "check_spectrum",
    "conjugate_gradients",
    "eigh",
    "make_basis",
    "orthonormal_basis",
    "polar",
    "qr",
    "rank_tolerance",
    "require_finite",
    "singular_values",
    "svd",
]

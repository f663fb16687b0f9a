"""Non-negative weights that sum to one; those of kernel ridge alone where nothing is clearly better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from overt.features.members import Member
from overt.linalg.gram import gram_factor

__all__ = ["simplex_weights", "stack_weights"]

_SMALLEST = 0.03  # members of less weight are left out, and the others weighed again


def simplex_weights(residuals: Tensor) -> NDArray[np.float64]:
    """The w ≥ 0 with Σw = 1 of the least ‖Σ w_j r_j‖², by non-negative least squares.

    Without the constraint of the sum, u ≥ 0 of the least ‖Σ u_j r_j‖² + (Σu − 1)² is a multiple of w: for
    u = s w the least over s is g/(1 + g), which grows with g = ‖Σ w_j r_j‖². Members of little weight are
    left out. These are stacked regressions (Breiman 1996).

    Parameters
    ----------
    residuals : Tensor, shape (members, ...)
    """
    flat = residuals.flatten(1).double()
    gram = (flat @ flat.mT).cpu()
    gram = gram / gram.diagonal().mean().clamp_min(1e-300)
    kept = np.arange(len(gram))
    while True:
        weights = np.zeros(len(gram))
        found = _solve(gram[kept][:, kept])
        weights[kept] = found / found.sum()
        small = (weights[kept] < _SMALLEST) & (weights[kept] < weights.max())
        if not small.any():
            return weights
        kept = kept[~small]


def _solve(gram: Tensor) -> NDArray[np.float64]:
    A = np.vstack([gram_factor(gram).numpy(), np.ones(len(gram))])
    found: NDArray[np.float64] = nnls(A, np.append(np.zeros(len(gram)), 1.0))[0]
    return found


def stack_weights(members: Sequence[Member], predictions: Tensor, Y: Tensor) -> NDArray[np.float64]:
    """Weights of all members, shape (members,).

    Members of round 0 alone are taken unless all together have a lower squared error by more than the
    standard error of the difference over rows.
    """
    residuals = predictions - Y
    plain = np.array([member.round == 0 for member in members])
    base = np.zeros(len(members))
    base[plain] = simplex_weights(residuals[torch.as_tensor(plain)])
    weights = simplex_weights(residuals)
    gain = _errors(residuals, base) - _errors(residuals, weights)
    stderr = float(gain.std(ddof=1)) / len(gain) ** 0.5 if len(gain) > 1 else np.inf
    return weights if gain.mean() > stderr else base


def _errors(residuals: Tensor, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared errors of a weighted sum, one for each row."""
    w = torch.as_tensor(weights).to(residuals)
    return np.asarray(torch.einsum("j,jnk->nk", w, residuals).double().square().sum(1).cpu())

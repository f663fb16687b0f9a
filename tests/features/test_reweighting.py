"""With a linear kernel a feature machine is iteratively reweighted least squares.

A linear machine with the root T minimizes ‖Xβ − y‖² + λ βᵀ(T Tᵀ)⁻¹β, and M of its predictor is ββᵀ. So a
round in the identity basis is the step of IRLS for Σ|β_i|^p, and in the eigenbasis, with several outputs B,
that for the Schatten functional Σσ_i(B)^p, p = 2 − 2α (Radhakrishnan, Belkin & Drusvyatskiy 2025). For matrix
completion, the step of ``overt.completion`` has the mean of the kernels of two machines, of rows and of
columns, at α = 1.
"""

from __future__ import annotations

import pytest
import torch

from overt.completion.irls.step import harmonic_step
from overt.completion.refit.normal import ReducedSolver
from overt.completion.tangent import Entries
from overt.features import reweighting_exponent, reweighting_root
from overt.features.agop import agop
from overt.features.machine import fit_machine

RIDGE = 0.3


def regression(k, seed=0):
    g = torch.Generator().manual_seed(seed)
    X = torch.randn(40, 6, dtype=torch.float64, generator=g)
    B = torch.randn(6, 2, dtype=torch.float64, generator=g) @ torch.randn(
        2, k, dtype=torch.float64, generator=g
    )
    Y = X @ B + 2 * torch.randn(40, k, dtype=torch.float64, generator=g)
    return X - X.mean(0), Y - Y.mean(0)


def weighted_ridge(X, Y, weights, ridge):
    """argmin ‖XB − Y‖² + ridge tr(Bᵀ weights B), by its normal equations."""
    return torch.linalg.solve(X.mT @ X + ridge * weights, X.mT @ Y)


@pytest.mark.parametrize("depth", [2, 4])
@pytest.mark.parametrize(("basis", "outputs"), [("identity", 1), ("eigen", 6)])
def test_rounds_of_a_linear_machine_are_steps_of_irls(basis, outputs, depth):
    X, Y = regression(outputs)
    alpha = reweighting_exponent(depth)
    found = fit_machine(X, Y, "linear", None, 1.0, RIDGE)
    B = weighted_ridge(X, Y, torch.eye(6, dtype=torch.float64), RIDGE * found.scale**2)
    for _ in range(3):
        coefficients = found.gradients(X[:1])[0].mT
        torch.testing.assert_close(coefficients, B, atol=1e-8, rtol=1e-6)
        found = fit_machine(X, Y, "linear", agop(found, X).root(alpha, basis), 1.0, RIDGE)
        # The step for P_p, p = 2/depth: weights M^{p/2 − 1}, scaled so that their inverse has trace d.
        power = 2 / depth / 2 - 1
        if basis == "identity":
            inverse = B.square().sum(1) ** -power
            weights = torch.diag(1 / inverse)
        else:
            values, vectors = torch.linalg.eigh(B @ B.mT)
            inverse = values**-power
            weights = (vectors / inverse) @ vectors.mT
        B = weighted_ridge(X, Y, weights, RIDGE * found.scale**2 * float(inverse.sum()) / 6)


def test_the_completion_solver_takes_the_mean_of_two_linear_machines():
    g = torch.Generator().manual_seed(3)
    W = torch.randn(7, 2, dtype=torch.float64, generator=g) @ torch.randn(
        2, 6, dtype=torch.float64, generator=g
    )
    rows, cols = torch.nonzero(torch.rand(7, 6, generator=g) < 0.6, as_tuple=True)
    y, entries = W[rows, cols], Entries(rows, cols, (7, 6), torch.float64)
    X = W + 0.3 * torch.randn(7, 6, dtype=torch.float64, generator=g)  # an iterate on the way
    U, s, Vh = torch.linalg.svd(X, full_matrices=False)
    eps = float(s[2] + s[3]) / 2
    step = harmonic_step(entries, y, U[:, :3], s[:3], Vh[:3].mT, eps, ReducedSolver(), tolerance=1e-12)
    ours = step.A @ Vh[:3] + U[:, :3] @ step.B.mT
    ours[rows, cols] += step.z

    def smoothed(M):
        values, vectors = torch.linalg.eigh(M)
        return (vectors * values.clamp_min(eps**2)) @ vectors.mT

    L, R = smoothed(X @ X.mT), smoothed(X.mT @ X)
    roots = [reweighting_root(M, 1.0) * (M.trace() / len(M)).sqrt() for M in (L, R)]
    left, right = (root @ root for root in roots)
    same_row, same_col = rows[:, None] == rows, cols[:, None] == cols
    K = (same_col * left[rows][:, rows] + same_row * right[cols][:, cols]) / 2
    duals = torch.zeros(7, 6, dtype=torch.float64)
    duals[rows, cols] = torch.linalg.solve(K, y)
    torch.testing.assert_close(ours, (left @ duals + duals @ right) / 2, atol=1e-6, rtol=1e-6)

"""Kernel models: values, gradients and M against autograd and plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from overt.features import agop as agop_file
from overt.features.agop import agop
from overt.features.kernels import kernel_values, similarities, slopes, typical
from overt.features.machine import Stack, fit_machine
from overt.features.nystroem import fit_on_centres

KERNELS = ("laplace", "gaussian", "linear")
ROOTS = ("none", "diagonal", "matrix")


def data(n=30, d=4, k=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, dtype=torch.float64, generator=g)
    Y = torch.stack([X[:, 0] * X[:, 1], X[:, 2].sin()], 1)[:, :k]
    return X, Y, torch.randn(d, 3, dtype=torch.float64, generator=g)


def machine(kernel, root, **sizes):
    X, Y, T = data(**sizes)
    chosen = {"none": None, "diagonal": T[:, 0].abs() + 0.1, "matrix": T}[root]
    return X, Y, fit_machine(X, Y, kernel, chosen, 1.0, 1e-2)


def by_formula(found, x):
    """f(x) as it is written, for a single x."""
    root = torch.eye(len(x), dtype=x.dtype) if found.root is None else found.root
    u = x @ (torch.diag(root) if root.ndim == 1 else root)
    if found.kernel == "linear":
        k = (found.centres * u).sum(1) / found.scale**2
    else:
        squares = (found.centres - u).square().sum(1)
        safe = torch.where(squares > 0, squares, 1.0)
        D = torch.where(squares > 0, safe.sqrt(), 0.0) / found.scale
        k = (-D).exp() if found.kernel == "laplace" else (-D.square() / 2).exp()
    return k @ found.coefficients + found.offset


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_values_and_gradients_are_those_of_the_formula(kernel, root):
    X, _, found = machine(kernel, root)
    values, gradients = found.predict(X), found.gradients(X)
    for x, value, gradient in zip(X, values, gradients, strict=True):
        torch.testing.assert_close(value, by_formula(found, x), atol=1e-7, rtol=1e-7)
        oracle = torch.autograd.functional.jacobian(lambda z: by_formula(found, z), x)
        torch.testing.assert_close(gradient, oracle, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_m_is_the_mean_of_outer_products_of_gradients(kernel, root):
    X, _, found = machine(kernel, root)
    total = torch.zeros(4, 4, dtype=torch.float64)
    for x in X:
        J = torch.autograd.functional.jacobian(lambda z: by_formula(found, z), x)
        total += J.mT @ J / len(X)
    one = agop(found, X)
    torch.testing.assert_close(one.matrix, total, atol=1e-6, rtol=1e-6)
    F = one.factor()
    torch.testing.assert_close(F.mT @ F, one.matrix)
    gram = F @ F.mT
    torch.testing.assert_close(gram, torch.diag(gram.diagonal()), atol=1e-10, rtol=0)


def test_blocks_change_nothing(monkeypatch):
    X, _, found = machine("laplace", "matrix")
    whole, values, gradients = agop(found, X).matrix, found.predict(X), found.gradients(X)
    monkeypatch.setattr("overt.features.machine._ENTRIES", 40)
    torch.testing.assert_close(agop(found, X).matrix, whole)
    torch.testing.assert_close(found.predict(X), values)
    torch.testing.assert_close(found.gradients(X), gradients)


def test_few_gradients_are_kept_as_rows():
    X, _, found = machine("gaussian", "none", n=6, d=40, k=1)
    one = agop(found, X)
    assert one.matrix is None
    assert one.rows.shape == (6, 40)
    T = one.root(0.5, "eigen")
    G = found.gradients(X)[:, 0]
    values, vectors = torch.linalg.eigh(G.mT @ G / 6)
    power = (vectors * values.clamp_min(0).sqrt()) @ vectors.mT
    torch.testing.assert_close(T @ T.mT, power * 40 / power.trace(), atol=1e-6, rtol=1e-6)


def test_many_gradients_of_many_columns_are_mixed(monkeypatch):
    """The mixture has the right mean: its error falls as the number of rows grows."""
    X, _, found = machine("gaussian", "none", n=60, d=12)
    exact, errors = agop(found, X).matrix, []
    for rows in (3, 11):
        monkeypatch.setattr(agop_file, "MOST_COLUMNS", rows)
        one = agop(found, X)
        assert one.rows.shape == (rows, 12)
        errors.append(float((one.rows.mT @ one.rows - exact).norm() / exact.norm()))
    assert errors[1] < 1.5
    assert errors[1] < errors[0]


def test_a_stack_is_the_weighted_sum_of_its_machines():
    X, Y, one = machine("laplace", "none")
    other = fit_machine(X, Y, "gaussian", None, 2.0, 1e-3)
    stack = Stack((one, other), (0.25, 0.75), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(stack.predict(X), 1 + 0.25 * one.predict(X) + 0.75 * other.predict(X))
    mixed = 0.25 * one.gradients(X) + 0.75 * other.gradients(X)
    torch.testing.assert_close(stack.gradients(X), mixed)


def test_equal_rows_have_no_distance_and_no_slope():
    X = torch.tensor([[1e3, 2e3], [1e3, 2e3], [0.0, 1.0]], dtype=torch.float32) / 3
    similar = similarities(X, X, "laplace")
    assert similar[:2, :2].eq(0).all()
    assert slopes(similar, "laplace", 1.0)[:2, :2].eq(0).all()
    assert kernel_values(similar, "laplace", 1.0)[0, 1] == 1


def test_the_typical_distance_is_the_median_of_unequal_pairs():
    X = torch.tensor([[0.0], [0.0], [3.0]])
    assert typical(similarities(X, X, "gaussian"), "gaussian") == pytest.approx(3)
    assert typical(similarities(X[:2], X[:2], "gaussian"), "gaussian") == 1
    assert typical(similarities(X, X, "linear"), "linear") == pytest.approx(math.sqrt(3))


@pytest.mark.parametrize("kernel", ["laplace", "gaussian"])
def test_all_rows_as_centres_are_exact(kernel):
    X, Y, _ = data(n=80)
    exact = fit_machine(X, Y, kernel, None, 1.0, 1e-2)
    centred = fit_on_centres(X, Y, kernel, None, 1.0, 1e-2, 80)
    torch.testing.assert_close(centred.predict(X), exact.predict(X), atol=2e-3, rtol=1e-3)


def test_some_rows_as_centres_solve_their_normal_equations():
    X, Y, _ = data(n=200)
    found = fit_on_centres(X, Y, "gaussian", None, 1.0, 1e-1, 15)
    K = kernel_values(similarities(X, X[:15], "gaussian"), "gaussian", found.scale)
    inner = K[:15] + 1e-6 * torch.eye(15, dtype=torch.float64)
    A = torch.linalg.solve(K.mT @ K + 1e-1 * inner, K.mT @ (Y - Y.mean(0)))
    torch.testing.assert_close(found.coefficients, A, atol=1e-5, rtol=1e-5)

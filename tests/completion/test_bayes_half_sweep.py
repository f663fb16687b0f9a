"""Half a sweep against the textbook: compiled, batched, in both precisions, on any number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from overt.completion.bayes import half_sweep
from overt.completion.bayes.half_sweep import Batched, Compiled, Drawn, Given
from overt.completion.bayes.lines import Lines

Array = NDArray[Any]


def entries(m: int = 9, n: int = 14, share: float = 0.6, seed: int = 0) -> tuple[Array, Array, Array]:
    g = np.random.default_rng(seed)
    rows, cols = np.nonzero(g.random((m, n)) < share)
    order = g.permutation(rows.size)
    return rows[order], cols[order], g.normal(size=rows.size)


def lines_of(m: int = 9, n: int = 14, **options: Any) -> Lines:
    """Entries of ``m`` lines, of which the last has none."""
    rows, cols, y = entries(m - 1, n, **options)
    return Lines.of(rows, cols, y, (m, n))


def given(lines: Lines, d: int = 4, seed: int = 1, centres: int = 1) -> Given:
    """Coordinates of the lines across, with a bias; noise levels, and a prior of no special shape."""
    g = np.random.default_rng(seed)
    levels, z = g.uniform(0.3, 3, lines.across), g.normal(size=(lines.across, d - 1))
    design = np.sqrt(levels)[:, None] * np.c_[z, np.ones(lines.across)]
    root = g.normal(size=(d, d))
    own = g.uniform(0.3, 3, lines.count)
    shift, mean = g.normal(size=lines.across), g.normal(size=(centres, d))
    return Given(design, shift, np.sqrt(levels), 1.7, own, root @ root.T + np.eye(d), mean)


def normals(lines: Lines, d: int = 4) -> Array:
    return np.random.default_rng(2).normal(size=(lines.count, d))


def textbook(lines: Lines, g: Given) -> tuple[Array, Array]:
    """Mean (lines, d) and covariance (lines, d, d) of a linear regression in each line."""
    means, covariances = [], []
    for i in range(lines.count):
        part = slice(lines.start[i], lines.start[i + 1])
        j = lines.other[part]
        Z, w = g.design[j] / g.root[j, None], g.precision * g.own[i] * g.root[j] ** 2
        covariance = np.linalg.inv(g.prior + Z.T @ (w[:, None] * Z))
        centre = g.centres[i if len(g.centres) > 1 else 0]
        means.append(covariance @ (g.prior @ centre + Z.T @ (w * (lines.y[part] - g.shift[j]))))
        covariances.append(covariance)
    return np.stack(means), np.stack(covariances)


def misfit(lines: Lines, g: Given, sample: Array) -> Array:
    """Weighted squares at a sample, line by line."""
    own, other = lines.own, lines.other
    Z = g.design[other] / g.root[other, None]
    error = lines.y - g.shift[other] - np.sum(sample[own] * Z, 1)
    return np.bincount(own, g.root[other] ** 2 * error**2, lines.count)


def draw(backend: str, lines: Lines, g: Given, z: Array) -> Drawn:
    if backend == "batched":
        return Batched(lines)(g, z)
    return Compiled(lines, np.float32 if backend == "single" else np.float64)(g, z)


compiled = pytest.mark.slow
BACKENDS = ["batched", pytest.param("single", marks=compiled), pytest.param("double", marks=compiled)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("centres", [1, 9])
def test_mean_and_misfit_are_the_textbooks(backend: str, centres: int) -> None:
    lines = lines_of()
    g, z = given(lines, centres=centres), normals(lines)
    drawn = draw(backend, lines, g, z)
    close = {"rtol": 2e-5, "atol": 2e-5} if backend != "batched" else {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(drawn.mean, textbook(lines, g)[0], **close)
    np.testing.assert_allclose(drawn.misfit, misfit(lines, g, drawn.sample), rtol=1e-4, atol=1e-4)
    assert drawn.misfit[-1] == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_samples_have_the_textbooks_covariance(backend: str) -> None:
    """A sample is the mean and L z: with the unit vectors for z, L Lᵀ is found without any chance."""
    lines, d = lines_of(), 4
    g = given(lines)
    columns = [draw(backend, lines, g, np.tile(unit, (lines.count, 1))) for unit in np.eye(d)]
    root = np.stack([each.sample.astype(float) - each.mean for each in columns], 2)
    np.testing.assert_allclose(root @ root.transpose(0, 2, 1), textbook(lines, g)[1], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compiled_and_batched_draw_the_same() -> None:
    lines = lines_of(m=200, n=300, share=0.9, seed=3)  # lines longer than a block of entries
    g, z = given(lines, d=7), normals(lines, 7)
    reference = Batched(lines)(g, z)
    for backend, close in (("single", 1e-3), ("double", 2e-5)):
        found = draw(backend, lines, g, z)
        for name in ("sample", "mean", "misfit"):
            expected = getattr(reference, name)
            np.testing.assert_allclose(getattr(found, name), expected, rtol=close, atol=close, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_threads_draws_the_same_bits(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_of(m=120, n=80)
    g, z = given(lines), normals(lines)
    alone = Compiled(lines, dtype)(g, z)
    monkeypatch.setattr(half_sweep, "_THREADED", 100)
    monkeypatch.setattr(half_sweep.os, "cpu_count", lambda: 8)
    for threads in (1, 2, 5):
        monkeypatch.setattr(half_sweep.torch, "get_num_threads", lambda threads=threads: threads)
        shared = Compiled(lines, dtype)
        assert len(shared._pieces) == 1 if threads == 1 else len(shared._pieces) > threads
        found = shared(g, z)
        for name in ("sample", "mean", "misfit"):
            np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))


@pytest.mark.slow
def test_more_pieces_than_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line holds most entries, so that several pieces begin in it."""
    rows = np.r_[np.zeros(90, int), [1, 2, 2]]
    lines = Lines.of(rows, np.r_[np.arange(90), [3, 4, 5]], np.linspace(-1, 1, 93), (4, 90))
    g, z = given(lines), normals(lines)
    expected = Compiled(lines)(g, z)
    monkeypatch.setattr(half_sweep, "_THREADED", 1)
    monkeypatch.setattr(half_sweep.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(half_sweep.torch, "get_num_threads", lambda: 4)
    np.testing.assert_array_equal(Compiled(lines)(g, z).sample, expected.sample)


@pytest.mark.cuda
def test_batched_on_a_gpu() -> None:
    lines = lines_of(m=200, n=300)
    g, z = given(lines), normals(lines)
    expected, found = Batched(lines)(g, z), Batched(lines, torch.device("cuda"))(g, z)
    for name in ("sample", "mean", "misfit"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=2e-3, atol=2e-3)


def test_lines_sort_entries_by_row_and_by_column() -> None:
    rows, cols, y = entries()
    by_row, by_column = Lines.of(rows, cols, y, (9, 14)), Lines.of(cols, rows, y, (14, 9))
    dense = np.zeros((9, 14))
    dense[rows, cols] = y
    for lines, matrix in ((by_row, dense), (by_column, dense.T)):
        again = np.zeros_like(matrix)
        again[lines.own, lines.other] = lines.y
        np.testing.assert_array_equal(again, matrix)
        np.testing.assert_array_equal(lines.sizes, (matrix != 0).sum(1))
        assert (lines.count, lines.across) == matrix.shape


def test_observed_zeros_are_entries() -> None:
    lines = Lines.of(np.array([1, 0]), np.array([0, 2]), np.zeros(2), (2, 3))
    assert lines.sizes.tolist() == [1, 1]
    assert lines.other.tolist() == [2, 0]

"""Runs of the chain: repeatable, in the data's units, and able to go on with other entries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from overt.completion.bayes import (
    Data,
    Family,
    Posterior,
    Sampler,
    Schedule,
    Standard,
    half_sweep,
    solver,
)
from overt.completion.bayes.half_sweep import Batched, Compiled

Array = NDArray[Any]

FAMILIES = {
    "two-sided": Family(4),
    "by column": Family(4, by_column=True),
    "alike rows": Family(4, row_levels=False, by_column=True),
    "one-sided": Family(4, one_sided=True, row_levels=False, by_column=True),
}
SHORT = Schedule(6, 2)


UNITS = np.geomspace(0.5, 20, 12)


def truth(units: Array = UNITS) -> Array:
    """Rank two with offsets of rows and columns, in columns of other units."""
    g, m, n = np.random.default_rng(0), 25, 12
    Z = g.normal(size=(m, 2)) @ g.normal(size=(2, n)) + g.normal(size=(m, 1)) + g.normal(size=n)
    return np.asarray(Z * units)


def data(noise: float = 0.1, units: Array = UNITS) -> Data:
    X, g = truth(units), np.random.default_rng(1)
    rows, cols = np.nonzero(g.random(X.shape) < 0.7)
    y = X[rows, cols] + noise * units[cols] * g.normal(size=rows.size)
    return Data(rows, cols, y, X.shape)


def dense(found: Posterior) -> Array:
    return np.asarray(found.left @ found.right.T + found.mean + found.row[:, None] + found.col)


def everywhere(shape: tuple[int, int]) -> tuple[Array, Array]:
    i, j = np.indices(shape)
    return i.ravel(), j.ravel()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_seed_gives_the_same_bits(name: str) -> None:
    first, again, other = (Sampler(data(), FAMILIES[name], seed=seed).run(SHORT) for seed in (3, 3, 4))
    np.testing.assert_array_equal(dense(first), dense(again))
    for one, two in zip(first.predictive.draws, again.predictive.draws, strict=True):
        np.testing.assert_array_equal(one.left, two.left)
    assert (dense(first) != dense(other)).any()


@pytest.mark.parametrize("name", FAMILIES)
def test_the_stored_mean_is_the_mean_that_was_watched(name: str) -> None:
    """Up to the singular values that are left out, a hundredth of the noise; row biases included."""
    watch = everywhere((25, 12))
    found = Sampler(data(), FAMILIES[name]).run(Schedule(12, 4), watch=watch)
    difference = np.abs(dense(found).ravel() - found.watched)
    assert (difference < 0.1 * found.col_std[watch[1]]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_draws_are_in_the_datas_units(name: str) -> None:
    found = Sampler(data(), FAMILIES[name]).run(Schedule(30, 10))
    at = everywhere((25, 12))
    mean, std = found.predictive.moments(*at)
    assert (np.abs(mean - dense(found).ravel()) < std).mean() > 0.98
    assert np.median(std / found.col_std[at[1]]) == pytest.approx(1.2, abs=0.4)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_structure_and_noise_are_found(name: str) -> None:
    units = np.ones(12) if name == "two-sided" else UNITS
    found = Sampler(data(units=units), FAMILIES[name]).run(Schedule(150, 30))
    X = truth(units)
    assert np.linalg.norm(dense(found) - X) < 0.2 * np.linalg.norm(X - X.mean(0))
    expected = 0.1 * np.sqrt(np.mean(units**2))
    assert found.noise_std == pytest.approx(expected, rel=0.35)


@pytest.mark.parametrize("name", ["by column", "alike rows", "one-sided"])
def test_powers_of_two_in_columns_change_nothing_but_the_units(name: str) -> None:
    one, D = data(), 2.0 ** np.arange(-6, 6)
    scaled = Data(one.rows, one.cols, one.values * D[one.cols], one.shape)
    watch = everywhere(one.shape)
    first, second = (Sampler(each, FAMILIES[name]).run(SHORT, watch=watch) for each in (one, scaled))
    np.testing.assert_allclose(second.watched, first.watched * D[watch[1]], rtol=1e-9)
    np.testing.assert_allclose(second.col_std, first.col_std * D, rtol=1e-9)


@pytest.mark.slow
def test_a_chain_goes_on_with_other_entries() -> None:
    whole = data(noise=0.05)
    kept, out = np.split(np.random.default_rng(5).permutation(whole.values.size), [40])
    sampler = Sampler(whole.subset(kept), FAMILIES["by column"])
    before = sampler.run(Schedule(20, 10), watch=(whole.rows[out], whole.cols[out]))
    sampler.observe(whole)
    assert sampler.chain.row_sizes.sum() == sampler.chain.col_sizes.sum() == whole.values.size
    after = sampler.run(Schedule(40, 10), watch=(whole.rows[out], whole.cols[out]))
    assert after.sweeps == 60
    unit = UNITS[whole.cols[out]]
    errors = [np.mean(((each.watched - whole.values[out]) / unit) ** 2) for each in (before, after)]
    assert errors[1] < 0.3 * errors[0]


def test_units_of_all_entries_hold_where_some_are_constant() -> None:
    """A column that is zero on the first entries and not on all: in units of its own it would be huge."""
    whole, g = data(), np.random.default_rng(0)
    values = np.where(whole.cols == 3, 1e6 * (g.random(whole.values.size) < 0.1), 1e-6 * whole.values)
    rare = Data(whole.rows, whole.cols, values, whole.shape)
    first = rare.subset(np.flatnonzero(values != 1e6))
    family = FAMILIES["one-sided"]
    sampler = Sampler(first, family, standard=Standard.of(rare, by_column=True))
    sampler.run(SHORT)
    sampler.observe(rare)
    found = sampler.run(Schedule(60, 30))
    expected = Sampler(rare, family).run(Schedule(60, 30))
    others = np.arange(12) != 3
    np.testing.assert_allclose(found.col_std[others], expected.col_std[others], rtol=0.5)


def test_a_callback_sees_every_sweep() -> None:
    seen: list[int] = []
    Sampler(data(), FAMILIES["two-sided"]).run(SHORT, callback=seen.append)
    assert seen == [-2, -1, 0, 1, 2, 3]


@pytest.mark.parametrize(("share", "values"), [(0.0, [2.0]), (0.0, [1.0, 1.0, 1.0])])
def test_hardly_any_entry(share: float, values: list[float]) -> None:
    k = len(values)
    few = Data(np.arange(k), np.arange(k), np.array(values) + share, (4, 5))
    for family in FAMILIES.values():
        found = Sampler(few, family).run(SHORT)
        assert np.isfinite(dense(found)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two-sided", "one-sided"])
def test_compiled_runs_say_the_same_on_any_number_of_threads(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few entries, told to be many: shared between threads they give the bits of one thread."""
    monkeypatch.setattr(solver, "_COMPILED", 0)
    monkeypatch.setattr(half_sweep, "_THREADED", 50)
    monkeypatch.setattr(half_sweep.os, "cpu_count", lambda: 8)
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(half_sweep.torch, "get_num_threads", lambda threads=threads: threads)
        sampler = Sampler(data(), FAMILIES[name])
        assert isinstance(sampler.chain.draw_rows, Compiled)
        found.append(dense(sampler.run(SHORT)))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    monkeypatch.setattr(solver, "_COMPILED", 1e99)
    sampler = Sampler(data(), FAMILIES[name])
    assert isinstance(sampler.chain.draw_rows, Batched)
    np.testing.assert_allclose(dense(sampler.run(SHORT)), found[0], rtol=0.02, atol=0.02)

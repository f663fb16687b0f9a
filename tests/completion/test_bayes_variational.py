"""The variational form: its bound against a simulation, its rise, the rank it finds, and what it leaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse, stats

from overt.completion import MatrixCompletion
from overt.completion.bayes import Data, Family, Schedule
from overt.completion.bayes import variational as module
from overt.completion.bayes.moments import Sums
from overt.completion.bayes.variational import Levels, Side, Variational

FAMILIES = {
    "two-sided": Family(6),
    "alike rows": Family(6, row_levels=False),
    "by column": Family(6, by_column=True),
    "one-sided": Family(6, one_sided=True, row_levels=False, by_column=True),
}
every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
ALL = Schedule(300, 0)


def noisy(shape, rank, noise=0.5, share=0.6, seed=0, biases=True):
    """Data of a low-rank matrix with biases, and the matrix."""
    rng = np.random.default_rng(seed)
    m, n = shape
    truth = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
    if biases:
        truth = truth + rng.standard_normal((m, 1)) + rng.standard_normal(n)
    rows, cols = np.nonzero(rng.random(shape) < share)
    values = truth[rows, cols] + noise * rng.standard_normal(rows.size)
    return Data(rows, cols, values, shape), truth


def rank_of(model):
    return model.state.rows.centre.numel() - 1


# ---- the bound -------------------------------------------------------------------------------------------


def simulated_bound(model, count, seed=0):
    """Mean of log p(y, x, z, γ, δ) − log q(x, z, γ, δ) over draws from q, and its standard error."""
    rng, state, data = np.random.default_rng(seed), model.state, model.data
    z = (data.values - model.standard.centre[data.cols]) / model.standard.scale[data.cols]
    total = np.zeros(count)
    drawn, levels = [], []
    for side in (state.rows, state.cols):
        d = side.centre.numel()
        upper = np.triu_indices(d)
        prior = stats.multivariate_normal(side.centre.numpy(), np.linalg.inv(side.precision.numpy()))
        X = np.empty((count, side.lines.count, d))
        for i in range(side.lines.count):
            cov = np.empty((d, d))
            cov[upper] = cov.T[upper] = side.lines.cov[i].numpy()
            own = stats.multivariate_normal(side.lines.mean[i].numpy(), cov)
            X[:, i] = own.rvs(count, random_state=rng).reshape(count, d)
            total += prior.logpdf(X[:, i]) - own.logpdf(X[:, i])
        drawn.append(X)
        G = np.ones((count, side.lines.count))
        if side.levels.form is not None:
            form, rate, a = side.levels.form, side.levels.rate, side.levels.shape
            G = rng.gamma(form, 1 / rate, G.shape)
            total += (
                stats.gamma(a, scale=1 / a).logpdf(G) - stats.gamma(form, scale=1 / rate).logpdf(G)
            ).sum(1)
        levels.append(G)
    (X, Z), (gamma, delta) = drawn, levels
    i, j = data.rows, data.cols
    value = np.einsum("skt,skt->sk", X[:, i, :-1], Z[:, j, :-1]) + X[:, i, -1] + Z[:, j, -1]
    std = 1 / np.sqrt(state.precision * gamma[:, i] * delta[:, j])
    total += stats.norm.logpdf(z, value, std).sum(1)
    return total.mean(), total.std() / np.sqrt(count)


@every_family
@pytest.mark.parametrize("sweeps", [1, 7])
def test_bound_is_that_of_a_simulation(family, sweeps):
    data, _ = noisy((9, 7), 2)
    model = Variational(data, replace(family, rank=2))
    model.run(Schedule(sweeps, 0))
    mean, error = simulated_bound(model, 4000)
    assert abs(model.bounds[-1] - mean) < 4.5 * error
    assert error < 0.02 * abs(model.bounds[-1])


def largest_fall(family, sweeps=25):
    """The largest fall of the bound in a sweep, for each entry; negative if it always rises."""
    data, _ = noisy((50, 30), 3)
    model = Variational(data, family)
    for _ in range(sweeps):
        model._sweep()
    return -np.diff(model.bounds).min() / data.values.size


@every_family
def test_bound_rises(family):
    assert largest_fall(family) < 1e-9


def damaged_misfit(self, own, intact=Sums.misfit):
    return intact(self, replace(own, cov=own.cov * 0))


def damaged_levels(self, sizes, misfit, intact=Levels.fitted):
    return intact(self, sizes, 2 * misfit)


def damaged_prior(self, side, *, rows, intact=Variational._with_prior):
    found = intact(self, side, rows=rows)
    return replace(found, precision=3 * found.precision)


def damaged_weight(self, factor=1.0, intact=Side.weight):
    return intact(self, factor if factor == 1.0 else 3 * factor)


@pytest.mark.parametrize(
    ("where", "name", "damaged"),
    [
        (Sums, "misfit", damaged_misfit),
        (Levels, "fitted", damaged_levels),
        (Variational, "_with_prior", damaged_prior),
        (Side, "weight", damaged_weight),
    ],
)
def test_a_wrong_update_lets_the_bound_fall(monkeypatch, where, name, damaged):
    """With the bound itself intact: the test above can fail."""
    monkeypatch.setattr(where, name, damaged)
    assert largest_fall(FAMILIES["two-sided"]) > 1e-6


def test_single_and_double_precision_agree(monkeypatch):
    """So do sparse and dense sums."""
    data, _ = noisy((60, 40), 2)
    model = Variational(data, Family(4))
    bounds = [model.run(Schedule(12, 0)) and model.bounds[-1]]
    monkeypatch.setattr(module, "_SINGLE", 0)
    monkeypatch.setattr("overt.completion.bayes.moments._DENSE", 1.0)
    other = Variational(data, Family(4))
    assert other._type == torch.float32
    bounds.append(other.run(Schedule(12, 0)) and other.bounds[-1])
    assert bounds[1] == pytest.approx(bounds[0], rel=1e-4)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@every_family
def test_a_gpu_gives_the_same(family):
    data, _ = noisy((60, 40), 2)
    bounds = []
    for device in ("cpu", "cuda"):
        model = Variational(data, family, device=device)
        model.run(Schedule(12, 0))
        bounds.append(model.bounds[-1])
    assert bounds[1] == pytest.approx(bounds[0], rel=1e-6)


def test_lines_in_pieces_give_the_same(monkeypatch):
    data, _ = noisy((60, 40), 2)
    whole = Variational(data, Family(4)).run(Schedule(12, 0))
    monkeypatch.setattr("overt.completion.bayes.moments._NUMBERS", 7 * 25)
    pieces = Variational(data, Family(4)).run(Schedule(12, 0))
    np.testing.assert_allclose(pieces.spectrum, whole.spectrum, rtol=1e-9)


# ---- the rank --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1, 3, 5])
@pytest.mark.parametrize(("shape", "share", "noise"), [((100, 80), 0.5, 0.5), ((300, 250), 0.15, 1.0)])
def test_finds_the_rank(shape, share, noise, rank):
    data, truth = noisy(shape, rank, noise, share, seed=rank)
    model = Variational(data, Family(12))
    found = model.run(ALL)
    assert rank_of(model) == rank == len(found.spectrum)
    assert found.noise_std == pytest.approx(noise, rel=0.05)
    fitted = found.left @ found.right.T + found.mean + found.row[:, None] + found.col
    assert np.sqrt(np.mean((fitted - truth) ** 2)) < 0.8 * noise


@pytest.mark.slow
def test_factor_analysis_finds_the_rank():
    data, _ = noisy((400, 15), 3, 0.5, 0.8, biases=False)
    model = Variational(data, Family(12, one_sided=True, row_levels=False, by_column=True))
    found = model.run(ALL)
    assert rank_of(model) == len(found.spectrum) == 3


def test_directions_are_rotated_without_changing_products():
    data, _ = noisy((40, 30), 2)
    for family in FAMILIES.values():
        model = Variational(data, family)
        for _ in range(5):
            model._sweep()
        before, bound = products(model), model.state.bound
        model._turn()
        np.testing.assert_allclose(products(model), before, atol=1e-9)
        assert model.state.bound >= bound - 1e-7
        sums = model._rows.sums(model.state.cols.lines, model.state.cols.weight())
        again = model._bounded(model.state.rows, model.state.cols, sums.misfit(model.state.rows.lines))
        assert model.state.bound <= again.bound + 1e-6  # it stays a bound: τ may have become better


def products(model):
    X, Z = (side.lines.mean.numpy() for side in (model.state.rows, model.state.cols))
    return X[:, :-1] @ Z[:, :-1].T + X[:, -1:] + Z[:, -1]


# ---- what it leaves --------------------------------------------------------------------------------------


@pytest.mark.slow
@every_family
def test_posterior_is_that_of_its_factors(family):
    data, truth = noisy((50, 20), 2, noise=0.3)
    hidden = np.ones(truth.shape, bool)
    hidden[data.rows, data.cols] = False
    rows, cols = np.nonzero(hidden)
    found = Variational(data, family).run(ALL, watch=(rows, cols))
    fitted = (found.left @ found.right.T + found.mean + found.row[:, None] + found.col)[rows, cols]
    np.testing.assert_allclose(fitted, found.watched, atol=0.02 * found.noise_std)
    mean, std = found.predictive.moments(rows, cols)
    assert np.sqrt(np.mean((mean - found.watched) ** 2)) < 0.5 * found.noise_std
    values = truth[rows, cols] + 0.3 * np.random.default_rng(1).standard_normal(rows.size)
    low, high = found.predictive.interval(rows, cols, 0.9)
    assert 0.85 < np.mean((low <= values) & (values <= high)) < 0.95
    assert (std > 0).all()


@pytest.mark.slow
def test_seed_and_data_decide():
    data, _ = noisy((40, 30), 2)
    watch = np.array([0]), np.array([0])
    runs = [Variational(data, Family(4), seed=seed).run(ALL, watch=watch) for seed in (0, 0, 1)]
    first, second, other = (run.predictive.draws[0].left for run in runs)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert runs[0].watched == runs[1].watched


@every_family
def test_units_of_the_data(family):
    data, _ = noisy((40, 12), 2)
    scale = np.exp(np.random.default_rng(0).normal(0, 3, 12)) if family.by_column else np.full(12, 100.0)
    scaled = replace(data, values=data.values * scale[data.cols])
    watch = np.arange(12), np.arange(12)
    plain, other = (Variational(one, family).run(Schedule(20, 0), watch=watch) for one in (data, scaled))
    np.testing.assert_allclose(other.watched, plain.watched * scale, rtol=1e-6)
    np.testing.assert_allclose(other.col_std, plain.col_std * scale, rtol=1e-6)


@pytest.mark.slow
def test_goes_on_with_other_entries():
    data, truth = noisy((60, 50), 2, noise=0.3)
    order = np.random.default_rng(0).permutation(data.values.size)
    model = Variational(data.subset(order[: order.size // 2]), Family(5))
    everywhere = tuple(np.indices(truth.shape).reshape(2, -1))
    half = model.run(ALL, watch=everywhere).watched
    model.observe(data)
    told = []
    found = model.run(ALL, watch=everywhere, callback=told.append)
    error = [np.sqrt(np.mean((one - truth.ravel()) ** 2)) for one in (half, found.watched)]
    assert error[1] < 0.85 * error[0]
    assert len(model.bounds) == len(told) < ALL.sweeps
    fresh = Variational(data, Family(5))
    fresh.run(ALL)
    bounds = [one.bounds[-1] / data.values.size - np.log(one.standard.scale[0]) for one in (model, fresh)]
    assert bounds[0] == pytest.approx(bounds[1], abs=2e-3)


def corners():
    rng = np.random.default_rng(0)
    table = rng.standard_normal((30, 2)) @ rng.standard_normal((2, 8)) + 0.1 * rng.standard_normal((30, 8))
    constant, empty = table.copy(), table.copy()
    constant[:, 0], constant[:, 1] = 5, 0
    empty[3], empty[:, 2] = np.nan, np.nan
    yield from {
        "constant columns": constant,
        "empty lines": empty,
        "exact": np.outer(np.arange(1.0, 21), np.arange(1.0, 8)),
        "all alike": np.full((6, 5), 3.0),
        "one entry": np.ones((1, 1)),
        "one row": table[:1],
        "one column": table[:, :1],
    }.items()


@every_family
@pytest.mark.parametrize(("name", "X"), list(corners()))
def test_degenerate_data(family, name, X):
    rows, cols = np.nonzero(~np.isnan(X))
    watch = tuple(np.indices(X.shape).reshape(2, -1))
    found = Variational(Data(rows, cols, X[rows, cols], X.shape), family).run(Schedule(30, 0), watch=watch)
    assert np.isfinite(found.watched).all()
    low, high = np.nanmin(X), np.nanmax(X)
    reach = 0.5 * (high - low) + 1e-6 * abs(high)
    assert (found.watched > low - reach).all(), name
    assert (found.watched < high + reach).all(), name
    if name in ("constant columns", "exact", "all alike"):
        error = np.abs(found.watched.reshape(X.shape) - X)
        assert error[:, :2].max() < 1e-2


def test_features_are_refused():
    data, _ = noisy((10, 8), 1)
    with pytest.raises(ValueError, match="without features of rows or columns"):
        Variational(replace(data, row_features=sparse.csr_matrix(np.ones((10, 1)))), Family(2))


# ---- in the estimator ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("quality", ["standard", "best"])
def test_estimator_uses_it(quality):
    data, truth = noisy((120, 12), 2, noise=0.3)
    X = np.full(data.shape, np.nan)
    X[data.rows, data.cols] = data.values
    est = MatrixCompletion("bayes", inference="variational", quality=quality, certify=False).fit(X)
    missing = np.isnan(X)
    error = np.sqrt(np.mean((est.fit_transform(X) - truth)[missing] ** 2))
    means = np.sqrt(np.mean((np.nanmean(X, 0) - truth)[missing] ** 2))
    assert error < 0.45 * means
    assert est.noise_std_ == pytest.approx(0.3, rel=0.25)
    if quality == "standard":
        assert "variational" in est.message_
    assert np.isfinite(est.predict([0], [0], return_std=True)[1]).all()


def test_estimator_refuses_features():
    X = np.where(np.random.default_rng(0).random((20, 8)) < 0.3, np.nan, 1.0)
    with pytest.raises(ValueError, match="inference='variational' must be used without"):
        MatrixCompletion("bayes", inference="variational").fit(X, row_features=np.ones((20, 2)))

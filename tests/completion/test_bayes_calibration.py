"""The whole sampler: parameters drawn from the prior are left so distributed by sweeps given their data.

If θ is drawn from the prior and y given θ, then θ is a draw from the posterior given y, which every
correct conditional leaves alone. So after any number of sweeps θ still follows the prior, whose marginal
distributions are known (Geweke 2004; Gandy & Scott 2020).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse, stats

from overt.completion.bayes import link as link_room
from overt.completion.bayes import sampler
from overt.completion.bayes.half_sweep import Batched, Drawn, Given
from overt.completion.bayes.lines import Lines
from overt.completion.bayes.link import Link
from overt.completion.bayes.sampler import Chain, Family, Relevance, Side

Array = NDArray[Any]
_SHAPE = 5.0  # of noise levels, given rather than estimated: an estimate has no prior
M, N, RANK = 5, 4, 2
ZERO = np.linspace(-2, 3, N)  # of the data, in standardized units

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def fixed_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shape of the noise levels is known, and systems of equations are solved to the end."""
    monkeypatch.setattr(sampler, "gamma_shape", lambda levels: _SHAPE)
    monkeypatch.setattr(link_room, "_TOLERANCE", 1e-6)


def wishart_side(count: int, linked: bool, g: np.random.Generator) -> Side:
    """Coordinates of lines, drawn with their mean, precision and link from the prior."""
    d = RANK + 1
    precision = np.atleast_2d(stats.wishart(d, np.eye(d)).rvs(random_state=g))
    L = np.linalg.inv(np.linalg.cholesky(precision))
    X = g.normal(size=d) @ L / np.sqrt(2) + g.normal(size=(count, d)) @ L
    side = Side(X, X, g.gamma(_SHAPE, 1 / _SHAPE, size=count), _SHAPE)
    if linked:
        explain(side, L, g)
    return side


def explain(side: Side, root: Array, g: np.random.Generator) -> None:
    """Let features add to the coordinates, whose rows have spread ``root`` without them."""
    F, d = g.normal(size=(side.sample.shape[0], 2)), side.sample.shape[1]
    side.link = Link(sparse.csr_matrix(F), d)
    side.link._ridge = g.exponential()
    B = g.normal(size=(2, d)) @ root
    side.link._B = torch.as_tensor(B / np.sqrt(side.link._ridge), dtype=torch.float32)
    side.fitted = F @ B / np.sqrt(side.link._ridge)
    side.sample = side.mean = side.sample + side.fitted


def truth(family: Family, linked: bool, g: np.random.Generator) -> tuple[Side, Side, float, Relevance]:
    """All that the chain holds, drawn from the prior."""
    precision, scale = g.standard_cauchy() ** -2.0, abs(g.normal())
    of_loadings, of_means = (scale * g.standard_cauchy(RANK)) ** -2.0, g.standard_cauchy() ** -2.0
    relevance = Relevance(of_loadings, of_means, scale**2)
    if not family.one_sided:
        rows, cols = wishart_side(M, linked, g), wishart_side(N, False, g)
        return rows, cols, precision, relevance
    means = ZERO + g.normal(size=N) / np.sqrt(of_means)
    loadings = np.c_[g.normal(size=(N, RANK)) / np.sqrt(of_loadings), means]
    coordinates = np.c_[g.normal(size=(M, RANK)), 1e-3 * g.normal(size=M)]
    levels = np.ones(M), g.gamma(_SHAPE, 1 / _SHAPE, size=N)
    rows, cols = (Side(X, X, own, _SHAPE) for X, own in zip((coordinates, loadings), levels, strict=True))
    if linked:
        explain(rows, np.diag(np.r_[np.ones(RANK), 1e-3]), g)
        explain(cols, np.diag(np.r_[of_loadings, of_means] ** -0.5), g)
    return rows, cols, precision, relevance


def entries(rows: Side, cols: Side, precision: float, g: np.random.Generator) -> tuple[Lines, Lines]:
    i, j = np.nonzero(g.random((M, N)) < 0.7)
    p, q = rows.sample, cols.sample
    noise = g.normal(size=i.size) / np.sqrt(precision * rows.levels[i] * cols.levels[j])
    y = np.sum(p[i, :-1] * q[j, :-1], 1) + p[i, -1] + q[j, -1] + noise
    return Lines.of(i, j, y, (M, N)), Lines.of(j, i, y, (N, M))


def after(family: Family, linked: bool, seed: int, sweeps: int) -> dict[str, float]:
    """Some parameters after sweeps from a truth, given data that came of it."""
    g = np.random.default_rng(seed)
    rows, cols, precision, relevance = truth(family, linked, g)
    by_row, by_column = entries(rows, cols, precision, g)
    draws, sizes = (Batched(by_row), Batched(by_column)), (by_row.sizes, by_column.sizes)
    chain = Chain(family, rows, cols, *draws, *sizes, precision, g, ZERO, 10, relevance)
    for _ in range(sweeps):
        for _ in chain.sweep():
            pass
    i, j = by_row.own, by_row.other
    p, q = chain.rows.sample, chain.cols.sample
    rest, left = chain.rows.unexplained, chain.cols.unexplained
    error = by_row.y - np.sum(p[i, :-1] * q[j, :-1], 1) - p[i, -1] - q[j, -1]
    size = np.sqrt(chain.precision * chain.rows.levels[i] * chain.cols.levels[j])
    pick = g.integers(i.size) if i.size else 0
    return {
        "noise level": chain.precision**-0.5,
        "relevance": (chain.relevance.loadings[0] * chain.relevance.square) ** -0.5,
        "scale of loadings": chain.relevance.square**0.5,
        "spread of means": chain.relevance.means**-0.5,
        "row level": chain.rows.levels[0],
        "column level": chain.cols.levels[0],
        "row coordinate": rest[0, 0],
        "row bias": rest[0, -1],
        "row sum": rest[0, 0] + rest[1, 0],
        "row difference": rest[0, 0] - rest[1, 0],
        "loading": left[0, 0] * (chain.relevance.loadings[0] ** 0.5 if family.one_sided else 1.0),
        "column bias": (left[0, -1] - ZERO[0]) * chain.relevance.means**0.5
        if family.one_sided
        else left[0, -1],
        "noise": (error * size)[pick] if i.size else g.normal(),
        "ridge": 0.0 if chain.rows.link is None else chain.rows.link._ridge,
        "ridge of columns": 0.0 if chain.cols.link is None else chain.cols.link._ridge,
    }


LEVELS = stats.gamma(_SHAPE, scale=1 / _SHAPE)
CAUCHY = stats.cauchy(
    scale=np.sqrt(1.5)
)  # a coordinate under a Normal–Wishart prior with d degrees of freedom
TWO_SIDED = {
    "noise level": stats.halfcauchy(),
    "row level": LEVELS,
    "column level": LEVELS,
    **dict.fromkeys(("row coordinate", "row bias", "loading", "column bias"), CAUCHY),
    "row sum": stats.cauchy(scale=2),
    "row difference": stats.cauchy(scale=np.sqrt(2)),
    "noise": stats.norm(),
}
ONE_SIDED = TWO_SIDED | {
    "row coordinate": stats.norm(),
    "row sum": stats.norm(scale=np.sqrt(2)),
    "row difference": stats.norm(scale=np.sqrt(2)),
    "row bias": stats.norm(scale=1e-3),
    "loading": stats.norm(),
    "relevance": stats.halfcauchy(),
    "scale of loadings": stats.halfnorm(),
    "spread of means": stats.halfcauchy(),
    "column bias": stats.norm(),
}
FAMILIES = {
    "two-sided": (Family(RANK), False, TWO_SIDED),
    "linked": (Family(RANK), True, TWO_SIDED | {"ridge": stats.expon()}),
    "one-sided": (Family(RANK, one_sided=True, row_levels=False), False, ONE_SIDED),
    "one-sided, linked": (
        Family(RANK, one_sided=True, row_levels=False),
        True,
        ONE_SIDED | {"ridge": stats.expon(), "ridge of columns": stats.expon()},
    ),
}
RUNS, SWEEPS, UNLIKELY = 400, 6, 1e-3


def least_likely(name: str, runs: int = RUNS, sweeps: int = SWEEPS) -> tuple[float, str]:
    """The smallest p-value, and of which parameter."""
    family, linked, laws = FAMILIES[name]
    found = [after(family, linked, seed, sweeps) for seed in range(runs)]
    tested = [key for key in laws if key != "row level" or family.row_levels]
    return min((stats.kstest([one[key] for one in found], laws[key].cdf).pvalue, key) for key in tested)


@pytest.mark.parametrize("name", FAMILIES)
def test_sweeps_leave_the_prior_alone(name: str) -> None:
    pvalue, key = least_likely(name)
    assert pvalue > UNLIKELY, key


@pytest.mark.parametrize("name", FAMILIES)
def test_the_truths_are_drawn_from_the_prior(name: str) -> None:
    pvalue, key = least_likely(name, sweeps=0)
    assert pvalue > UNLIKELY, key


class Broken(Batched):
    """Half sweeps with the samples too far from the mean."""

    def __call__(self, given: Given, normals: Array) -> Drawn:
        """With a tenth more spread."""
        return super().__call__(given, 1.15 * normals)


def broken(fault: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a conditional wrong; the name of a family in which it is used."""
    levels, wishart, cauchy = sampler.gamma_levels, sampler.normal_wishart, sampler.half_cauchy_precision
    if fault == "half sweep":
        monkeypatch.setitem(globals(), "Batched", Broken)
    elif fault == "noise levels":
        monkeypatch.setattr(sampler, "gamma_levels", lambda a, k, *rest: levels(a, k + 1, *rest))
    elif fault == "precision of coordinates":
        monkeypatch.setattr(
            sampler, "normal_wishart", lambda *given: (lambda m, P: (m, 2 * P))(*wishart(*given))
        )
    elif fault == "relevance":
        monkeypatch.setattr(sampler, "half_cauchy_precision", lambda k, *rest: cauchy(k + 1, *rest))
        return "one-sided"
    elif fault == "precision of a link":
        monkeypatch.setattr(sampler, "normal_wishart", lambda X, g, linked: wishart(X, g, linked[:0]))
        return "linked"
    return "two-sided"


@pytest.mark.parametrize(
    "fault", ["half sweep", "noise levels", "precision of coordinates", "relevance", "precision of a link"]
)
def test_a_wrong_conditional_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert least_likely(broken(fault, monkeypatch))[0] < UNLIKELY

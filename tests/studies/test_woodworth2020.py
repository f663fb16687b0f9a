"""Woodworth et al. 2020: predictions against independent solvers, plan, verdicts, runs, figures."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import changed, outcomes, runs

from overt.problems import linear_regression
from overt.studies import RunContext
from overt.studies.runs.records import dump_lines, load_lines
from overt.studies.woodworth2020.bias import basis_pursuit, minimum_norm, q_minimizer, q_value
from overt.studies.woodworth2020.minimum import MinimumConfig
from overt.studies.woodworth2020.scale import SMALLEST, ScaleConfig
from overt.studies.woodworth2020.sparse import DEPTHS, FEW, SPARSER, SparseConfig
from overt.studies.woodworth2020.study import study

# ---- predictions ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data():
    problem = linear_regression(20, n_samples=8, seed=0, nonzeros=2)
    return problem.X.numpy(), problem.y.numpy()


def test_minimum_norm_and_basis_pursuit(data):
    X, y = data
    short, sparse = minimum_norm(X, y), basis_pursuit(X, y)
    for w in (short, sparse):
        np.testing.assert_allclose(X @ w, y, atol=1e-9)
    np.testing.assert_allclose(short, np.linalg.pinv(X) @ y, atol=1e-9)
    assert np.abs(sparse).sum() <= np.abs(short).sum()
    assert (np.abs(sparse) > 1e-9).sum() <= len(y)


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_q_minimizer_is_the_least_interpolator(data, depth, alpha):
    """Any step inside the null space of X raises Q."""
    X, y = data
    w = q_minimizer(X, y, alpha, depth)
    np.testing.assert_allclose(X @ w, y, atol=1e-8)
    value = q_value(w, alpha, depth)
    null = np.linalg.svd(X)[2][8:]
    rng = np.random.default_rng(0)
    for size in (1e-3, 1e-1):
        for _ in range(10):
            step = null.T @ rng.standard_normal(12)
            assert q_value(w + size * step, alpha, depth) > value - 1e-12


def test_q_value_is_the_papers_formula_at_depth_two():
    w, alpha = np.array([-0.7, 0.0, 0.3, 2.0]), 0.4
    z = w / alpha**2
    expected = alpha**2 * (2 - np.sqrt(4 + z**2) + z * np.arcsinh(z / 2)).sum()
    assert q_value(w, alpha, 2) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("depth", [3, 4])
def test_q_value_integrates_the_inverse_of_h(depth):
    from scipy.integrate import quad
    from scipy.optimize import brentq

    def h(s):
        return (1 - s) ** (-depth / (depth - 2)) - (1 + s) ** (-depth / (depth - 2))

    alpha, w = 0.7, 0.9
    top = w / alpha**depth
    inverse = quad(lambda z: brentq(lambda s: h(s) - z, 0, 1 - 1e-12), 0, top)[0]
    assert q_value(np.array([w]), alpha, depth) == pytest.approx(alpha**depth * inverse, rel=1e-6)


def test_q_minimizer_has_both_limits(data):
    X, y = data
    for depth, small in ((2, 1e-5), (3, 1e-3), (4, 1e-2)):
        np.testing.assert_allclose(q_minimizer(X, y, 30.0, depth), minimum_norm(X, y), atol=1e-3)
        excess = np.abs(q_minimizer(X, y, small, depth)).sum() / np.abs(basis_pursuit(X, y)).sum()
        assert excess == pytest.approx(1.0, abs=0.02)
    np.testing.assert_allclose(q_minimizer(X, y, 1.0, 1), minimum_norm(X, y))


# ---- runs -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        MinimumConfig(n=20, n_observed=8, nonzeros=2, max_steps=3000, seed=0),
        ScaleConfig(n=20, n_observed=8, nonzeros=2, depth=2, alpha=1.0, max_steps=2000, seed=0),
        SparseConfig(n=20, n_observed=8, nonzeros=2, method="depth 3", max_steps=50, seed=0),
        SparseConfig(n=20, n_observed=8, nonzeros=2, method="ℓ½", max_steps=200, seed=0),
        SparseConfig(n=20, n_observed=8, nonzeros=2, method="weight 0", max_steps=20, seed=0),
    ],
    ids=lambda config: f"{config.part}-{getattr(config, 'method', '')}",
)
def test_one_small_run_of_each_kind(config, tmp_path):
    (record,) = load_lines(dump_lines(study.execute(config, RunContext(tmp_path, lambda line: None)).records))
    assert {"error", "to_l1", "to_l2", "l1_excess", "status"} <= set(record)
    if config.part == "minimum":
        assert record["to_l2"] < 1e-6
    if config.part == "scale":
        assert record["to_prediction"] < 0.02 < record["to_l1"]
    if config.part == "sparse":
        assert record["raw_error"] >= 0
        assert ("relative_gradient" in record) == (config.method not in DEPTHS)
    if getattr(config, "method", "") == "weight 0":  # the minimum norm solution is where it stays
        assert record["to_l2"] < 1e-9


def test_refusals():
    with pytest.raises(ValueError, match="alpha"):
        ScaleConfig(alpha=0.0, seed=0)
    with pytest.raises(ValueError, match="method"):
        SparseConfig(method="depth 5", seed=0)


# ---- verdicts ---------------------------------------------------------------------------------------------


def theory(config):
    """What the paper says, and penalties that work."""
    if config.part == "minimum":
        return {"to_l2": 1e-8}
    if config.part == "scale":
        largest, smallest = config.alpha == 3.0, config.alpha == SMALLEST[config.depth]
        return {
            "to_prediction": 1e-3,
            "to_l1": 0.4,
            "to_l2": 0.01 if largest else 0.5,
            "l1_excess": 0.01 if smallest else 0.05 if config.depth > 2 else 0.5,
        }
    good = config.method in SPARSER or (config.n_observed > FEW and config.method != "weight 0")
    return {
        "error": 1e-9 if good else 0.8,
        "raw_error": 1e-3 if good else 0.8,
        "to_l1": 0.01,
        "l1_error": 0.9 if config.n_observed == FEW else 1e-9,
    }


YES = {
    **dict.fromkeys(("W1", "W2", "W3", "W4", "W5", "W6"), "reproduced"),
    "W7": "supported",
    "W8": "supported",
}


@pytest.mark.parametrize(
    ("claim", "record", "expected"),
    [
        ("W1", {"to_l2": 1e-3}, "not reproduced"),
        ("W2", {"to_prediction": 0.3}, "not reproduced"),
        ("W2", {"to_l1": 1e-4}, "not reproduced"),
        ("W3", {"to_prediction": 0.3}, "not reproduced"),
        ("W4", {"to_l2": 0.5}, "not reproduced"),
        ("W4", {"l1_excess": 0.5}, "not reproduced"),
        ("W5", {"l1_excess": 0.5}, "not reproduced"),
        ("W5", {"l1_excess": 1e-6}, "not reproduced"),  # both below the accuracy of the fit
        ("W6", {"to_l1": 0.8}, "not reproduced"),
        ("W6", {"l1_error": 0.0}, "inconclusive"),
        ("W7", {"error": 0.2}, "refuted"),
        ("W7", {"error": 1e-9}, "refuted"),  # weight zero does it as well
        ("W8", {"error": 0.8}, "undecided"),  # as good as depth, no worse
        ("W8", {"error": lambda config: 0.8 if getattr(config, "method", "") in SPARSER else 0.1}, "refuted"),
        ("W8", {"error": lambda config: 1e-9 if getattr(config, "method", "") == "ℓ½" else 0.8}, "supported"),
    ],
)
def test_verdicts(claim, record, expected):
    assert outcomes(study, runs(study, theory)) == YES
    assert outcomes(study, runs(study, changed(theory, **record)))[claim] == expected


def test_runs_that_were_stopped_are_no_evidence():
    stopped = outcomes(study, runs(study, changed(theory, status="budget", loss=0.6)))
    assert set(stopped.values()) == {"inconclusive", "undecided"}
    fitted = outcomes(study, runs(study, changed(theory, status="budget", loss=1e-12)))
    assert {claim for claim in YES if fitted[claim] == YES[claim]} == {"W1", "W2", "W3", "W4", "W5", "W6"}
    still = runs(study, changed(theory, status="budget", loss=1e-13, relative_gradient=1e-3))
    assert outcomes(study, still) == YES


@pytest.mark.slow
def test_figures():
    found = study.figures(runs(study, theory))
    assert [figure.id for figure in found] == ["explicit", "regimes", "prediction", "minimum"]
    assert all(figure.panels and figure.data and figure.caption for figure in found)

"""Woodworth et al. 2020: predictions against independent solvers, plan, verdicts, runs, figures."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from overt.problems import linear_regression
from overt.studies import Run, RunContext
from overt.studies.runs.identity import config_hash
from overt.studies.runs.records import dump_lines, load_lines
from overt.studies.woodworth2020.bias import basis_pursuit, minimum_norm, q_minimizer, q_value
from overt.studies.woodworth2020.claims import CLAIMS, GROUPS
from overt.studies.woodworth2020.config import ALPHAS, FEW, WoodworthConfig
from overt.studies.woodworth2020.figures import figures
from overt.studies.woodworth2020.rules import PENALTIES, judge
from overt.studies.woodworth2020.study import study


def run(record, **fields):
    config = WoodworthConfig(**fields)
    name = config_hash("woodworth2020", 1, config)
    return Run(
        "woodworth2020",
        name,
        config.model_dump(mode="json"),
        [{"loss": 0.0, **record}],
        {},
        {"status": "done"},
    )


def verdict(claim, runs):
    found = {one.claim: one for one in judge(runs)}
    assert list(found) == [one.id for one in CLAIMS]
    assert all(math.isfinite(estimate.value) for estimate in found[claim].estimates)
    json.dumps(found[claim].reason, allow_nan=False)
    return found[claim].outcome


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


# ---- plan and runs ----------------------------------------------------------------------------------------


def test_plans():
    for preset in ("quick", "full"):
        configs = study.plan(preset, 0)
        assert len(set(configs)) == len(configs)
        assert {config.group for config in configs} == set().union(*GROUPS.values())
        assert len({config.seed for config in configs}) == (3 if preset == "quick" else 10)
    assert study.concerns({"group": "scale", "depth": 2}, "W2")
    assert not study.concerns({"group": "scale", "depth": 2}, "W3")
    assert study.concerns({"group": "scale", "depth": 2}, "W4")
    assert not study.concerns({"group": "minimum", "depth": 1}, "W4")


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"group": "minimum", "max_steps": 3000},
        {"group": "scale", "depth": 2, "alpha": 1.0, "max_steps": 2000},
        {"group": "few", "depth": 3, "alpha": 1.0, "max_steps": 50},
        {"group": "explicit", "weight": 1e-2, "lr": 1e-2, "optimizer": "adam", "max_steps": 300},
        {"group": "explicit", "p": 0.5, "weight": 1e-2, "optimizer": "adam", "max_steps": 20},
    ],
)
def test_one_small_run_of_each_kind(fields, tmp_path):
    config = WoodworthConfig(n=20, n_observed=8, nonzeros=2, seed=0, **fields)
    (record,) = load_lines(dump_lines(study.execute(config, RunContext(tmp_path, lambda line: None)).records))
    assert {"error", "to_l1", "to_l2", "l1_excess", "status"} <= set(record)
    if config.group == "minimum":
        assert record["to_l2"] < 1e-6
    if config.group == "scale":
        assert record["to_prediction"] < 0.02 < record["to_l1"]
    assert study.label(config).startswith(config.group)


def test_refusals():
    with pytest.raises(ValueError, match="samples"):
        WoodworthConfig(group="minimum", n=10, n_observed=10, seed=0)
    with pytest.raises(ValueError, match="optimizer"):
        WoodworthConfig(group="minimum", optimizer="nope", seed=0)


# ---- verdicts ---------------------------------------------------------------------------------------------


def test_nothing_is_inconclusive():
    assert {one.outcome for one in judge([])} == {"inconclusive"}
    assert figures([]) == []


@pytest.mark.parametrize(
    ("distance", "loss", "expected"),
    [(1e-8, 0.0, "reproduced"), (1e-3, 0.0, "not reproduced"), (1e-3, 1e-4, "inconclusive")],
)
def test_w1(distance, loss, expected):
    runs = [run({"to_l2": distance, "loss": loss}, group="minimum", seed=seed) for seed in range(3)]
    assert verdict("W1", runs) == expected


def scales(distance=1e-3, spread=0.0, l1=0.4, kernel=0.01, rich=0.01, shallow=0.5, deep=0.05, seeds=range(6)):
    runs = []
    for depth, alphas in ALPHAS.items():
        for alpha in alphas:
            excess = rich if alpha == alphas[0] else deep if depth > 2 else shallow
            for seed in seeds:
                record = {
                    "to_prediction": distance * (1 + spread * (seed % 2)),
                    "to_l1": l1,
                    "to_l2": kernel if alpha == alphas[-1] else 0.5,
                    "l1_excess": excess * (1 + spread * (seed % 2)),
                    "error": 0.1,
                }
                runs.append(run(record, group="scale", depth=depth, alpha=alpha, seed=seed))
    return runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claim", "fields", "expected"),
    [
        ("W2", {}, "reproduced"),
        ("W2", {"distance": 0.3}, "not reproduced"),
        ("W2", {"l1": 1e-4}, "not reproduced"),
        ("W2", {"distance": 0.019, "spread": 0.5}, "inconclusive"),
        ("W3", {}, "reproduced"),
        ("W3", {"distance": 0.3}, "not reproduced"),
        ("W3", {"distance": 0.019, "spread": 0.5}, "inconclusive"),
        ("W4", {}, "reproduced"),
        ("W4", {"kernel": 0.5}, "not reproduced"),
        ("W4", {"rich": 0.5}, "not reproduced"),
        ("W4", {"rich": 0.049, "spread": 0.5}, "inconclusive"),
        ("W5", {}, "reproduced"),
        ("W5", {"deep": 0.5}, "not reproduced"),
        ("W5", {"seeds": range(1)}, "inconclusive"),
    ],
)
def test_w2_to_w5(claim, fields, expected):
    assert verdict(claim, scales(**fields)) == expected


def few(to_l1=0.01, error=0.8, l1_error=0.9, seeds=range(6)):
    return [
        run(
            {"to_l1": to_l1, "error": error, "l1_error": l1_error},
            group="few",
            n_observed=FEW,
            depth=depth,
            alpha=0.01,
            seed=seed,
        )
        for depth in (3, 4)
        for seed in seeds
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "reproduced"),
        ({"to_l1": 0.8, "error": 0.1}, "not reproduced"),
        ({"l1_error": 0.0}, "inconclusive"),
        ({"seeds": range(1)}, "inconclusive"),
    ],
)
def test_w6(fields, expected):
    assert verdict("W6", few(**fields)) == expected


def test_the_penalties_of_w7_are_those_that_are_run():
    run_ = {(one.p, one.q) for one in study.plan("quick", 0) if one.group == "explicit"}
    assert run_ == {(fields["p"], fields["q"]) for fields in PENALTIES.values()}
    assert PENALTIES["ℓ1"] == {"p": 1.0, "q": None}
    assert PENALTIES["ℓ1/ℓ2"] == {"p": 1.0, "q": 2.0}


def penalties(enough=1e-3, l1=0.9, others=1e-3):
    return [
        run(
            {
                "error": enough if count > FEW else l1 if name == "ℓ1" else others,
                "l1_error": 0.5,
                "l2_error": 0.8,
            },
            group="explicit",
            n_observed=count,
            seed=seed,
            **fields,
        )
        for count in (40, FEW)
        for name, fields in PENALTIES.items()
        for seed in range(3)
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "reproduced"),
        ({"enough": 0.2}, "not reproduced"),
        ({"others": 0.9}, "not reproduced"),
        ({"others": 0.6}, "inconclusive"),
        ({"others": None}, "not reproduced"),
    ],
)
def test_w7(fields, expected):
    assert verdict("W7", [*few(), *penalties(**fields)]) == expected


@pytest.mark.slow
def test_figures():
    found = figures([*scales(seeds=range(2)), *few(), *penalties()])
    assert [figure.id for figure in found] == ["regimes", "prediction", "explicit"]
    assert all(figure.panels and figure.data and figure.caption for figure in found)


@pytest.mark.parametrize("claim", ["W2", "W3", "W4", "W5"])
def test_runs_that_were_stopped_are_no_evidence(claim):
    runs = scales()
    for one in runs:
        one.records[0].update(loss=0.6, l1_excess=-0.8)
    found = {one.claim: one for one in judge(runs)}[claim]
    assert found.outcome == "inconclusive"
    assert "ended before they fitted the data" in found.reason


def test_stopped_runs_of_few_samples_are_no_evidence():
    runs = few()
    for one in runs:
        one.records[0].update(loss=0.6, status="budget")
    assert verdict("W6", runs) == verdict("W7", [*runs, *penalties()]) == "inconclusive"


def test_mixed_settings_are_named():
    other = [run(one.records[0], **(one.config | {"max_steps": 50})) for one in scales()]
    for one in judge(
        [*scales(), *other, *few(), *[run(r.records[0], **(r.config | {"lr": 9.0})) for r in few()]]
    ):
        assert one.outcome == "inconclusive"
        if one.claim in ("W2", "W5"):
            assert one.reason == "mixed settings: max_steps 15000, 50"
        if one.claim == "W6":
            assert one.reason == "mixed settings: lr 0.05, 9"


def test_one_setting_changed():
    runs = [run(r.records[0], **(r.config | {"alpha": 0.2})) for r in scales() if r.config["alpha"] == 0.1]
    assert verdict("W5", runs) == "reproduced"
    assert "at α = 0.2" in {one.claim: one.reason for one in judge(runs)}["W5"]
    assert "values of alpha" in {one.claim: one.reason for one in judge(runs)}["W4"]
    same = [run(r.records[0], **(r.config | {"n_observed": 30})) for r in [*few(), *penalties()]]
    reason = {one.claim: one.reason for one in judge(list({one.hash: one for one in same}.values()))}["W7"]
    assert "n_observed 40, 20; the runs have n_observed 30" in reason

"""Gunasekar et al. 2018: reference solutions against a convex solver, plan, verdicts, runs, figures."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from overt.studies import Run, RunContext
from overt.studies.gunasekar2018 import margins as mg
from overt.studies.gunasekar2018.claims import CLAIMS, GROUPS
from overt.studies.gunasekar2018.classification import FourierPenalty, SeparableProblem, separable
from overt.studies.gunasekar2018.config import GunasekarConfig
from overt.studies.gunasekar2018.execute import regression
from overt.studies.gunasekar2018.figures import figures
from overt.studies.gunasekar2018.rules import judge
from overt.studies.gunasekar2018.study import study
from overt.studies.runs.identity import config_hash
from overt.studies.runs.records import dump_lines, load_lines
from overt.studies.shared.penalized import Coordinates

EXPONENTS = {("convolution", 2): 1.0, ("convolution", 3): 2 / 3, ("full", 2): 2.0, ("full", 3): 2.0}


def run(record, arrays=None, **fields):
    config = GunasekarConfig(**fields)
    name = config_hash("gunasekar2018", 1, config)
    fields = config.model_dump(mode="json")
    return Run("gunasekar2018", name, fields, [{"loss": 0.0, **record}], arrays or {}, {"status": "done"})


def verdict(claim, runs):
    found = {one.claim: one for one in judge(runs)}
    assert list(found) == [one.id for one in CLAIMS]
    assert all(math.isfinite(estimate.value) for estimate in found[claim].estimates)
    json.dumps(found[claim].reason, allow_nan=False)
    return found[claim].outcome


# ---- reference solutions ----------------------------------------------------------------------------------


def samples(seed=0):
    problem = separable(12, 5, seed)
    return (problem.y[:, None] * problem.X).numpy()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_margins_against_a_convex_solver(seed):
    cvxpy = pytest.importorskip("cvxpy")
    A = samples(seed)
    F = np.fft.fft(np.eye(12), norm="ortho")
    w = cvxpy.Variable(12)
    for p, norm, found in (
        (2.0, cvxpy.norm(w, 2), mg.l2_margin(A)),
        (1.0, cvxpy.norm(F @ w, 1), mg.l1_margin(A)[0]),
    ):
        least = cvxpy.Problem(cvxpy.Minimize(norm), [A @ w >= 1]).solve(solver="CLARABEL")
        assert (A @ found).min() == pytest.approx(1.0, abs=1e-6)
        assert mg.per_margin(found, A, p) == pytest.approx(least, rel=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_dual_certifies_the_fourier_margin(seed):
    A = samples(seed)
    w, gap = mg.l1_margin(A)
    assert abs(gap) < 1e-6
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = w + 0.1 * rng.standard_normal(12)
        assert mg.per_margin(other, A, 1.0) >= mg.per_margin(w, A, 1.0) - 1e-9


def test_interpolator_fits_and_is_the_least():
    problem = regression(GunasekarConfig(group="regress", n=12, n_observed=6, seed=0))
    X, y = problem.X.numpy(), problem.y.numpy()
    w, gap = mg.l1_interpolator(X, y)
    np.testing.assert_allclose(X @ w, y, rtol=2e-5)
    assert abs(gap) < 1e-4
    null = np.linalg.svd(X)[2][6:]
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert (
            mg.fourier_norm(w + 0.05 * null.T @ rng.standard_normal(6), 1.0) >= mg.fourier_norm(w, 1.0) - 1e-4
        )


def test_exponents_of_the_reference_solutions():
    A = samples()
    short, sparse = mg.l2_margin(A), mg.l1_margin(A)[0]
    assert mg.best_exponent(short, A) == pytest.approx(2.0, abs=0.03)
    assert mg.best_exponent(sparse, A) == pytest.approx(1.0, abs=0.03)
    assert mg.stationarity(short, A, 2.0) < 1e-6 < 0.05 < mg.stationarity(short, A, 1.0)
    assert mg.stationarity(sparse, A, 1.0) < 1e-4
    X = np.random.default_rng(0).standard_normal((5, 12))
    shortest = np.linalg.pinv(X) @ np.ones(5)
    assert mg.best_exponent(shortest, X, inequality=False) == pytest.approx(2.0, abs=0.03)


def test_a_wrong_side_has_no_margin():
    A = samples()
    assert mg.per_margin(-mg.l2_margin(A), A, 2.0) == math.inf


@pytest.mark.parametrize("kind", ["exponential", "logistic", "squared_hinge"])
def test_losses(kind):
    data = separable(6, 3, 0)
    problem = SeparableProblem(data.X, data.y, kind)
    w = torch.randn(6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    m = problem.margins(w)
    plain = {
        "exponential": (-m).exp().mean().log() + 1e6,
        "logistic": (-m).exp().log1p().mean().log() + 1e6,
        "squared_hinge": (1 - m).clamp_min(0).square().mean(),
    }[kind]
    torch.testing.assert_close(problem.loss(w), plain)
    large = 1e5 * torch.from_numpy(mg.l2_margin((data.y[:, None] * data.X).numpy()))
    large.requires_grad_(True)
    problem.loss(large).backward()
    assert bool(torch.isfinite(large.grad).all())
    assert (float(large.grad.norm()) > 0) == (kind != "squared_hinge")
    assert math.isnan(problem.error(w))


def test_fourier_penalty():
    w = torch.tensor([1.0, -2.0, 0.5, 0.3], dtype=torch.float64)
    model = Coordinates(w.clone())
    for p in (1.0, 2 / 3):
        value = float(FourierPenalty(model, p, 0.5).penalty().detach())
        assert value == pytest.approx(0.5 * mg.fourier_norm(w.numpy(), p) ** p, rel=1e-12)
    penalty = FourierPenalty(model, 1.0, 1.0)
    assert torch.autograd.gradcheck(penalty.value, (w.requires_grad_(True),))
    flat = torch.ones(4, dtype=torch.float64, requires_grad=True)  # three of four frequencies are zero
    penalty.value(flat).backward()
    assert bool(torch.isfinite(flat.grad).all())
    assert penalty.describe()["basis"] == "fourier"


# ---- plan and runs ----------------------------------------------------------------------------------------


def test_plans():
    for preset in ("quick", "full"):
        configs = study.plan(preset, 0)
        assert len(set(configs)) == len(configs)
        assert {config.group for config in configs} == set().union(*GROUPS.values(), {"regress"})
        assert len({config.seed for config in configs}) == (3 if preset == "quick" else 10)
    assert study.concerns({"group": "classify", "architecture": "full"}, "G1")
    assert not study.concerns({"group": "classify", "architecture": "convolution"}, "G1")
    assert not study.concerns({"group": "regress", "architecture": "full"}, "G3")


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"group": "classify", "architecture": "full", "max_steps": 400},
        {"group": "classify", "architecture": "convolution", "loss": "logistic", "max_steps": 200},
        {"group": "regress", "optimizer": "gd", "lr": 2e-2, "init_scale": 1e-3, "max_steps": 100},
        {"group": "explicit", "weight": 1e-3, "optimizer": "adam", "lr": 1e-2, "max_steps": 400},
        {"group": "explicit_regress", "weight": 1e-3, "optimizer": "adam", "lr": 1e-2, "max_steps": 100},
    ],
)
def test_one_small_run_of_each_kind(fields, tmp_path):
    config = GunasekarConfig(n=12, n_observed=5, seed=0, **fields)
    output = study.execute(config, RunContext(tmp_path, lambda line: None))
    (record,) = load_lines(dump_lines(output.records))
    assert record["l1_excess"] > -1e-3
    if config.architecture == "full":
        assert record["angle_l2"] < 20
        assert output.arrays["path"].shape[1] == 3
    if config.group == "explicit":
        assert record["l1_excess"] < record["l2_solution_l1_excess"]
    assert study.label(config).startswith(config.group)


def test_refusals():
    with pytest.raises(ValueError, match="samples"):
        GunasekarConfig(group="classify", n=8, n_observed=8, seed=0)
    with pytest.raises(ValueError, match="optimizer"):
        GunasekarConfig(group="classify", optimizer="nope", seed=0)


# ---- verdicts ---------------------------------------------------------------------------------------------


def test_nothing_is_inconclusive():
    assert {one.outcome for one in judge([])} == {"inconclusive"}
    assert figures([]) == []


def networks(
    angle=2.0,
    excess=0.05,
    start=0.1,
    shift=0.0,
    residual=0.05,
    spread=0.0,
    bridge=9.0,
    seeds=range(6),
    margin=3000.0,
    **more,
):
    runs = []
    for (architecture, depth), p in EXPONENTS.items():
        for seed in seeds:
            record = {
                "angle_l2": angle * (1 + spread * (seed % 2)),
                "l2_excess": 1e-3,
                "l1_excess": excess,
                "l2_solution_l1_excess": 0.24,
                "margin": margin,
                "exponent": p + shift * (1 + spread * (seed % 2)),
                "residual": residual,
                "bridge": bridge,
            }
            path = np.array([[10.0, 0.2, 0.1], [30.0, start, 0.01], [3000.0, excess, 0.001]])
            fields = {"architecture": architecture, "depth": depth, "seed": seed, **more}
            runs.append(run(record, {"path": path}, group="classify", **fields))
    return runs


@pytest.mark.parametrize(
    ("claim", "fields", "expected"),
    [
        ("G1", {}, "reproduced"),
        ("G1", {"angle": 30.0}, "not reproduced"),
        ("G1", {"angle": 4.9, "spread": 0.5}, "inconclusive"),
        ("G2", {}, "reproduced"),
        ("G2", {"excess": 0.2, "start": 0.3}, "not reproduced"),
        ("G2", {"excess": 0.05, "start": 0.01}, "not reproduced"),
        ("G2", {"seeds": range(1)}, "inconclusive"),
        ("G3", {"shift": 0.1}, "reproduced"),
        ("G3", {"shift": 0.4}, "not reproduced"),
        ("G3", {"residual": 0.5}, "not reproduced"),
        ("G3", {"shift": 0.2, "spread": 0.5}, "inconclusive"),
    ],
)
def test_g1_to_g3(claim, fields, expected):
    assert verdict(claim, networks(**fields)) == expected


def regressions(near=0.01, above=0.01, limit=0.7, spread=0.0, loss=0.0):
    runs = []
    for architecture, depth in (("convolution", 2), ("convolution", 3), ("full", 2)):
        for seed in range(6):
            record = {
                "to_l2": near,
                "l1_excess": above * (1 + spread * (seed % 2)),
                "l2_solution_l1_excess": limit,
                "error": 0.1,
                "loss": loss,
                "exponent": 1.0,
            }
            fields = {"architecture": architecture, "depth": depth, "seed": seed, "init_scale": 1e-6}
            runs.append(run(record, group="regress", **fields))
    return runs


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "reproduced"),
        ({"near": 0.5}, "not reproduced"),
        ({"above": 0.2}, "not reproduced"),
        ({"limit": 0.1}, "not reproduced"),
        ({"above": 0.049, "spread": 0.5}, "inconclusive"),
    ],
)
def test_g4(fields, expected):
    assert verdict("G4", regressions(**fields)) == expected


def penalties(classified=0.01, regressed=0.01, bridge=9.0, spread=0.0, loss=0.0):
    runs = []
    for p in (1.0, 2 / 3):
        for seed in range(6):
            record = {"l1_excess": classified * (1 + spread * (seed % 2)), "bridge": bridge}
            runs.append(run(record, group="explicit", depth=1, p=p, seed=seed))
            runs.append(
                run({"l1_excess": regressed, "loss": loss}, group="explicit_regress", depth=1, p=p, seed=seed)
            )
    return runs


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "reproduced"),
        ({"classified": 0.3}, "not reproduced"),
        ({"regressed": 0.3}, "not reproduced"),
        ({"bridge": 12.0}, "not reproduced"),
        ({"classified": 0.049, "spread": 0.5}, "inconclusive"),
    ],
)
def test_g5(fields, expected):
    assert verdict("G5", [*networks(), *penalties(**fields)]) == expected


@pytest.mark.slow
def test_figures():
    found = figures([*networks(), *regressions(), *penalties()])
    assert [figure.id for figure in found] == ["margins", "exponents", "regression", "explicit"]
    assert all(figure.panels and figure.data and figure.caption for figure in found)


@pytest.mark.parametrize("claim", ["G1", "G2", "G3", "G5"])
def test_networks_of_small_margin_are_no_evidence(claim):
    found = [one for one in judge([*networks(margin=20.0), *penalties()]) if one.claim == claim]
    assert found[0].outcome == "inconclusive"
    assert "ended below a margin of 30" in found[0].reason


def test_regressions_that_do_not_fit_are_no_evidence():
    """A network that has learned nothing is projected onto the minimum norm."""
    assert verdict("G4", regressions(loss=0.9)) == "inconclusive"
    assert verdict("G5", [*networks(), *penalties(loss=0.01)]) == "inconclusive"


def test_a_margin_that_was_never_recorded_is_no_denominator():
    runs = networks()
    for one in runs:
        one.arrays["path"] = one.arrays["path"][:1]
    found = {one.claim: one for one in judge(runs)}["G2"]
    assert found.outcome == "inconclusive"
    assert "no record at a margin of 30" in found.reason


@pytest.mark.slow
def test_one_setting_changed():
    """Another loss or depth is judged as far as the claim goes; what it is not about is named."""
    logistic = networks(loss="logistic")
    assert [verdict(claim, logistic) for claim in ("G1", "G2")] == ["reproduced"] * 2
    deep = [
        run(one.records[0], one.arrays, **(one.config | {"depth": 4}))
        for one in networks(shift=-0.15)
        if one.config["depth"] == 3
    ]
    assert verdict("G1", deep) == "reproduced"
    reason = {one.claim: one.reason for one in judge(deep)}["G2"]
    assert "the rule is about depth 2; the runs have depth 4" in reason
    assert figures(deep)
    few = [run(one.records[0], one.arrays, **(one.config | {"n": 24, "n_observed": 6})) for one in networks()]
    assert "6 separable samples of length 24" in figures(few)[0].caption
    short = networks()
    for one in short:
        one.arrays["path"] = one.arrays["path"][:0]
    assert [figure.id for figure in figures(short)] == ["exponents"]

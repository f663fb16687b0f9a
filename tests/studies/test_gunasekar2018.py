"""Gunasekar et al. 2018: reference solutions against a convex solver, plan, verdicts, runs, figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from worlds import changed, outcomes, runs

from overt.studies import RunContext
from overt.studies.gunasekar2018 import margins as mg
from overt.studies.gunasekar2018.classification import FourierPenalty, SeparableProblem, separable
from overt.studies.gunasekar2018.regression import RegressionConfig, signals
from overt.studies.gunasekar2018.separable import NETWORKS, SeparableConfig, predicted
from overt.studies.gunasekar2018.study import study
from overt.studies.runs.records import dump_lines, load_lines
from overt.studies.shared.penalized import Coordinates

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
    problem = signals(RegressionConfig(n=12, n_observed=6, seed=0))
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


# ---- runs -------------------------------------------------------------------------------------------------

SMALL = {"n": 12, "n_observed": 5, "seed": 0}


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        SeparableConfig(arm="full, depth 2", max_steps=400, **SMALL),
        SeparableConfig(arm="convolution, depth 2", loss="logistic", max_steps=200, **SMALL),
        SeparableConfig(arm="penalty p = 1", weight=1e-3, lr=1e-2, max_steps=400, **SMALL),
        SeparableConfig(arm="weight 0", lr=1e-2, max_steps=400, **SMALL),
        RegressionConfig(arm="convolution, depth 3", max_steps=100, **SMALL),
        RegressionConfig(arm="convolution, depth 2", init_scale=0.3, max_steps=100, **SMALL),
        RegressionConfig(arm="penalty p = ⅔", weight=1e-3, max_steps=100, **SMALL),
    ],
    ids=lambda config: f"{config.part}-{config.arm}",
)
def test_one_small_run_of_each_kind(config, tmp_path):
    output = study.execute(config, RunContext(tmp_path, lambda line: None))
    (record,) = load_lines(dump_lines(output.records))
    assert record["l1_excess"] > -1e-3
    if config.arm.startswith("full"):
        assert record["angle_l2"] < 20
    if config.part == "separable":
        assert len(output.arrays["margin"]) == len(output.arrays["l1_excess"])
    if config.arm == "penalty p = 1":
        assert record["l1_excess"] < record["l2_solution_l1_excess"]
    if config.arm == "weight 0":
        assert record["l1_excess"] == pytest.approx(record["l2_solution_l1_excess"], rel=1e-6)
    assert ("relative_gradient" in record) == (config.arm not in NETWORKS)


def test_refusals():
    with pytest.raises(ValueError, match="samples"):
        SeparableConfig(n=8, n_observed=8, seed=0)
    with pytest.raises(ValueError, match="frequencies"):
        RegressionConfig(n=8, n_observed=4, frequencies=5, seed=0)


# ---- verdicts ---------------------------------------------------------------------------------------------


def theory(config):
    """What the papers say, and a penalty that works."""
    if config.part == "regression":
        sparse = "convolution" in config.arm or "penalty" in config.arm
        return {
            "to_l2": 1e-3,
            "l1_excess": 0.01 if sparse else 0.6,
            "l2_solution_l1_excess": 0.6,
            "error": 0.1,
        }
    found = {
        "convolution, depth 3": (0.3, 50.0, 9.0),
        "convolution, depth 2": (0.02, 30.0, 8.0),
        "penalty p = 1": (0.01, 50.0, 5.0),
        "penalty p = ⅔": (0.1, 50.0, 5.0),
    }
    excess, angle, bridge = found.get(config.arm, (0.24, 1.0, 13.0))
    network = config.arm in NETWORKS
    return {
        "margin": 4000.0 if network else 1.0,
        "angle_l2": angle,
        "l2_excess": 1e-4,
        "l1_excess": excess,
        "early_l1_excess": 2 * excess,
        "l2_solution_l1_excess": 0.24,
        "bridge": bridge,
        "exponent": predicted(config.arm) + 0.05 if network else 1.0,
        "early_exponent": predicted(config.arm) + 0.2 if network else None,
        "residual": 0.02,
    }


YES = dict.fromkeys(("C1", "C2", "C3", "C4"), "reproduced") | dict.fromkeys(("C5", "C6", "C7"), "supported")


def shifted(by):
    return lambda config: predicted(config.arm) + by if getattr(config, "arm", "") in NETWORKS else 1.0


@pytest.mark.parametrize(
    ("claim", "record", "expected"),
    [
        ("C1", {"angle_l2": 6.0}, "not reproduced"),
        ("C1", {"l2_excess": 0.02}, "not reproduced"),
        ("C2", {"l1_excess": 0.2}, "not reproduced"),
        ("C2", {"early_l1_excess": 0.001}, "not reproduced"),
        ("C3", {"exponent": shifted(0.3)}, "not reproduced"),
        ("C3", {"exponent": shifted(-0.3)}, "not reproduced"),
        ("C3", {"residual": 0.2}, "not reproduced"),
        ("C4", {"to_l2": 0.1}, "not reproduced"),
        ("C4", {"l1_excess": 0.1}, "not reproduced"),
        ("C4", {"l2_solution_l1_excess": 0.1}, "not reproduced"),
        ("C5", {"bridge": lambda config: 9.0 if "penalty" in config.arm else 5.0}, "refuted"),
        ("C5", {"l1_excess": 0.01}, "refuted"),  # weight zero does it as well
        ("C6", {"early_exponent": shifted(0.01), "exponent": shifted(0.1)}, "refuted"),
        ("C7", {"l1_excess": 0.1}, "refuted"),
        ("C7", {"l1_excess": 0.01}, "refuted"),
    ],
)
def test_verdicts(claim, record, expected):
    assert outcomes(study, with_paths(runs(study, theory))) == YES
    assert outcomes(study, with_paths(runs(study, changed(theory, **record))))[claim] == expected


def with_paths(some):
    for one in some:
        one.arrays["margin"] = np.geomspace(1, 4000, 9)
        one.arrays["l1_excess"] = one.arrays["l2_excess"] = np.geomspace(0.5, 0.001, 9)
    return some


def test_runs_that_were_stopped_are_no_evidence():
    stopped = changed(theory, status="budget", margin=1.0, loss=0.1)
    assert set(outcomes(study, runs(study, stopped)).values()) == {"inconclusive", "undecided"}
    still = changed(theory, status="budget", relative_gradient=1e-3)
    assert outcomes(study, runs(study, still)) == YES


@pytest.mark.slow
def test_figures():
    found = study.figures(with_paths(runs(study, theory, "quick")))
    names = ["margins", "exponents", "penalty-margin", "solutions", "initial-scale"]
    assert [figure.id for figure in found] == names
    assert all(figure.panels and figure.data and figure.caption for figure in found)

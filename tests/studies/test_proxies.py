"""The study of proxies: functionals, small runs, verdicts on made-up worlds, figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from worlds import changed, outcomes, run, runs

from overt import functional as F
from overt.problems import matrix_completion
from overt.studies import Run, RunContext
from overt.studies.proxies.config import NAMES, OURS, PLAIN, TOLD
from overt.studies.proxies.functionals import PAIRS, PROXIES, gradient_norm
from overt.studies.proxies.inverse import LARGE, SMALL, TINY, InverseConfig, lowest
from overt.studies.proxies.penalties import PenaltiesConfig, steps_or_never
from overt.studies.proxies.study import study
from overt.studies.proxies.training import Recovery, unit
from overt.studies.proxies.windows import WEIGHTS, WindowsConfig, decades
from overt.studies.runs.records import dump_lines, load_lines
from overt.training import State

TINY_RUN = {"n": 8, "rank": 1, "n_observed": 40, "max_steps": 4, "seed": 3}


def matrix(seed=0):
    return torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def context(tmp_path):
    return RunContext(tmp_path, lambda line: None)


# ---- functionals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROXIES)
def test_scale_invariance_is_as_declared(name):
    W, proxy = matrix(), PROXIES[name]
    ratio = float(proxy.value(3 * W, 2) / proxy.value(W, 2))
    assert (abs(ratio - 1) < 1e-12) == proxy.scale_invariant


@pytest.mark.slow
@pytest.mark.parametrize("name", PROXIES)
def test_gradients_are_those_of_differences(name):
    proxy = PROXIES[name]
    W = matrix().requires_grad_()
    assert torch.autograd.gradcheck(lambda X: proxy.value(X, 2), (W,))
    assert gradient_norm(proxy, W, 2) > 0


def test_truncated_nuclear_norm_is_what_it_says():
    W = matrix()
    s = torch.linalg.svdvals(W)
    assert float(PROXIES["truncated nuclear"].value(W, 2)) == pytest.approx(float(s[2:].sum()))
    expected = float(s[2:].sum() / s.norm())
    assert float(PROXIES["truncated nuclear / F"].value(W, 2)) == pytest.approx(expected)


def test_names_are_those_of_the_functionals():
    assert set(NAMES) == set(PROXIES)
    assert set(PLAIN) == set(PAIRS)
    assert {name for name, one in PROXIES.items() if one.told_rank} == set(TOLD)
    W = matrix()
    for plain in ("nuclear", "Schatten 1/2", "Schatten 2/3", "truncated nuclear"):
        expected = float(PROXIES[plain].value(W, 2) / F.frobenius_norm(W))
        assert float(PROXIES[PAIRS[plain]].value(W, 2)) == pytest.approx(expected)


@pytest.mark.parametrize("proxy", ["nuclear", "Schatten 1/2", "log-det / F"])
def test_weight_one_makes_the_gradients_equal(proxy):
    one = PenaltiesConfig(proxy=proxy, **TINY_RUN)
    problem = matrix_completion((8, 8), rank=1, n_observed=40, seed=3)
    zero = torch.zeros(8, 8, dtype=torch.float64, requires_grad=True)
    problem.loss(zero).backward()
    filled = torch.zeros(8, 8, dtype=torch.float64)
    filled[problem.rows, problem.cols] = problem.y
    pull = unit(one, problem) * gradient_norm(PROXIES[proxy], filled, 1)
    assert pull == pytest.approx(float(zero.grad.norm()))


# ---- runs -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        *(PenaltiesConfig(proxy=name, **TINY_RUN) for name in NAMES),
        PenaltiesConfig(optimizer="muon", **TINY_RUN),
        PenaltiesConfig(optimizer="gd", weight=0.0, **TINY_RUN),
        WindowsConfig(init_scale=1.0, **TINY_RUN),
        InverseConfig(references=1, depth=3, **{**TINY_RUN, "max_steps": 20}),
    ],
    ids=lambda config: f"{config.part}-{getattr(config, 'proxy', '')}-{config.optimizer}",
)
def test_one_small_run_of_each_kind(config, context):
    (record,) = load_lines(dump_lines(study.execute(config, context).records))
    assert record["steps"] == config.max_steps
    if config.part == "inverse":
        assert {"p", "members", "loss"} <= set(record)
        return
    assert {"error", "raw_error", "rank", "recovery_step", "relative_gradient"} <= set(record)
    assert record["relative_gradient"] >= 0


@pytest.mark.slow
def test_the_floor_counts(context):
    """From near zero the guards change what a scale-invariant proxy does, and nothing else."""
    for proxy in (OURS, "log-det / F", "effective rank"):
        config = PenaltiesConfig(proxy=proxy, **{**TINY_RUN, "max_steps": 600, "weight": 0.1})
        (record,) = study.execute(config, context).records
        assert record["error"] <= 1e-5, proxy


def test_a_recovery_must_last():
    problem = matrix_completion((8, 8), rank=1, n_observed=40, seed=3)
    seen, bad = Recovery(problem, 1), torch.diag(torch.arange(8) < 2).double()

    def told(step, W):
        return seen(State(step, 0.0, W, 0.0, 0.0, 0.0))

    assert not told(0, bad)
    assert not told(10, problem.truth)  # not a check
    assert not told(25, problem.truth)
    assert seen.step == 25
    assert not told(100, bad)
    assert seen.step is None
    assert not told(200, problem.truth)
    assert not told(500, problem.truth)
    assert told(700, problem.truth)
    assert seen.step == 200


def test_refusals():
    for fields in ({"proxy": "no_such"}, {"optimizer": "no_such"}, {"rank": 99}, {"weight": -1.0}):
        with pytest.raises(ValidationError):
            PenaltiesConfig(**{"seed": 0, **fields})
    with pytest.raises(ValidationError, match="n_observed"):
        InverseConfig(n_observed=3, seed=0)


def test_a_run_that_ended_elsewhere_never_recovers():
    def steps(**record):
        return steps_or_never(Run("s", "0" * 12, {"max_steps": 10}, [record]))

    assert steps(recovery_step=7) == 7
    assert steps(recovery_step=None, status="budget", relative_gradient=1e-3) == 1e4
    assert steps(recovery_step=None, status="budget", relative_gradient=0.5) is None
    assert steps(recovery_step=None, status="diverged") is None


def test_decades_of_an_unbroken_row():
    def row(*errors):
        return [
            Run("s", f"{i:012x}", {"weight": w, "seed": 0}, [{"error": e}])
            for i, (w, e) in enumerate(zip(WEIGHTS, errors, strict=True))
        ]

    for errors, expected in (
        ((1, 1, 1, 1, 1), 0.0),
        ((1, 0, 1, 1, 1), 0.0),
        ((1, 0, 0, 1, 0), 1.0),
        ((0, 1, 0, 0, 0), 2.0),
        ((0, 0, 0, 0, 0), 4.0),
    ):
        assert decades(row(*errors)) == pytest.approx(expected)


def test_lowest_ratio():
    members = [
        {"name": "schatten_norm", "p": 1.0, "ratio": 0.3},
        {"name": "schatten_norm", "p": 2.0, "ratio": math.nan},
        {"name": "stable_rank", "p": None, "ratio": 0.2},
    ]
    one = Run("s", "0" * 12, {"seed": 0}, [{"members": members}])
    assert lowest()(one) == 0.2
    assert lowest(("schatten_norm",))(one) == 0.3
    assert lowest(("schatten_norm",), 2.0)(one) is None
    assert lowest()(Run("s", "0" * 12, {"seed": 0}, [{}])) is None


# ---- verdicts ---------------------------------------------------------------------------------------------


def members(norm, frobenius=0.5, invariant=0.4):
    rows = (("schatten_norm", 1.0, norm), ("schatten_norm", 2.0, frobenius), ("stable_rank", None, invariant))
    return [{"name": name, "p": p, "q": None, "ratio": ratio, "label": name} for name, p, ratio in rows]


def conjectured(config):
    """What is claimed: every normalized proxy works, under Adam, and each depth has its own functional."""
    if config.part == "inverse":
        if config.depth == 1:
            return {"p": 2.0, "members": members(0.6, 0.01)}
        if config.depth == 2:
            plain = {TINY: 0.02, SMALL: 0.05, LARGE: 0.5}[config.init_scale]
            return {"p": 1.0, "members": members(plain if config.optimizer == "gd" else 0.3)}
        return {"p": 0.6 if config.depth == 4 else 0.9, "members": members(0.5)}
    good = (
        config.weight > 0 and config.optimizer == "adam" and ("/ F" in config.proxy or "rank" in config.proxy)
    )
    return {
        "error": 1e-12 if good else 0.6,
        "raw_error": 0.01 if good else 0.6,
        "recovery_step": 400 if good else None,
        "relative_gradient": 1e-4,
    }


def made(world):
    """All runs of the smaller preset, with three optimizers, two depths more, and all starts."""
    return runs(study, world, "full")


CLAIMS = [claim.id for claim in study.claims]


def of(value, name="error", **wanted):
    """A changed field for the runs of some settings."""
    return lambda config: (
        value
        if all(getattr(config, k, None) == v for k, v in wanted.items())
        else conjectured(config).get(name)
    )


def test_every_claim_holds_in_a_world_that_it_describes():
    assert outcomes(study, made(conjectured)) == dict.fromkeys(CLAIMS, "supported")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claim", "record"),
    [
        ("N1", {"error": of(1e-12, proxy="nuclear", optimizer="adam")}),
        ("N1", {"error": of(0.6, proxy=OURS)}),
        ("N2", {"error": of(0.6, proxy="log-det / F")}),
        ("N3", {"error": of(0.6, proxy=OURS)}),
        ("N4", {"error": of(1e-12, proxy="log-det", optimizer="gd")}),
        ("N4", {"error": of(1e-12, proxy=OURS, optimizer="muon")}),
        ("N4", {"error": of(0.6, proxy=OURS)}),
        ("N5", {"error": lambda config: 1e-12 if config.weight in (1e-3, 1e-1) else 0.6}),
        ("N6", {"error": of(0.6, part="windows", init_scale=1.0)}),
        ("N7", {"recovery_step": of(100, "recovery_step", proxy="log-det", optimizer="adam")}),
        ("N8", {"error": of(1e-12, weight=0.0)}),
        ("I1", {"members": of(members(0.6, 0.3), "members", depth=1)}),
        ("I1", {"p": of(1.0, "p", depth=1)}),
        ("I2", {"members": of(members(0.3), "members", init_scale=TINY)}),
        ("I3", {"p": 1.0}),
        ("I4", {"members": of(members(0.05), "members", depth=4)}),
        ("I5", {"members": of(members(0.5, invariant=0.6), "members", depth=3)}),
        ("I6", {"members": of(members(0.06), "members", init_scale=LARGE)}),
        ("I7", {"members": of(members(0.04), "members", optimizer="adam")}),
    ],
)
def test_each_claim_can_fall(claim, record):
    part = next(part for part in study.parts if claim in {one.id for one in part.claims})
    assert outcomes(study, runs_of(part, changed(conjectured, **record)))[claim] == "refuted"


def runs_of(part, world):
    """The runs of one part."""
    return [run(study, config, world(config)) for config in part.plan("full", 0)]


def test_runs_that_were_stopped_are_no_evidence():
    never = {"status": "budget", "loss": 0.5, "relative_gradient": 0.5, "recovery_step": None, "error": 0.5}
    assert set(outcomes(study, made(changed(conjectured, **never))).values()) == {"undecided"}
    diverged = changed(conjectured, status="diverged", error=None, recovery_step=None, members=())
    assert "supported" not in {
        outcome for claim, outcome in outcomes(study, made(diverged)).items() if claim not in ("N8", "I3")
    }


@pytest.mark.slow
def test_figures():
    found = study.figures(made(conjectured))
    ids = ["shares", "steps", "raw", "weights", "starts", "decades", "exponents", "functionals"]
    assert [figure.id for figure in found] == ids
    assert all(figure.panels and figure.data and figure.caption for figure in found)
    assert np.isfinite([row["value"] for row in found[0].data]).all()

"""The study of Adam: steps against torch's optimizers, interventions, small runs, verdicts, figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from worlds import changed, outcomes, run, runs

from overt.linalg import svd
from overt.studies import RunContext
from overt.studies.adam.config import RATES
from overt.studies.adam.decoupled import LENGTHS, DecoupledConfig
from overt.studies.adam.descent import Descent, gradient, instance, turning
from overt.studies.adam.descent import changed as step_changed
from overt.studies.adam.felt import FeltConfig
from overt.studies.adam.interventions import CHANGES, KEPT, InterventionsConfig
from overt.studies.adam.optimizers import ELEMENTWISE, OptimizersConfig
from overt.studies.adam.steps import Stepper
from overt.studies.adam.study import study
from overt.studies.runs.records import dump_lines, load_lines
from overt.training import make_optimizer

OPTIONS = {
    "gd": ("gd", {}),
    "momentum": ("momentum", {}),
    "normalized_gd": ("normalizedgd", {}),
    "sign": ("signdescent", {}),
    "rmsprop": ("rmsprop", {"alpha": 0.99, "eps": 1e-12}),
    "adam": ("adam", {"betas": (0.9, 0.99), "eps": 1e-12}),
    "adam_beta1_0": ("adam", {"betas": (0.0, 0.99), "eps": 1e-12}),
}
TINY = {"n": 8, "rank": 1, "n_observed": 40, "max_steps": 60, "seed": 0}


def tiny(**fields):
    return InterventionsConfig(**{**TINY, **fields})


@pytest.fixture
def context(tmp_path):
    return RunContext(tmp_path, lambda line: None)


# ---- steps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIONS)
def test_the_split_steps_add_up_to_the_optimizer_of_torch(name):
    def parts_of(w):
        return 2 * (w - target), 0.3 * w**3

    generator = torch.Generator().manual_seed(0)
    target, start = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    w, ours = torch.nn.Parameter(start.clone()), start.clone()
    torchs, options = OPTIONS[name]
    optimizer, stepper = make_optimizer(torchs, [w], 0.01, **options), Stepper(name, beta2=0.99)
    for _ in range(8):
        w.grad = sum(parts_of(w.detach()))
        optimizer.step()
        ours = ours - 0.01 * sum(stepper.split(*parts_of(ours)))
        torch.testing.assert_close(ours, w.detach(), rtol=1e-9, atol=1e-11)


def test_the_step_of_muon_is_the_polar_factor():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    U, _, Vh = svd(a + b)
    torch.testing.assert_close(sum(Stepper("muon").split(a, b)), U @ Vh)


def at_random(size=1.0, scale=1.0, **fields):
    config = tiny(weight=0.3, **fields)
    given = instance(config)
    generator = torch.Generator().manual_seed(3)
    W = size * torch.randn(8, 8, generator=generator, dtype=torch.float64)
    draws = torch.randn(2, 8, 8, generator=generator, dtype=torch.float64)
    return config, given, W, gradient(W, config, given, scale), draws


@pytest.mark.parametrize("size", [1e-3, 1.0, 10.0])
def test_gradients_are_those_of_the_objective(size):
    config, given, W, at, _ = at_random(size, 2.0)

    def value(X):
        found = gradient(X, config, given)
        return 2.0 * (found.loss + 0.3 * found.value)

    step = 1e-6 * size
    for entry in ((0, 0), (3, 5), (7, 2)):
        E = torch.zeros_like(W)
        E[entry] = step
        slope = (value(W + E) - value(W - E)) / (2 * step)
        assert float((at.data + at.penalty)[entry]) == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_changes_do_what_they_are_named_for():
    _, _, _, at, (own, adams) = at_random()
    norm = torch.linalg.vector_norm
    assert turning(step_changed("keep_vectors", at, own, adams), at) < 1e-12
    assert turning(at.penalty, at) < 1e-12
    assert math.isnan(turning(torch.zeros_like(own), at))
    kept = step_changed("keep_space", at, own, adams)
    k = torch.linalg.matrix_rank(kept)
    inside = at.U[:, :k] @ at.U[:, :k].mT @ kept @ at.Vh[:k].mT @ at.Vh[:k]
    torch.testing.assert_close(inside, kept)
    assert 0 < k < 8
    for name, like in (("gradient_direction", own), ("adam_length", adams)):
        found = step_changed(name, at, own, adams)
        assert float(norm(found)) == pytest.approx(float(norm(like)))
        assert float((found * at.penalty).sum() / norm(found) / norm(at.penalty)) == pytest.approx(1)
    assert step_changed("adam_penalty", at, own, adams) is adams
    assert step_changed("none", at, own, adams) is own


# ---- runs -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        *(
            InterventionsConfig(**TINY, change=name, optimizer="gd" if "adam_" in name else "adam")
            for name in CHANGES
        ),
        OptimizersConfig(**TINY, optimizer="muon", objective_scale=10.0),
        OptimizersConfig(**TINY, optimizer="gd", weight=0.0, norm_floor=0.0),
        FeltConfig(**TINY, optimizer="gd", lr=5.0),
        *(DecoupledConfig(**TINY, optimizer=name) for name in ("gd", "muon", "adagrad")),
        DecoupledConfig(**TINY, length=0.0),
    ],
    ids=lambda config: f"{config.part}-{config.optimizer}-{getattr(config, 'change', '')}",
)
def test_a_run_of_each_kind(config, context):
    out = study.execute(config, context)
    (record,) = load_lines(dump_lines(out.records))
    assert {"error", "raw_error", "rank", "refitted", "effective_rank"} <= set(record)
    assert record["refitted"] or record["error"] == record["raw_error"]
    assert record["raw_error"] < 10
    assert study.execute(config, context).records == out.records
    if config.part == "decoupled":
        assert 1 <= record["rank_before"] <= 8
        return
    assert 0 <= record["against"] <= 1
    assert record["relative_gradient"] >= 0
    assert out.arrays["step"].size == out.arrays["effective_rank"].size > 3


@pytest.mark.slow
def test_a_recovery_ends_the_run_once_it_has_lasted(context):
    config = InterventionsConfig(**{**TINY, "max_steps": 3000})
    (record,) = study.execute(config, context).records
    assert record["status"] == "converged"
    assert record["error"] <= 1e-5
    assert 500 <= record["steps"] - record["recovery_step"] < 600
    (to_the_end,) = study.execute(
        FeltConfig(**{**TINY, "max_steps": 3000, "optimizer": "adam"}), context
    ).records
    assert (to_the_end["status"], to_the_end["steps"]) == ("budget", 3000)
    assert to_the_end["relative_gradient"] < 1e-2


@pytest.mark.slow
def test_turning_the_coordinates_changes_nothing_for_what_does_not_know_them(context):
    def error(optimizer, lr, change):
        return Descent(tiny(lr=lr, max_steps=20), optimizer, change)(context).records[0]["raw_error"]

    for name, lr in (("gd", 2.0), ("muon", 1e-2)):
        assert error(name, lr, "turned") == pytest.approx(error(name, lr, "none"), rel=1e-6)
    assert error("adam", 1e-2, "turned") != pytest.approx(error("adam", 1e-2, "none"), rel=1e-6)


def test_a_diverged_run_says_so(context):
    (record,) = study.execute(tiny(optimizer="gd", lr=1e6), context).records
    assert (record["status"], record["recovery_step"], record["error"]) == ("diverged", None, math.inf)
    apart = DecoupledConfig(**TINY, optimizer="gd", lr=1e200)
    (record,) = study.execute(apart, context).records
    assert (record["status"], record["error"]) == ("diverged", math.inf)


def test_wrong_settings_are_refused():
    for fields, match in (
        ({"rank": 9}, "rank"),
        ({"n_observed": 7}, "n_observed"),
        ({"change": "x"}, "change"),
    ):
        with pytest.raises(ValidationError, match=match):
            tiny(**fields)


# ---- verdicts ---------------------------------------------------------------------------------------------

QUICKLY, SLOWLY = 100, 5_000


def apart(config):
    """The step apart from the loss's finds the rank, with any optimizer but Muon, which refits spoil."""
    if config.optimizer == "muon" or config.length == 0:
        return {"raw_error": 0.8, "error": 0.8, "rank_before": config.n}
    raw = 0.2 if config.functional == "nuclear_norm" else 0.01
    return {"raw_error": raw, "error": 1e-12, "rank_before": config.rank}


def adaptive(config):
    """What the conjectures say: the kind of step that Adam makes is quick, and its length is what counts."""
    name, change = config.optimizer, getattr(config, "change", "none")
    if config.part == "decoupled":
        return apart(config)
    if config.part == "felt":
        return {"effective_rank": 2.0 if config.weight else 10.0, "error": 1e-9, "relative_gradient": 1e-3}
    if config.weight == 0:
        return {"error": 0.8, "recovery_step": None, "loss": 1e-15}
    quick = name in ELEMENTWISE and config.norm_floor > 0 and change not in (*KEPT, "turned")
    steps = QUICKLY if quick or change in ("adam_penalty", "alternation") else SLOWLY
    steps += config.seed
    return {
        "recovery_step": 150 if change == "adam_length" else steps,
        "error": 1e-9,
        "raw_error": 0.05,
        "penalty_turning": 0.5 if name == "adam" else 1e-17,
        "against": 0.6 if name == "adam" else 0.4,
    }


def made(world):
    """All runs of the smaller preset."""
    return runs(study, world, "quick")


CLAIMS = [claim.id for claim in study.claims]
LENGTH = ("D4",)  # Adam's length cannot both be enough and not be enough


def where(value, **wanted):
    """A changed field for the runs of some settings."""
    return lambda config: (
        value
        if all(getattr(config, k, None) == v for k, v in wanted.items())
        else adaptive(config).get("recovery_step")
    )


def of_decoupled(field, value, **wanted):
    """A changed field for some runs of the part on the decoupled step."""

    def changed_value(config):
        mine = all(getattr(config, k, None) == v for k, v in {"part": "decoupled", **wanted}.items())
        return value if mine else adaptive(config).get(field)

    return changed_value


def test_all_conjectures_hold_in_a_world_that_they_describe():
    found = outcomes(study, made(adaptive))
    assert {claim for claim in CLAIMS if found[claim] == "supported"} == set(CLAIMS) - set(LENGTH)
    direction = changed(adaptive, recovery_step=where(SLOWLY, change="adam_length"))
    assert outcomes(study, made(direction))["D4"] == "supported"


@pytest.mark.parametrize(
    ("claim", "record"),
    [
        ("D1", {"recovery_step": where(QUICKLY, optimizer="muon")}),
        ("D1", {"recovery_step": where(QUICKLY, optimizer="gd")}),
        ("D1", {"error": 0.5}),
        ("D2", {"penalty_turning": 0.05}),
        ("D2", {"penalty_turning": 0.5}),
        ("D3", {"recovery_step": where(QUICKLY, change="keep_vectors")}),
        ("D3", {"error": 0.5}),
        ("D4", {}),
        ("D4", {"recovery_step": where(SLOWLY, change="adam_penalty")}),
        ("D5", {"recovery_step": where(SLOWLY, change="alternation")}),
        ("D5", {"against": lambda config: 0.3 if config.optimizer == "adam" else 0.4}),
        ("D6", {"recovery_step": where(QUICKLY, change="turned")}),
        ("D7", {"recovery_step": where(QUICKLY, optimizer="normalized_gd")}),
        ("D7", {"error": 0.5}),
        ("D8", {"effective_rank": 10.5}),
        (
            "D8",
            {
                "effective_rank": lambda config: (
                    11.0 if config.optimizer == "gd" and getattr(config, "weight", 0) else 10.0
                )
            },
        ),
        ("D9", {"recovery_step": where(SLOWLY, change="adam_length")}),
        ("D9", {"recovery_step": where(140, part="interventions", optimizer="gd", change="none")}),
        ("D10", {"error": 1e-9}),
        ("D11", {"recovery_step": where(QUICKLY, norm_floor=0.0)}),
        ("D12", {"raw_error": of_decoupled("raw_error", 0.2, optimizer="momentum")}),
        ("D12", {"error": of_decoupled("error", 0.5, optimizer="adagrad")}),
        ("D13", {"raw_error": of_decoupled("raw_error", 0.1, optimizer="muon")}),
        ("D14", {"raw_error": of_decoupled("raw_error", 0.1, length=LENGTHS[-1])}),
        ("D14", {"error": of_decoupled("error", 0.5, length=LENGTHS[0])}),
        ("D15", {"rank_before": of_decoupled("rank_before", 7, optimizer="gd")}),
        ("D16", {"raw_error": of_decoupled("raw_error", 0.1, length=0.0, optimizer="adam")}),
        ("D16", {"raw_error": of_decoupled("raw_error", 0.01, functional="nuclear_norm")}),
    ],
)
def test_each_conjecture_can_fall(claim, record):
    found = outcomes(study, made(changed(adaptive, **record)))[claim]
    assert found == ("undecided" if record == {"effective_rank": 10.5} else "refuted")


def test_runs_that_were_stopped_are_no_evidence():
    never = changed(adaptive, status="budget", recovery_step=None, error=0.5, steps=10_000, loss=0.5)
    found = outcomes(study, made(changed(never, relative_gradient=0.5)))
    assert set(found.values()) == {"undecided"}
    # what is ten times as slow may as well have been stopped
    slow = changed(
        adaptive,
        steps=10_000,
        status=lambda c: "budget" if adaptive(c).get("recovery_step", 0) is None else "converged",
        recovery_step=lambda c: (
            None if (adaptive(c).get("recovery_step") or 0) >= SLOWLY else adaptive(c).get("recovery_step")
        ),
    )
    stopped = changed(slow, status=lambda c: "budget" if slow(c)["recovery_step"] is None else "converged")
    found = outcomes(study, made(stopped))
    assert {one for one in ("D1", "D3", "D6", "D7", "D9", "D11") if found[one] == "supported"} == {
        "D1",
        "D3",
        "D6",
        "D7",
        "D9",
        "D11",
    }
    far = made(changed(adaptive, status="budget", relative_gradient=0.5))
    assert outcomes(study, far)["D8"] == "undecided"


def test_the_best_learning_rate_counts():
    best = RATES["gd"][0]
    one = changed(adaptive, recovery_step=where(QUICKLY, optimizer="gd", lr=best))
    assert outcomes(study, runs(study, one))["D1"] == "refuted"


@pytest.mark.slow
def test_figures():
    some = made(adaptive)
    arrays = {"step": np.arange(5), "effective_rank": np.linspace(9.0, 2.0, 5)}
    for one in some:
        if one.config["part"] == "felt":
            one.arrays.update(arrays)
    found = study.figures(some)
    assert [figure.id for figure in found] == [
        "interventions",
        "optimizers",
        "controls",
        "felt",
        "trajectories",
        "decoupled",
        "lengths",
    ]
    assert all(figure.panels and figure.data and figure.caption for figure in found)
    assert study.figures([run(study, FeltConfig(seed=0), {"effective_rank": 2.0})])

"""The runs of the study of Adam: steps against torch's optimizers, interventions, the plan, the figures."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from overt.linalg import svd
from overt.studies import Run, RunContext
from overt.studies.adam import study
from overt.studies.adam.config import AdamConfig
from overt.studies.adam.execute import Parts, execute, gradient, instance, intervene, leaving
from overt.studies.adam.plan import plan
from overt.studies.adam.steps import Stepper
from overt.studies.runs.identity import config_hash
from overt.training import make_optimizer

OPTIONS = {
    "gd": ("gd", {}),
    "momentum": ("momentum", {}),
    "normalized_gd": ("normalizedgd", {}),
    "grouprmsprop": ("grouprmsprop", {"alpha": 0.99, "eps": 1e-12}),
    "sign": ("signdescent", {}),
    "rmsprop": ("rmsprop", {"alpha": 0.99, "eps": 1e-12}),
    "adam": ("adam", {"betas": (0.9, 0.99), "eps": 1e-12}),
    "adam_beta1_0": ("adam", {"betas": (0.0, 0.99), "eps": 1e-12}),
}


def tiny(**fields):
    settings = {"n": 8, "rank": 1, "n_observed": 30, "max_steps": 40, "seed": 0, "group": "interventions"}
    return AdamConfig(**{**settings, **fields})


def parts_of(w, target, curve):
    return 2 * (w - target), curve * w**3


@pytest.mark.parametrize("name", OPTIONS)
def test_the_split_steps_add_up_to_the_optimizer_of_torch(name):
    generator = torch.Generator().manual_seed(0)
    target, start = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    w, ours = torch.nn.Parameter(start.clone()), start.clone()
    torchs, options = OPTIONS[name]
    optimizer, stepper = make_optimizer(torchs, [w], 0.01, **options), Stepper(name, beta2=0.99)
    for _ in range(8):
        data, penalty = parts_of(w.detach(), target, 0.3)
        w.grad = data + penalty
        optimizer.step()
        first, second = stepper.split(*parts_of(ours, target, 0.3))
        ours = ours - 0.01 * (first + second)
        torch.testing.assert_close(ours, w.detach(), rtol=1e-9, atol=1e-11)


def test_matrix_wise_steps():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    first, second = Stepper("muon").split(a, b)
    U, _, Vh = svd(a + b)
    torch.testing.assert_close(first + second, U @ Vh)
    first, second = Stepper("shampoo").split(
        a, b
    )  # at the first step L^{-1/4} G R^{-1/4} is the polar factor
    torch.testing.assert_close(first + second, U @ Vh, rtol=1e-6, atol=1e-6)


def at_random(config):
    given = instance(config)
    generator = torch.Generator().manual_seed(3)
    W = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    return (
        gradient(W, config, given),
        given,
        W,
        torch.randn(4, 8, 8, generator=generator, dtype=torch.float64),
    )


@pytest.mark.parametrize("functional", ["normalized_nuclear_norm", "effective_rank", "nuclear_norm"])
@pytest.mark.parametrize("size", [0.1, 10.0])
def test_gradients_are_those_of_the_objective(functional, size):
    config = tiny(functional=functional, weight=0.3, objective_scale=2.0)
    given = instance(config)
    W = size * at_random(config)[2]

    def value(X):
        found = gradient(X, config, given)
        return 2.0 * (found.loss + 0.3 * found.value)

    at, step = gradient(W, config, given), 1e-6
    for entry in ((0, 0), (3, 5), (7, 2)):
        E = torch.zeros_like(W)
        E[entry] = step
        slope = (value(W + E) - value(W - E)) / (2 * step)
        assert float((at.data + at.penalty)[entry]) == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_interventions_do_what_they_are_named_for():
    at, given, _, draws = at_random(tiny())
    parts = Parts(*draws, given.observed)

    def penalty(name):
        return intervene(tiny(intervention=name), at, parts)[1]

    norm = torch.linalg.vector_norm
    assert leaving(penalty("keep_vectors"), at)["turning"] < 1e-12
    assert leaving(penalty("only_leaving"), at)["turning"] > 1 - 1e-12
    torch.testing.assert_close(penalty("keep_vectors") + penalty("only_leaving"), parts.penalty)
    assert leaving(penalty("keep_space"), at)["outside"] < 1e-12
    assert leaving(at.penalty, at)["turning"] < 1e-12
    for name, like in (("gradient_direction", parts.penalty), ("adam_length", parts.adam_penalty)):
        found = penalty(name)
        assert float(norm(found)) == pytest.approx(float(norm(like)))
        assert float((found * at.penalty).sum() / norm(found) / norm(at.penalty)) == pytest.approx(1)
    apart = penalty("adam_entries")
    for part in (given.observed, ~given.observed):
        assert float(norm(apart * part)) == pytest.approx(float(norm(parts.adam_penalty * part)))
    assert penalty("adam_penalty") is parts.adam_penalty
    assert intervene(tiny(intervention="adam_data"), at, parts) == (parts.adam_data, parts.penalty)
    assert intervene(tiny(), at, parts) == (parts.data, parts.penalty)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"rotated": True},
        {"intervention": "alternation", "lr": 1e-2},
        {"intervention": "adam_length", "optimizer": "gd", "lr": 1.0},
        {"optimizer": "muon"},
    ],
)
def test_a_run_of_each_kind(fields, tmp_path):
    config = tiny(**fields)
    context = RunContext(tmp_path, lambda line: None)
    out = execute(config, context)
    (record,) = out.records
    assert record["status"] == "budget"
    assert 0 < record["error"] < 3
    assert 0 <= record["against"] <= 1
    assert out.arrays["step"].size == out.arrays["error"].size > 10
    again = execute(config, context)
    assert again.records == out.records


@pytest.mark.slow
def test_rotating_does_not_change_what_is_invariant_to_it(tmp_path):
    context = RunContext(tmp_path, lambda line: None)
    for name, lr in (("gd", 2.0), ("muon", 1e-2)):
        plain, turned = (
            execute(tiny(optimizer=name, lr=lr, rotated=r), context).records[0] for r in (False, True)
        )
        assert turned["error"] == pytest.approx(plain["error"], rel=1e-6)
    plain, turned = (execute(tiny(rotated=r), context).records[0] for r in (False, True))
    assert turned["error"] != pytest.approx(plain["error"], rel=1e-6)


def test_a_diverged_run_says_so(tmp_path):
    out = execute(tiny(optimizer="gd", lr=1e6), RunContext(tmp_path, lambda line: None))
    assert out.records[0]["status"] == "diverged"
    assert math.isinf(out.records[0]["error"])


@pytest.mark.parametrize(("preset", "most"), [("quick", 80), ("full", 600)])
def test_plans_are_distinct_and_of_the_size_that_the_budget_allows(preset, most):
    configs = plan(preset, 0)
    assert len(set(configs)) == len(configs) <= most
    assert {config.seed for config in configs} == set(range(3 if preset == "quick" else 8))
    groups = {config.group for config in configs}
    assert (
        all(study.concerns({"group": group}, claim.id) for claim in study.claims for group in groups) is False
    )
    assert all(any(study.concerns(c.model_dump(), claim.id) for c in configs) for claim in study.claims)
    assert study.label(configs[0])


def test_wrong_settings_are_refused():
    with pytest.raises(ValidationError, match="rank must be"):
        tiny(rank=9)
    with pytest.raises(ValidationError, match="n_observed must be"):
        tiny(n_observed=7)
    with pytest.raises(ValidationError):
        tiny(optimizer="sgd")


@pytest.mark.slow
def test_figures_of_made_up_runs(tmp_path):
    context = RunContext(tmp_path, lambda line: None)
    template = execute(tiny(), context)
    runs = []
    for config in plan("quick", 0):
        record = {**template.records[0], "error": math.inf if config.optimizer == "rmsprop" else 0.05}
        hash_ = config_hash("adam", 1, config)
        runs.append(Run("adam", hash_, config.model_dump(mode="json"), [record], template.arrays, {}))
    figures = study.figures(runs)
    assert [figure.id for figure in figures] == ["optimizers", "interventions", "steps", "conditions"]
    assert all(figure.panels and figure.data and figure.caption for figure in figures)
    assert study.figures([]) == []
    assert len(study.judge(runs)) == len(study.claims)

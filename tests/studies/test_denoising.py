"""Denoising from noisy data alone: rules on made-up runs, Stein and Wiener by hand, small runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from worlds import changed, outcomes, runs

from overt.studies import RunContext, Skip
from overt.studies.denoising import training as T
from overt.studies.denoising.compare import METHODS, RIVALS, TUNED
from overt.studies.denoising.data import manifold, noisy
from overt.studies.denoising.latents import LatentsConfig, points
from overt.studies.denoising.settings import CompareConfig
from overt.studies.denoising.study import study
from overt.studies.runs.records import dump_lines, load_lines
from overt.studies.shared.redrawn import redrawn

YES = {claim.id: "supported" if claim.kind == "own" else "reproduced" for claim in study.claims}
OPEN = {claim.id: claim.open for claim in study.claims}
ERRORS = {"pointwise": 0.036, "frobenius": 0.045, "bottleneck": 0.055, "stein": 0.046, "wiener": 0.083}


def world(config):
    """Each claim holds."""
    if config.part == "latents":
        rank = 6 if config.method in ("implicit", "explicit") else 12
        return {"rank": rank, "effective_rank": 0.8 * rank, "error": 0.02, "status": "trained"}
    noise = config.sigma**2
    error = 4 * noise * ERRORS.get(config.method, 0.2) * (1 + 1e-3 * math.sin(3.0 * config.seed))
    if config.data == "images":
        error = 0.09 if config.method == "wiener" else 0.11
    return {"error": error, "best_error": 0.99 * error, "status": "trained"}


def told(some_world):
    return outcomes(study, runs(study, some_world))


def at(method, factor, field="error", **where):
    """The world with one method's number multiplied, at some settings."""

    def value(config):
        if config.part == "latents":
            return world(config).get(field)
        here = config.method == method and all(getattr(config, k) == v for k, v in where.items())
        return world(config)[field] * (factor(config) if callable(factor) else factor if here else 1)

    return changed(world, **{field: value})


def test_every_claim_can_hold():
    assert told(world) == YES


def test_training_that_was_cut_short_decides_nothing():
    assert outcomes(study, runs(study, world, "quick")) == OPEN


@pytest.mark.parametrize("rival", RIVALS)
def test_one_rival_that_is_better_is_enough(rival):
    assert told(at(rival, 0.4, sigma=0.5))["DN1"] == "refuted"
    assert told(at(rival, 0.4, sigma=1.0))["DN2"] == "refuted"
    assert told(at(rival, 0.4, sigma=1.0))["DN1"] == "supported"
    close = 0.036 / 0.95 / ERRORS[rival]
    assert told(at(rival, close, sigma=0.5))["DN1"] == "undecided"  # better, and not by a tenth


def test_images_and_controls_can_fail():
    assert told(at("wiener", 2.0, data="images"))["DN3"] == "refuted"
    assert told(at("weight 0", 0.1, data="manifold"))["DN4"] == "refuted"
    assert told(at("weight 0", 0.25, data="manifold"))["DN4"] == "undecided"
    for rival in TUNED:
        assert told(at(rival, 0.5, "best_error", sigma=0.5))["DN5"] == "refuted"


def test_seeds_that_disagree_decide_nothing():
    def mixed(config):
        odd = config.method == "pointwise" and config.seed % 2
        return (0.5 if config.data == "images" else 3.0) if odd else 1.0

    found = told(at("", mixed))
    assert {found[one] for one in ("DN1", "DN2", "DN3")} == {"undecided"}

    def ours(config):
        return world(config) | {"best_error": world(config)["error"] * (0.5 if config.seed % 2 else 1)}

    assert told(ours)["DN5"] == "undecided"


def test_a_method_that_diverges_loses_and_none_is_judged_without_runs():
    lost = changed(
        world, error=lambda config: None if config.method == "pointwise" else world(config)["error"]
    )
    assert told(lost)["DN1"] == "refuted"
    assert outcomes(study, []) == OPEN
    assert study.figures([]) == []


@pytest.mark.parametrize(
    ("claim", "change", "expected"),
    [
        ("DN6", {"effective_rank": 9.7}, "not reproduced"),
        ("DN6", {"effective_rank": 9.0}, "inconclusive"),
        ("DN7", {"rank": 20}, "refuted"),
        ("DN7", {"error": 1.0}, "refuted"),
        ("DN7", {"rank": 6.9, "error": 0.0235}, "supported"),
        ("DN7", {"rank": lambda seed: 6 if seed % 2 else 9}, "undecided"),
    ],
)
def test_codes_of_autoencoders(claim, change, expected):
    method = "implicit"

    def some_world(config):
        if config.part != "latents" or config.method != method:
            return world(config)
        return world(config) | {k: v(config.seed) if callable(v) else v for k, v in change.items()}

    assert told(some_world)[claim] == expected


def test_every_method_has_the_same_budget():
    assert {len(T.SETTINGS[one]) for one in TUNED} == {3}
    assert len(T.SETTINGS["pointwise"]) == 1
    assert set(T.SETTINGS) == set(METHODS)


# ---- what is measured -------------------------------------------------------------------------------------


def tiny(**fields):
    base = {
        "n_train": 60,
        "n_validation": 40,
        "n_test": 50,
        "width": 12,
        "max_steps": 10,
        "dim": 9,
        "seed": 0,
    }
    return CompareConfig(**base | fields)


def test_the_noise_is_what_it_says_and_the_same_for_all_methods():
    data = noisy(tiny(n_test=4000, sigma=0.3))
    assert float((data.test - data.clean).std()) == pytest.approx(0.3, rel=0.02)
    assert float(data.clean.std()) == pytest.approx(1.0, rel=0.2)
    other = noisy(tiny(n_test=4000, sigma=0.3, method="wiener"))
    assert torch.equal(data.train, other.train)
    assert not torch.equal(data.train, noisy(tiny(n_test=4000, sigma=0.3, seed=1)).train)


def test_the_manifold_has_few_directions_at_each_point_and_many_together():
    x = manifold(4000, 16, 2, torch.Generator().manual_seed(0))
    s = torch.linalg.svdvals(x - x.mean(0))
    assert int((s > 0.02 * s[0]).sum()) > 8
    near = x[(x - x[0]).norm(dim=1).argsort()[:8]]
    s = torch.linalg.svdvals(near - near.mean(0))
    assert float(s[2]) < 0.3 * float(s[0])


def test_wiener_is_the_best_linear_map():
    """Against the least squares fit of clean points, of more points than matter."""
    data = noisy(tiny(n_train=20_000, n_test=20_000, dim=5))
    filter_ = T.wiener(data)(torch.eye(5))
    best = torch.linalg.lstsq(data.test, data.clean).solution
    torch.testing.assert_close(filter_, best, atol=0.05, rtol=0)


def test_steins_estimate_is_the_error():
    data = noisy(tiny(n_train=500, n_validation=20_000, n_test=20_000))
    g = torch.Generator().manual_seed(0)
    A = torch.randn(9, 9, generator=g) / 3

    def denoise(x):
        return torch.tanh(x @ A)

    error = float((denoise(data.test) - data.clean).square().mean())
    assert T.stein(denoise, data.validation, 0.5, 0) == pytest.approx(error, rel=0.05)
    assert T.stein(lambda x: x, data.validation, 0.5, 0) == pytest.approx(0.25, rel=0.05)


def test_penalties_are_what_they_say():
    model = redrawn(T.Denoiser(9, 12, 12), 0).double()
    x = torch.randn(30, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    jacobians = torch.autograd.functional.jacobian(lambda z: model(z).sum(0), x).permute(1, 0, 2)
    norms = torch.linalg.svdvals(jacobians)
    frobenius = T._penalty(model, tiny(method="frobenius"), 2.0)
    assert float(frobenius.penalty(x).detach()) == pytest.approx(
        2 * 0.25 * float(norms.square().sum(1).mean()), rel=0.3
    )
    pointwise = T._penalty(model, tiny(method="pointwise"), 1.0)
    assert (
        float(pointwise.penalty(x).detach()) >= 0.25 * float(norms.sum(1).mean()) * 0.9
    )  # it is bounded from above
    assert T._penalty(model, tiny(method="stein"), 1.0) is None


def test_the_setting_is_chosen_without_clean_points(tmp_path, monkeypatch):
    estimates = iter([0.3, 0.1, 0.2])
    monkeypatch.setattr(T, "stein", lambda *_: next(estimates))
    record = T.run(tiny(method="bottleneck", max_steps=2), RunContext(tmp_path, lambda line: None))
    assert record["chosen"] == T.SETTINGS["bottleneck"][1]
    assert record["error"] == record["trials"][1]["error"]
    assert record["best_error"] == min(row["error"] for row in record["trials"])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_one_small_run_of_each_kind(method, tmp_path):
    config = tiny(method=method, data="manifold", max_steps=200, n_train=300)
    (record,) = load_lines(dump_lines(study.execute(config, RunContext(tmp_path, lambda line: None)).records))
    assert len(record["trials"]) == len(T.SETTINGS[method])
    assert record["status"] == "trained"
    assert 0 < record["best_error"] <= record["error"] < 2
    again = study.execute(config, RunContext(tmp_path, lambda line: None)).records[0]
    assert again["error"] == record["error"]
    if method == "wiener":
        assert record["error"] < 0.25  # some of the noise is gone


def test_few_numbers_determine_the_points_of_autoencoders():
    """A linear map of the numbers' neighbourhood explains them: as many local directions as numbers."""
    x = points(LatentsConfig(dim=20, intrinsic=2, n_train=3000, seed=0)).double()
    assert float(x[:3000].square().mean()) == pytest.approx(1.0, rel=1e-3)
    near = x[(x - x[0]).norm(dim=1).argsort()[:12]]
    s = torch.linalg.svdvals(near - near.mean(0))
    assert float(s[2]) < 0.3 * float(s[1])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["plain", "weight 0", "implicit", "explicit"])
def test_one_small_autoencoder_of_each_kind(method, tmp_path):
    config = LatentsConfig(
        method=method, dim=12, intrinsic=2, latent=8, width=16, n_train=200, max_steps=300, seed=0
    )
    (record,) = load_lines(dump_lines(study.execute(config, RunContext(tmp_path, lambda line: None)).records))
    assert len(record["trials"]) == 2
    assert record["error"] < 0.9
    assert 1 <= record["effective_rank"] <= 8
    assert 1 <= record["rank"] <= 8


@pytest.mark.slow
def test_without_the_images_the_run_is_skipped(monkeypatch, tmp_path):
    monkeypatch.setenv("OVERT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(Skip, match="nowhere"):
        study.execute(tiny(data="images"), RunContext(tmp_path, lambda line: None))


@pytest.mark.slow
def test_figures_of_made_up_runs():
    made = runs(study, changed(world, seconds=lambda config: 1.0 + config.seed))
    assert [figure.id for figure in study.figures(made)] == ["errors", "noise", "seconds", "latents"]
    assert np.isfinite([row["value"] for row in study.figures(made)[0].data]).all()


@pytest.mark.parametrize("preset", ["quick", "full"])
def test_every_instance_has_its_control(preset):
    """For each run of any method there is one of the same points at weight 0."""

    def instance(config):
        return tuple((k, v) for k, v in config.model_dump().items() if k not in ("method", "setting"))

    for part in study.parts:
        configs = list(part.plan(preset, 0))
        controls = {instance(one) for one in configs if one.method == "weight 0"}
        assert {instance(one) for one in configs} <= controls, part.name

"""The story's presets: what they run, that runs differ, and which claims they are for."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest
from pydantic import ValidationError

from overt.studies.runs.identity import config_hash
from overt.studies.story.claims import CLAIMS, GROUPS
from overt.studies.story.config import Group, StoryConfig
from overt.studies.story.plan import GD_RATES, plan
from overt.studies.story.study import study
from overt.training import optimizer_names

PRESETS = ("quick", "full")


def settings(configs, **wanted):
    """The configurations with these values."""
    return [c for c in configs if all(getattr(c, name) == value for name, value in wanted.items())]


def values(configs, field):
    return {getattr(config, field) for config in configs}


@pytest.mark.parametrize("preset", PRESETS)
def test_no_two_runs_are_the_same(preset):
    hashes = Counter(config_hash(study.name, study.version, config) for config in plan(preset, 0))
    assert hashes.most_common(1)[0][1] == 1


@pytest.mark.parametrize("preset", PRESETS)
def test_every_claim_has_runs_and_every_run_a_claim(preset):
    configs = [config.model_dump(mode="json") for config in plan(preset, 0)]
    for claim in CLAIMS:
        assert any(study.concerns(config, claim.id) for config in configs), claim.id
    for config in configs:
        claims = [claim.id for claim in CLAIMS if study.concerns(config, claim.id)]
        # The portrait is a picture of one run, and no verdict needs it.
        assert bool(claims) == (config["group"] != "portrait")


def test_groups_are_all_planned_and_all_known():
    groups = set(get_args(Group))
    assert set().union(*GROUPS.values()) | {"portrait"} == groups
    assert set(GROUPS) == {claim.id for claim in CLAIMS}
    for preset in PRESETS:
        assert values(plan(preset, 0), "group") == groups


@pytest.mark.parametrize("preset", PRESETS)
def test_the_seed_shifts_every_run_and_changes_nothing_else(preset):
    first, second = plan(preset, 0), plan(preset, 1000)
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert other.model_dump() == one.model_dump() | {"seed": one.seed + 1000}
    assert plan(preset, 0) == first


def test_numbers_of_seeds():
    """Ten where the claims of recovery are judged in full, and never so few that there is no interval."""
    assert values(settings(plan("full", 5), group="depths"), "seed") == set(range(5, 15))
    for preset, least in (("quick", 3), ("full", 5)):
        for group in ("depths", "optimizers", "weights", "inits", "nuclear", "regression"):
            seeds = values(settings(plan(preset, 5), group=group), "seed")
            assert len(seeds) >= least
            assert seeds == set(range(5, 5 + len(seeds)))


@pytest.mark.parametrize("preset", PRESETS)
def test_timed_runs_and_they_alone_are_exclusive(preset):
    for config in plan(preset, 0):
        assert config.exclusive == (config.group == "cost")


def test_quick_shows_each_claim_on_less():
    """Quick leaves out seeds, counts, rates and steps; each group and each method of a verdict stays."""
    quick, full = plan("quick", 0), plan("full", 0)
    assert len(quick) < len(full) / 5
    for group in get_args(Group):
        few, many = settings(quick, group=group), settings(full, group=group)
        for field in ("method", "n_observed", "depth", "optimizer", "functional", "weight", "kept", "seed"):
            if not _is_small(few):
                assert values(few, field) <= values(many, field), (group, field)
        assert values(few, "method") >= values(many, "method") - {"soft_impute", "irls"}
        assert max(values(few, "max_steps")) <= max(values(many, "max_steps"))


def _is_small(configs):
    """Whether these are the sweeps that quick makes on a small matrix of its own."""
    return values(configs, "n") == {30}


@pytest.mark.parametrize("preset", PRESETS)
def test_what_the_rules_read_is_there(preset):
    configs = plan(preset, 0)
    for count in (2000, 5000):
        deep = settings(configs, group="depths", method="deep", optimizer="gd", n_observed=count)
        assert values(deep, "depth") == {1, 2, 3, 4}
        assert {c.lr for c in deep} == set(GD_RATES.values())
    for count in (1500, 2000):
        assert settings(configs, group="depths", method="explicit", n_observed=count)
        assert settings(configs, group="cost", n_observed=count)
    assert {"adam", "gd", "momentum"} <= values(settings(configs, group="optimizers"), "optimizer")
    for method in ("explicit", "deep"):
        assert {1e-6, 1.0} <= values(settings(configs, group="inits", method=method), "init_scale")
    swept = values(settings(configs, group="weights"), "weight")
    assert max(swept) / min(swept) >= 1e3 * (1 - 1e-9)
    assert values(settings(configs, group="nuclear"), "functional") == {
        "nuclear_norm",
        "normalized_nuclear_norm",
    }
    assert values(settings(configs, group="regression", method="gd"), "rank") == {0, 5}
    assert settings(configs, group="regression", method="diagonal", depth=2, init_scale=1.0)
    assert settings(configs, group="photograph", kept=0.3, method="explicit")
    assert {"biases", "deep", "explicit"} <= values(settings(configs, group="movielens"), "method")


@pytest.mark.parametrize("preset", PRESETS)
def test_optimizers_are_known_to_the_training_loop(preset):
    assert values(plan(preset, 0), "optimizer") <= set(optimizer_names())


@pytest.mark.parametrize("preset", PRESETS)
def test_each_run_has_a_short_label(preset):
    for config in plan(preset, 0):
        assert study.label(config).startswith(f"{config.group}: ")
        assert len(study.label(config)) < 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"seed": 0, "n": 1},
        {"seed": 0, "lr": 0.0},
        {"seed": 0, "weight": float("nan")},
        {"seed": 0, "group": "deepest"},
        {"seed": 0, "learning_rate": 0.1},
        {},
    ],
)
def test_configurations_refuse_what_cannot_be(wrong):
    with pytest.raises(ValidationError):
        StoryConfig(**{"group": "depths", "method": "deep", **wrong})

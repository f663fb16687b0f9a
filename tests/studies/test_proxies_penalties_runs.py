"""The proxies as penalties: functionals, plans, tuning, one small real run of each, and figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from overt import functional as F
from overt.problems import matrix_completion
from overt.studies import Run, RunContext, StudyConfig
from overt.studies.proxies import execute as trainings
from overt.studies.proxies import study
from overt.studies.proxies.config import PILOT, PenaltyConfig
from overt.studies.proxies.figures import figures
from overt.studies.proxies.functionals import PAIRS, PROXIES, gradient_norm
from overt.studies.proxies.parts import PARTS
from overt.studies.proxies.study import part_of
from overt.studies.runs.identity import config_hash

SMALL = {"n": 8, "rank": 1, "n_observed": 40, "max_steps": 4, "seed": 3}


def matrix(seed=0):
    return torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def context(tmp_path):
    return RunContext(tmp_path, lambda line: None)


# ---- functionals -----------------------------------------------------------------------------------------


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


def test_pairs_are_a_proxy_and_its_normalized_form():
    assert set(PAIRS) == {"nuclear", "Schatten 1/2", "Schatten 2/3", "log-det", "truncated nuclear"}
    W = matrix()
    for plain in ("nuclear", "Schatten 1/2", "Schatten 2/3", "truncated nuclear"):
        expected = float(PROXIES[plain].value(W, 2) / F.frobenius_norm(W))
        assert float(PROXIES[PAIRS[plain]].value(W, 2)) == pytest.approx(expected)


def test_only_the_truncated_ones_are_told_the_rank():
    assert {name for name, one in PROXIES.items() if one.told_rank} == {
        "truncated nuclear",
        "truncated nuclear / F",
    }


# ---- plans and configurations ------------------------------------------------------------------------------


def mine(preset, seed=0):
    return [one for one in study.plan(preset, seed) if isinstance(one, PenaltyConfig)]


@pytest.mark.parametrize(("preset", "names"), [("quick", {"adam", "gd"}), ("full", None)])
def test_plan_crosses_proxies_and_optimizers(preset, names):
    plan = mine(preset)
    assert len(set(plan)) == len(plan)
    names = names or {"adam", "gd", "rmsprop", "muon", "lbfgs"}
    assert {(one.proxy, one.optimizer) for one in plan} == {(p, o) for p in PROXIES for o in names}


@pytest.mark.parametrize("preset", ["quick", "full"])
def test_every_proxy_has_the_same_budget(preset):
    for optimizer in {one.optimizer for one in mine(preset)}:
        budgets = {
            tuple(sorted(one.model_dump(exclude={"proxy"}).items()))
            for one in mine(preset)
            if one.optimizer == optimizer
        }
        assert len(budgets) == 1


def test_pilot_seeds_are_judged_nowhere():
    for config in mine("full"):
        pilots = {one.seed for one in trainings.tuning(config)}
        judged = {one.seed for one in trainings.judged(config, 1e-2, 1e-2)}
        assert not pilots & judged
        assert min(pilots) >= PILOT > max(judged)


@pytest.mark.parametrize(
    "fields",
    [
        {"proxy": "no_such"},
        {"optimizer": "no_such"},
        {"rates": ()},
        {"weights": (0.0,)},
        {"rank": 99},
        {"no_such": 1},
    ],
)
def test_bad_configurations_are_refused(fields):
    with pytest.raises(ValidationError):
        PenaltyConfig(**{"proxy": "nuclear", "rates": (0.1,), "weights": (0.1,), "seed": 0, **fields})


def test_parts_share_neither_claims_nor_configurations():
    ids = [claim.id for part in PARTS for claim in part.claims]
    assert len(set(ids)) == len(ids)
    assert len({part.config_type for part in PARTS}) == len(PARTS)
    for part in PARTS:
        assert set(part.groups) == {claim.id for claim in part.claims}
    with pytest.raises(TypeError, match="one of the study's parts"):
        part_of(StudyConfig(seed=0))


def test_claims_concern_the_group():
    assert study.concerns({"group": "penalties"}, "P1")
    assert not study.concerns({"group": "something else"}, "P1")


# ---- runs ------------------------------------------------------------------------------------------------


def config(**fields):
    return PenaltyConfig(**{"proxy": "nuclear / F", "rates": (1e-2,), "weights": (1e-2,), **SMALL, **fields})


@pytest.mark.slow
@pytest.mark.parametrize("proxy", PROXIES)
def test_each_proxy_runs(context, proxy):
    output = study.execute(config(proxy=proxy, judged_seeds=1), context)
    assert [record["stage"] for record in output.records] == ["judged"]
    assert np.isfinite(output.records[0]["error"])


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "gd", "rmsprop", "muon", "lbfgs"])
def test_each_optimizer_runs(context, optimizer):
    output = study.execute(config(optimizer=optimizer, judged_seeds=1, max_steps=2), context)
    assert output.records[0]["steps"] == 2


@pytest.mark.slow
def test_a_run_tunes_judges_and_walks_along_its_windows(context):
    one = config(
        rates=(1e-2, 2e-2),
        weights=(1e-2, 1e-1),
        pilot_seeds=2,
        judged_seeds=2,
        window_seeds=1,
        window_weights=(1e-3, 1e-2),
        window_scales=(1.0,),
    )
    records = study.execute(one, context).records
    stages = [record["stage"] for record in records]
    assert {stage: stages.count(stage) for stage in stages} == {
        "tuning": 8,
        "judged": 2,
        "weight": 2,
        "init": 1,
    }
    lr, weight = trainings.chosen([record for record in records if record["stage"] == "tuning"])
    assert {(r["lr"], r["weight"]) for r in records if r["stage"] == "judged"} == {(lr, weight)}
    assert {r["lr"] for r in records if r["stage"] == "weight"} == {lr}
    assert [r["init_scale"] for r in records if r["stage"] == "init"] == [1.0]


def test_an_interrupted_run_goes_on_and_ends_the_same(context, tmp_path):
    one = config(judged_seeds=2, max_steps=6)
    whole = study.execute(one, context).records
    again = tmp_path / "again"
    again.mkdir()

    def interrupt(line):
        if "seed 4" in line:  # the second judged seed
            raise InterruptedError

    with pytest.raises(InterruptedError):
        study.execute(one, RunContext(again, interrupt))
    resumed = study.execute(one, RunContext(again, lambda line: None)).records
    assert [record["error"] for record in resumed] == [record["error"] for record in whole]


def test_the_setting_with_the_smallest_error_is_chosen():
    errors = {
        (0.1, 1.0): (0.5, 0.5),
        (0.1, 2.0): (0.1, 0.9),
        (0.2, 1.0): (None, 1e-3),
        (0.2, 2.0): (0.6, 0.6),
    }
    rows = [{"lr": lr, "weight": w, "error": e} for (lr, w), some in errors.items() for e in some]
    assert trainings.chosen(rows) == (0.1, 2.0)
    assert trainings.chosen(rows[::-1]) == (0.1, 2.0)


@pytest.mark.parametrize("proxy", ["nuclear", "Schatten 1/2", "log-det / F"])
def test_weight_one_makes_the_gradients_equal(proxy):
    one = config(proxy=proxy)
    problem = matrix_completion((8, 8), rank=1, n_observed=40, seed=3)
    zero = torch.zeros(8, 8, dtype=torch.float64, requires_grad=True)
    problem.loss(zero).backward()
    filled = torch.zeros(8, 8, dtype=torch.float64)
    filled[problem.rows, problem.cols] = problem.y
    pull = trainings.unit(one, problem) * gradient_norm(PROXIES[proxy], filled, 1)
    assert pull == pytest.approx(float(zero.grad.norm()))


# ---- figures -----------------------------------------------------------------------------------------------

IDS = ["proxies-recovery", "proxies-normalization", "proxies-weights", "proxies-inits", "proxies-cost"]


def made_up(preset="full", lost=0.0):
    made = []
    for one in mine(preset):
        name = config_hash("proxies", 1, one)
        rng = np.random.default_rng(int(name, 16))
        records = [
            {
                "stage": each.stage,
                "seed": each.seed,
                "lr": each.lr,
                "weight": each.weight,
                "init_scale": each.init_scale,
                "error": None if rng.random() < lost else float(rng.uniform(1e-3, 0.9)),
                "steps": 500,
                "seconds": 0.4,
                "hits": {"0.1": [300, 0.2]} if rng.random() > lost else {},
            }
            for each in trainings.judged(one, 1e-2, 1e-2)
        ]
        fields = one.model_dump(mode="json")
        made.append(Run("proxies", name, fields, records, {}, {"status": "done"}))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0.0, 0.4])
def test_figures_of_a_whole_preset(lost):
    found = figures(made_up(lost=lost))
    assert [figure.id for figure in found] == IDS
    for figure in found:
        assert figure.panels
        assert figure.data
        assert "tuned" in figure.caption


def test_figures_of_nothing_and_of_one_optimizer():
    assert figures([]) == []
    only = [one for one in made_up() if one.config["optimizer"] == "gd"]
    assert [figure.id for figure in figures(only)] == ["proxies-recovery"]

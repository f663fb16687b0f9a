"""The study of structure: networks, layers and powers of M against oracles; verdicts in made-up worlds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from worlds import changed, run, runs
from worlds import outcomes as all_outcomes

import overt
from overt.problems import staircase
from overt.studies import RunContext
from overt.studies.runs.records import dump_lines, load_lines
from overt.studies.structure import layers, networks, problems, rivals, study
from overt.studies.structure.ansatz import AnsatzConfig
from overt.studies.structure.dials import LEVELS, DialsConfig, growth_on_axes
from overt.studies.structure.features import FeaturesConfig
from overt.studies.structure.features import _angle as largest_angle
from overt.studies.structure.machines import MachinesConfig
from overt.studies.structure.methods import METHODS
from overt.studies.structure.networks import Recipe, Trained, mlp, train, tuned
from overt.studies.structure.penalties import PenaltiesConfig
from overt.studies.structure.problems import PROBLEMS, RIGHT, Rows, instance, rows

KINDS = {claim.id: claim.kind for claim in study.claims}
YES = {id_: "supported" if kind == "own" else "reproduced" for id_, kind in KINDS.items()}
NO = {id_: "refuted" if kind == "own" else "not reproduced" for id_, kind in KINDS.items()}
OPEN = {id_: "undecided" if kind == "own" else "inconclusive" for id_, kind in KINDS.items()}

PART = {claim.id: part for part in study.parts for claim in part.claims}


def outcomes(claim, some_world):
    """The outcome of a claim, from the runs of its part alone."""
    part = PART[claim]
    some = [run(study, config, some_world(config)) for config in part.plan("full", 0)]
    return next(one.outcome for one in part.judge(some) if one.claim == claim)


# ---- verdicts ---------------------------------------------------------------------------------------------


def world(config):
    """Each claim holds."""
    wobble = 1 + 0.01 * math.sin(3.0 * config.seed)
    if config.part == "penalties":
        return {"error": _penalties(config) * wobble, "effective_rank": 3.0}
    if config.part == "dials":
        return {"error": _dials(config) * wobble}
    if config.part == "machines":
        return _machines(config, wobble)
    if config.part == "features":
        names = ("network", "first_layer", "machine", "between")
        return {f"angle_{name}": 10.0 * wobble for name in names} | {"angle_decayed": 25.0 * wobble}
    alpha = 1 - 1 / config.depth
    rare = config.target == "rare"
    return {
        "status": "trained",
        "relative_gradient": 1e-3,
        "left": 1e-3,
        "correlation": 0.9999,
        "correlation_half": 0.95,
        "correlation_best": 0.8 if rare else 0.97,
        "correlation_fact": 0.9999,
        "missing": 0.05,
        "missing_fact": 1e-4,
        "exponent": 1 / config.depth,
        "exponent_of_rest": alpha,
        "step": 1e-4,
        "step_of_next": 5e-3,
    }


def _penalties(config):
    if PROBLEMS[config.problem].control:
        return 1.0
    right = RIGHT[config.problem]
    sparse = {"jacobian 2": 0.9, f"jacobian 1 {right}": 0.5, f"jacobian 2/3 {right}": 0.2}
    lasso = 0.2 if right == "identity" else 0.8
    return sparse.get(config.method, lasso if config.method == "group lasso" else 0.8)


def _dials(config):
    ours = config.method.startswith("jacobian")
    if not ours:
        return 0.8
    place = LEVELS[config.dial, config.problem].index(config.level)
    gains = {"irrelevant": 1 + place, "rank": 4 - place, "noise": 4 - place, "samples": 4.0}
    if config.dial == "rotation":
        return 0.8 if config.method.endswith("identity") and config.level else 0.3
    return 0.8 / gains[config.dial]


def _machines(config, wobble):
    control = config.problem == "additive"
    ours = config.learner in ("feature machine", "reweighted loop")
    best = config.learner == "penalty"
    error = 1.0 if control else 0.1 if ours or best else 0.8
    return {"error": error * wobble, "n_iter": 0 if control or config.learner == "no rounds" else 3}


def errors(**by_part):
    """The world with other errors: a function of the configuration for each part, None leaving it alone."""

    def one(config):
        record = dict(world(config))
        told = by_part.get(config.part, lambda config: None)(config)
        return record if told is None else record | {"error": told}

    return one


def when(value, **fields):
    """A value for the configurations with these fields."""
    return lambda config: value if all(getattr(config, k) == v for k, v in fields.items()) else None


def test_every_claim_can_hold():
    assert all_outcomes(study, runs(study, world)) == YES


def test_no_runs_no_verdicts():
    assert all_outcomes(study, []) == OPEN


@pytest.mark.parametrize(
    ("claim", "changed_world"),
    [
        ("T1", errors(penalties=when(0.2, method="jacobian 2"))),
        ("T1", errors(penalties=when(0.2, method="jacobian 2", problem="digits"))),
        ("T2", errors(penalties=when(0.2, method="weight decay", problem="multi-index"))),
        ("T2", errors(penalties=when(0.24, method="nothing", problem="staircase"))),
        ("T3", errors(penalties=when(1.1, method="jacobian 2/3 eigen", problem="additive"))),
        ("T3", errors(penalties=when(0.9, method="jacobian 2", problem="rotated additive"))),
        ("T4", errors(penalties=when(0.7, method="jacobian 2/3 identity", problem="multi-index"))),
        ("T5", errors(penalties=when(0.7, method="jacobian 2/3 eigen", problem="staircase"))),
        ("T6", errors(penalties=when(0.2, method="jacobian 2/3 eigen", problem="digits"))),
        ("T7", errors(penalties=when(0.1, method="group lasso", problem="staircase"))),
        ("T7", errors(penalties=when(0.3, method="group lasso", problem="digits"))),
        ("T8", errors(penalties=when(0.2, method="group lasso", problem="multi-index"))),
        ("T9", errors(penalties=when(0.1, method="jacobian 1 eigen", problem="multi-index"))),
        ("T9", errors(penalties=when(0.95, method="jacobian 1 identity", problem="digits"))),
        ("T10", errors(dials=when(0.01, dial="irrelevant", level=0.0, method="jacobian 2/3 identity"))),
        ("T11", errors(dials=when(0.01, dial="rank", level=60.0, method="jacobian 2/3 eigen"))),
        ("T11", errors(dials=when(0.9, dial="rank", level=60.0, method="jacobian 2/3 eigen"))),
        ("T12", errors(dials=when(0.01, dial="noise", level=1.0, method="jacobian 2/3 identity"))),
        ("T12", errors(dials=when(0.9, dial="noise", level=1.0, method="jacobian 2/3 identity"))),
        ("T13", errors(dials=when(0.1, dial="samples", level=1000.0, method="weight decay"))),
        ("T14", errors(dials=when(0.3, dial="rotation", method="jacobian 2/3 identity"))),
        ("T14", errors(dials=when(0.8, dial="rotation", method="jacobian 2/3 eigen", level=1.0))),
        ("T15", errors(machines=when(0.05, problem="parity", learner="penalty"))),
        ("T15", errors(machines=when(0.05, problem="digits", learner="boosting"))),
        ("T17", errors(machines=when(0.9, problem="additive", learner="no rounds"))),
        ("T17", errors(machines=when(0.9, problem="additive", learner="kernel ridge"))),
        ("T18", errors(machines=when(0.1, problem="multi-index", learner="loop"))),
        ("T18", errors(machines=when(1.1, problem="additive", learner="reweighted loop"))),
        ("T19", errors(machines=when(0.1, problem="parity", learner="no rounds"))),
        ("T16", changed(world, n_iter=2)),
        ("T20", changed(world, angle_machine=45.0)),
        ("T20", changed(world, angle_between=31.0)),
        ("T21", changed(world, angle_first_layer=60.0)),
        ("T22", changed(world, angle_decayed=10.0)),
        ("T23", changed(world, correlation=0.98)),
        ("T23", changed(world, exponent=0.5)),  # at every depth: right at depth 2 alone
        ("T24", changed(world, exponent_of_rest=0.5)),
        ("T25", changed(world, step=0.02)),
        ("T25", changed(world, step_of_next=1.5e-4)),
        ("T26", changed(world, correlation_half=0.8)),
        ("T27", changed(world, correlation_best=0.95)),
        ("T27", changed(world, left=0.05)),
        ("T28", changed(world, correlation_fact=0.9)),
        ("T29", changed(world, missing_fact=0.06)),
    ],
)
def test_every_claim_can_fail(claim, changed_world):
    assert outcomes(claim, changed_world) == NO[claim]


@pytest.mark.parametrize("claim", [c for c in KINDS if c not in ("T16",)])
def test_every_claim_can_stay_open(claim):
    """Seeds that contradict each other decide nothing."""
    opposite = {
        "error": lambda c: 10.0 ** math.cos(7 * c.seed + len(repr(c))),
        **{f"angle_{n}": lambda c: 30 + 20 * math.cos(2 * c.seed) for n in ("network", "first_layer")},
        "angle_decayed": lambda c: 30 + 20 * math.sin(2 * c.seed),
        **dict.fromkeys(("correlation", "correlation_fact"), lambda c: 0.99 + 0.005 * (-1) ** c.seed),
        "correlation_half": lambda c: 0.9 + 0.05 * (-1) ** c.seed,
        "correlation_best": lambda c: 0.9 + 0.05 * (-1) ** c.seed,
        "exponent_of_rest": lambda c: (1.1 + 0.05 * (-1) ** c.seed) * (1 - 1 / getattr(c, "depth", 2)),
        "step": lambda c: 0.01 + 0.005 * (-1) ** c.seed,
        "step_of_next": lambda c: 0.02 + 0.005 * (-1) ** c.seed,
        "missing": lambda c: 1e-4 * (1 + 0.5 * (-1) ** c.seed),
    }
    assert outcomes(claim, changed(world, **opposite)) == OPEN[claim]


def test_one_of_two_rounds_decides_nothing():
    mixed = changed(world, n_iter=lambda config: config.seed % 2)
    assert outcomes("T16", mixed) == "undecided"


def test_a_network_that_is_not_there_yet_is_no_evidence():
    early = changed(world, relative_gradient=0.5, status="trained")
    for claim in (claim for claim, part in PART.items() if part.name == "ansatz"):
        assert outcomes(claim, early) == OPEN[claim]


def test_a_method_that_diverged_has_lost_and_proves_nothing_for_its_rival():
    def lost(method):
        def one(config):
            gone = config.part == "penalties" and config.method == method
            return world(config) | ({"error": None, "status": "diverged"} if gone else {})

        return outcomes("T1", one)

    assert lost("jacobian 2/3 identity") == "refuted"
    assert lost("jacobian 2") == "undecided"


@pytest.mark.parametrize("preset", ["quick", "full"])
def test_every_instance_has_its_control_without_a_penalty_or_rounds(preset):
    controls = {"penalties": "nothing", "dials": "nothing", "machines": ("no rounds", "loop")}
    for part in study.parts[:3]:
        configs = [config.model_dump() for config in part.plan(preset, 0)]
        arm = "learner" if part.name == "machines" else "method"
        wanted = controls[part.name]
        instances = {tuple((k, v) for k, v in one.items() if k != arm) for one in configs}
        for control in [wanted] if isinstance(wanted, str) else wanted:
            there = {
                tuple((k, v) for k, v in one.items() if k != arm) for one in configs if one[arm] == control
            }
            assert there == instances


def test_growth_is_a_slope_of_doublings():
    class Made:
        def __init__(self, method, level, error):
            self.config, self.records = {"method": method, "level": level}, [{"error": error}]

    made = [Made("weight decay", level, 0.8) for level in (0, 50, 200)]
    made += [Made("jacobian 2/3 identity", level, 0.8 / 2**k) for k, level in enumerate((0, 50, 200))]
    assert growth_on_axes(made) == pytest.approx(1.0)
    made[-1].records[0]["error"] = None
    assert math.isnan(growth_on_axes(made))


@pytest.mark.slow
def test_figures():
    found = study.figures(runs(study, world))
    assert {figure.id for figure in found} >= {"penalties", "ranks", "machines", "angles", "ansatz"}
    assert all(figure.panels and figure.data and figure.caption for figure in found)


# ---- problems and networks --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_right_basis_is_that_of_the_directions(name):
    problem = instance(name, 3)
    axes = bool(((problem.subspace == 0) | (problem.subspace == 1)).all())
    assert axes == (RIGHT[name] == "identity")
    assert (problem.rank == problem.X.shape[1]) == PROBLEMS[name].control


def test_settings_are_chosen_on_rows_that_nothing_learns_from():
    problem = instance("digits", 0)
    everything, learn, choose = rows(problem)
    assert (len(everything), len(learn), len(choose)) == (100, 80, 20)
    torch.testing.assert_close(torch.cat([learn.X, choose.X]), everything.X)
    assert set(everything.Y.unique().tolist()) == {-1.0, 1.0}
    assert bool((everything.Y.argmax(1) == problem.y).all())


def test_all_methods_have_four_settings():
    assert {len(one.knob) for one in METHODS.values()} == {4}
    assert {len(one) for one in (rivals.KERNELS, rivals.TREES)} == {4}


def some_rows(n=40, d=6, seed=0):
    X = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return Rows(X, X[:, :1] * X[:, 1:2])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_its_knob_matters(method):
    data, recipe = some_rows(), Recipe(0, width=8, max_steps=60, batch_size=16)
    found = [train(METHODS[method], setting, data, data, recipe) for setting in (1e-3, 1.0)]
    assert all(one.step in (50, 60) and math.isfinite(one.loss) for one in found)
    assert found[0].loss != found[1].loss
    again = train(METHODS[method], 1e-3, data, data, recipe)
    assert again.loss == found[0].loss
    outputs = networks.outputs_of(again.model, data.X)
    assert float((outputs - data.Y).square().mean()) == pytest.approx(again.loss, rel=1e-6)


def test_the_best_setting_comes_first_and_one_that_diverges_last():
    data = some_rows()
    found = tuned("nothing", data, data, Recipe(0, width=8, max_steps=100, batch_size=16), (1e-6, 1e30, 1e-2))
    assert [one.setting for one in found] == [1e-2, 1e-6, 1e30]
    assert found[-1].row["validation"] is None
    assert Trained(mlp(2, 1, Recipe(0)), 1.0).row["validation"] is None


def test_group_lasso_empties_columns_that_do_not_matter():
    data = some_rows(200)
    (best,) = tuned("group lasso", data, data, Recipe(0, width=16, max_steps=600), (3e-2,))
    norms = best.model[0].weight.detach().norm(dim=0)
    assert float(norms[2:].max()) < 0.2 * float(norms[:2].min())


# ---- layers -----------------------------------------------------------------------------------------------


def test_m_against_differences():
    model = layers.make_network("gelu", 3, 2, 3, 0)
    X = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    slow = torch.zeros(3, 3, dtype=torch.float64)
    for x in X:
        J = torch.stack(
            [(model(x + 1e-5 * e) - model(x - 1e-5 * e)) / 2e-5 for e in torch.eye(3).double()], 1
        )
        slow += (J.mT @ J).detach() / len(X)
    torch.testing.assert_close(layers.moment(model, X), slow, rtol=1e-6, atol=1e-8)


def test_powers_correlations_and_exponents():
    generator = torch.Generator().manual_seed(0)
    Q = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=generator))[0]
    M = (Q * torch.tensor([9.0, 4.0, 1.0, 0.25, 0.0]).double()) @ Q.mT
    torch.testing.assert_close(layers.power(M, 1.0), M)
    half = layers.power(M, 0.5)
    torch.testing.assert_close(half @ half, M)
    assert layers.exponent(layers.power(M, 0.37), M) == pytest.approx(0.37)
    other = torch.randn(5, 5, dtype=torch.float64, generator=generator)
    expected = np.corrcoef(M.flatten().numpy(), other.flatten().numpy())[0, 1]
    assert layers.correlation(M, other) == pytest.approx(expected)
    assert layers.correlation(M, 3 * M + 1) == pytest.approx(1.0)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 2 / 3])
def test_a_reweighted_step_solves_its_ridge_regression(alpha):
    data = layers.linear_data(0, n=30, inputs=4, outputs=4)
    W = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = layers.reweighted_step(W, data, alpha, 0.3).requires_grad_()
    inverse = layers.power(W.mT @ W, -alpha)
    loss = (data.X @ found.mT - data.Y).square().sum(1).mean()
    (loss + 0.15 * (found @ inverse @ found.mT).trace()).backward()
    assert float(found.grad.norm()) < 1e-9 * float(found.detach().norm())


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3])
def test_a_trained_linear_network_is_where_theory_says(depth):
    data = layers.linear_data(1)
    model = layers.make_network("linear", 20, 6, depth, 0)
    left = layers.descend(model, data, 0.1, lr=1e-2, max_steps=2000)
    found = layers.compared(model, data, 0.1) | layers.compared_linear(model, data, 0.1)
    assert left < 1e-2
    assert found["correlation"] > 0.999
    assert found["exponent"] == pytest.approx(1 / depth, rel=0.02)
    assert found["exponent_of_rest"] == pytest.approx(1 - 1 / depth, rel=0.02)
    assert found["step"] < 1e-3 < found["step_of_next"]
    assert found["missing_fact"] < 1e-4


def test_before_training_the_first_layer_is_neither():
    data = layers.linear_data(1)
    model = layers.make_network("gelu", 20, 6, 2, 0)
    found = layers.compared(model, data, 0.1)
    assert found["correlation"] < 0.99
    assert found["correlation_fact"] < 0.99


def test_the_counterexample_ranks_its_inputs_both_ways():
    data = layers.rare_data(0, n=50_000)
    slopes = torch.stack([torch.ones(50_000), 4.0 * (data.X[:, 1] > 0)], 1).double()
    M = slopes.square().mean(0)
    assert M[1] == pytest.approx(0.8, rel=0.05)
    assert M[1] < M[0]


def test_largest_angle():
    one = torch.eye(4, dtype=torch.float64)[:, :2]
    tilted = torch.tensor([[1, 0], [0, math.cos(0.3)], [0, math.sin(0.3)], [0, 0]], dtype=torch.float64)
    assert largest_angle(one, one) == 0
    assert largest_angle(one, tilted) == pytest.approx(math.degrees(0.3))
    assert largest_angle(one, torch.eye(4, dtype=torch.float64)[:, 2:]) == pytest.approx(90)


# ---- runs -------------------------------------------------------------------------------------------------

FAST = {"width": 16, "max_steps": 100, "seed": 0}
machines = pytest.mark.skipif(not hasattr(overt, "RFMRegressor"), reason="there is no feature machine here")
loops = pytest.mark.skipif(not hasattr(overt, "reweighted"), reason="there is no overt.reweighted here")


def executed(config, tmp_path):
    (record,) = load_lines(dump_lines(study.execute(config, RunContext(tmp_path, lambda line: None)).records))
    return record


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        PenaltiesConfig(problem="digits", method="group lasso", **FAST),
        PenaltiesConfig(method="nothing", settings=(1e-2,), n_samples=60, **FAST),
        *(DialsConfig(dial=d, problem=p, level=LEVELS[d, p][1], method="nothing", **FAST) for d, p in LEVELS),
        *(
            MachinesConfig(problem=problem, learner=learner, n_samples=80, **FAST)
            for problem in ("digits", "staircase")
            for learner in ("kernel ridge", "boosting", "weight decay", "penalty", "loop")
        ),
        *(
            pytest.param(MachinesConfig(problem=problem, learner=learner, n_samples=80, **FAST), marks=needed)
            for problem in ("digits", "staircase")
            for learner, needed in (
                ("feature machine", machines),
                ("no rounds", machines),
                ("reweighted loop", loops),
            )
        ),
    ],
    ids=study.label,
)
def test_one_small_run_of_each_kind(config, tmp_path):
    record = executed(config, tmp_path)
    assert 0 < record["error"] < 3
    assert record == executed(config, tmp_path)
    if "trials" in record:
        least = min(record["trials"], key=lambda one: one["validation"])
        assert record["chosen"] == least["setting"]
    if config.part == "machines" and config.learner == "no rounds":
        assert record["n_iter"] == 0


@pytest.mark.slow
@machines
def test_small_run_of_features(tmp_path):
    record = executed(FeaturesConfig(problem="staircase", n_samples=400, seed=0, max_steps=400), tmp_path)
    assert record["angle_machine"] < 30
    assert all(0 <= record[f"angle_{one}"] <= 90 for one in ("network", "first_layer", "decayed", "between"))


@pytest.mark.slow
def test_few_directions_are_found_by_the_penalty_and_not_by_weight_decay(tmp_path):
    errors = {
        method: executed(PenaltiesConfig(method=method, seed=0, settings=(setting,)), tmp_path)["error"]
        for method, setting in (("jacobian 2/3 identity", 3e-2), ("weight decay", 3.0), ("nothing", 4e-3))
    }
    assert errors["jacobian 2/3 identity"] < 0.2 * min(errors["weight decay"], errors["nothing"])


def test_refusals():
    with pytest.raises(ValueError, match="method"):
        PenaltiesConfig(method="jacobian 3", seed=0)
    with pytest.raises(ValueError, match="problem"):
        DialsConfig(problem="additive", seed=0)
    with pytest.raises(ValueError, match="depth"):
        AnsatzConfig(depth=1, seed=0)


def test_an_error_of_numbers_and_of_classes():
    numbers = staircase(6, n_samples=20, seed=0)
    assert problems.test_error(numbers.y_test[:, None] + 0.5, numbers) == pytest.approx(0.25)
    digits = instance("digits", 0)
    outputs = torch.nn.functional.one_hot(digits.y_test, 10).float()
    outputs[: len(outputs) // 2] = outputs[: len(outputs) // 2].roll(1, 1)
    assert problems.test_error(outputs, digits) == pytest.approx(0.5, abs=1e-3)

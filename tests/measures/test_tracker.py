"""The tracker: when it records, what, at which cost, and that training never notices."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from torch import nn

import overt
from overt.measures import Spectrum, SpectrumTracker, measure, weight_spectra
from overt.measures.tracking.tracker import line_of
from overt.networks.guard import untouched
from overt.problems import matrix_completion
from overt.studies.runs.records import dump_lines, load_lines
from overt.training import Recording, Trace


class Clock:
    """Time that passes only when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 3))


def trained(tracked):
    """Parameters, buffers, gradients and random states after a run with dropout, batch norm and noise."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (the global state is what is tested)
    batch = torch.randn(16, 6, generator=torch.Generator().manual_seed(1))

    def disturb(net):
        net(batch.requires_grad_()).square().sum().backward()
        torch.rand(3)
        random.random()
        np.random.rand()  # noqa: NPY002
        return float(net[0].weight.grad.norm())

    what = ["measure", "weights", "products", "activations", disturb]
    tracker = SpectrumTracker(model, batch, what=what, budget=None) if tracked else None
    for step in range(25):
        x = torch.randn(16, 6)
        loss = model(x).square().mean() + random.random() * 1e-3 + np.random.rand() * 1e-3  # noqa: NPY002
        optimizer.zero_grad(set_to_none=step % 2 == 0)
        loss.backward()
        if tracker is not None:
            tracker.step(2 * step, loss=loss)
        optimizer.step()
        if tracker is not None:
            tracker.step(2 * step + 1)
    ends = [*model.state_dict().values(), *(p.grad for p in model.parameters()), torch.get_rng_state()]
    modes = [module.training for module in model.modules()]
    return ends, modes, random.getstate(), np.random.get_state()[1], tracker  # noqa: NPY002


@pytest.mark.slow
def test_training_is_the_same_bit_for_bit():
    plain, tracked = trained(False), trained(True)
    assert len(tracked[-1].rows) > 12
    assert all(torch.equal(a, b) for a, b in zip(plain[0], tracked[0], strict=True))
    assert plain[1] == tracked[1]
    assert plain[2] == tracked[2]
    assert (plain[3] == tracked[3]).all()
    assert {"measure", "weights.0.weight", "disturb"} <= set(tracked[-1].rows[0]["spectra"])


def test_gradients_are_the_same_objects_and_frozen_ones_stay_frozen():
    model = network()
    model[0].weight.requires_grad_(False)
    model(torch.randn(4, 6)).sum().backward()
    grads = [p.grad for p in model.parameters()]
    values = [None if g is None else g.clone() for g in grads]

    def careless(net):
        net.train()
        for p in net.parameters():
            p.requires_grad_(True)
        net(torch.randn(4, 6)).sum().backward()
        return 1.0

    buffers = {name: value.clone() for name, value in model.named_buffers()}
    SpectrumTracker(model, what=careless).step(0)
    assert all(torch.equal(buffers[name], value) for name, value in model.named_buffers())
    assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))
    assert all(g is None or torch.equal(g, v) for g, v in zip(grads, values, strict=True))
    assert [p.requires_grad for p in model.parameters()] == [False, *[True] * 5]


def test_recording_works_without_gradients_and_under_autocast():
    model, x = nn.Linear(4, 3), torch.randn(5, 4)
    expected = measure(model, x).values
    tracker = SpectrumTracker(model, x, budget=None)
    with torch.inference_mode():
        tracker.step(0)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        tracker.step(1)
    for row in tracker.rows:
        assert torch.allclose(torch.tensor(row["spectra"]["measure"]["values"]), expected, rtol=1e-6)


def test_a_function_that_changes_a_parameter_is_refused():
    model = nn.Linear(3, 3)

    def harmful(net):
        with torch.no_grad():
            net.weight.mul_(0.5)
        return 1.0

    with pytest.raises(RuntimeError, match="a parameter of the model was changed"):
        SpectrumTracker(model, what=harmful).step(0)


def test_the_state_is_put_back_after_an_error_too():
    model = network()
    state = torch.get_rng_state()
    buffer = model[1].running_mean

    def fail():
        with untouched(model):
            torch.rand(2)
            model[1].running_mean = torch.ones(8)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(torch.get_rng_state(), state)
    assert model[1].running_mean is buffer
    assert all(module.training for module in model.modules())


def test_steps_are_log_spaced_whatever_steps_are_seen():
    tracker = SpectrumTracker(nn.Linear(2, 2), per_decade=3, budget=None)
    for step in range(150):
        tracker.step(step)
    assert [row["step"] for row in tracker.rows] == [0, 1, 2, 5, 10, 22, 46, 100]
    sparse = SpectrumTracker(nn.Linear(2, 2), per_decade=3, budget=None)
    for step in range(0, 150, 25):
        sparse.step(step)
    assert [row["step"] for row in sparse.rows] == [0, 25, 50, 100]
    listed = SpectrumTracker(nn.Linear(2, 2), at=[3, 7, 7], budget=None)
    for step in range(20):
        listed.step(step)
    assert [row["step"] for row in listed.rows] == [3, 7]


def run(budget, seconds_of_step, seconds_of_recording, steps=1000):
    clock = Clock()

    def slow(_):
        clock.now += seconds_of_recording
        return 1.0

    tracker = SpectrumTracker(nn.Linear(2, 2), what=slow, budget=budget, clock=clock)
    for step in range(steps):
        clock.now += seconds_of_step
        tracker.step(step)
    return tracker


def test_the_cost_is_bounded_and_what_is_skipped_is_said():
    tracker = run(0.05, 0.01, 0.1)
    assert len(tracker.rows) >= 3
    assert tracker.share <= 0.05
    assert tracker.skipped
    assert "above 0.05 of" in tracker.skipped[0]["reason"]
    recorded = [row["step"] for row in tracker.rows]
    assert recorded[0] == 0
    assert not set(recorded) & {entry["step"] for entry in tracker.skipped}
    due = [row["step"] for row in run(None, 0.01, 0.1).rows]
    assert sorted(recorded + [entry["step"] for entry in tracker.skipped]) == due
    # the second comes once training took as long as the first; from the third on all is within the budget
    assert recorded[1] == 10
    for i, row in enumerate(tracker.rows[2:], 3):
        assert i * 0.1 <= 0.05 * row["seconds"] * (1 + 1e-9)
    assert tracker.setup_seconds == pytest.approx(0.0)


def test_a_cold_start_is_set_up_and_no_forecast():
    clock, costs = Clock(), iter([5.0])

    def cold(_):
        clock.now += next(costs, 0.01)
        return 1.0

    tracker = SpectrumTracker(nn.Linear(2, 2), what=cold, budget=0.1, clock=clock)
    for step in range(2000):
        clock.now += 0.02
        tracker.step(step)
    assert tracker.setup_seconds == pytest.approx(4.99)
    assert [row["step"] for row in tracker.rows][:5] == [0, 251, 316, 398, 501]
    assert tracker.share == pytest.approx(0.01 * len(tracker.rows) / 40.0)
    assert tracker.share <= 0.1


def test_the_account_is_that_of_the_clock():
    tracker = run(None, 0.01, 0.1, steps=11)
    assert [row["cost"] for row in tracker.rows] == pytest.approx([0.1] * 9)
    assert tracker.rows[-1]["seconds"] == pytest.approx(0.11)
    assert tracker.share == pytest.approx(0.9 / 0.11)


def test_forced_steps_are_recorded_once():
    tracker = run(0.001, 0.01, 0.1)
    assert len(tracker.rows) == 2
    assert tracker.step(999, force=True)["step"] == 999
    assert tracker.step(999, force=True) is None


def test_what_is_recorded():
    torch.manual_seed(0)
    model, x = (
        nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)).double(),
        torch.randn(6, 5, dtype=torch.float64),
    )

    def several(net):
        return {"norm": net[0].weight.norm(), "pair": {"a": Spectrum(torch.tensor([2.0, 1.0]))}}

    what = {
        "map": "measure",
        "W": "weights",
        "product": "products",
        "mine": several,
        "vector": lambda m: m[0].bias,
    }
    tracker = SpectrumTracker(model, x, what=what, leading=2, options={"basis": "fourier"})
    row = tracker.step(0, loss=torch.tensor(0.5, requires_grad=True), accuracy=0.25)
    assert (row["loss"], row["accuracy"]) == (0.5, 0.25)
    names = ["map", "W.0.weight", "W.1.weight", "product.0 … 1", "mine.norm", "mine.pair.a", "vector"]
    assert list(row["spectra"]) == names
    weights = weight_spectra(model)["0.weight"]
    entry = row["spectra"]["W.0.weight"]
    assert entry["values"] == weights.values[:2].tolist()
    assert entry["count"] == 4
    assert entry["effective_rank"] == pytest.approx(weights.effective_rank)
    assert entry["normalized_nuclear_norm"] == pytest.approx(weights.normalized_nuclear_norm)
    assert row["spectra"]["map"]["values"] == pytest.approx(
        measure(model, x, basis="fourier").values[:2].tolist()
    )
    assert row["spectra"]["mine.norm"] == pytest.approx(float(model[0].weight.detach().norm()))
    assert row["spectra"]["mine.pair.a"]["stable_rank"] == pytest.approx(1.25)


def test_records_and_files(tmp_path):
    tracker = run(0.05, 0.01, 0.1)
    tracker.rows[0]["spectra"] = {"w": {"values": [1.0, 0.1 + 0.2], "count": 2}, "n": 3.0}
    path = tmp_path / "run.jsonl"
    path.write_text("old")
    tracker.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["run.jsonl"]
    assert all(isinstance(json.loads(line), dict) for line in path.read_text().splitlines())
    back = SpectrumTracker().load(path)
    assert back.rows == tracker.rows
    assert back.skipped == tracker.skipped
    assert back.share == pytest.approx(tracker.share, rel=1e-2)
    records = tracker.to_records()
    assert {key: records[0][key] for key in ("step", "name", "values", "count")} == {
        "step": 0,
        "name": "w",
        "values": [1.0, 0.1 + 0.2],
        "count": 2,
    }
    assert records[1]["value"] == 3.0
    # they are what the rest of the library calls records
    assert load_lines(dump_lines(records)) == records
    assert Trace.from_rows(records).column("step")[0] == 0
    path.write_text('{"format": "other"}\n')
    with pytest.raises(ValueError, match="no file of a SpectrumTracker"):
        SpectrumTracker().load(path)


def test_a_resumed_run_goes_on():
    tracker = run(0.05, 0.01, 0.1, steps=300)
    state = json.loads(json.dumps(tracker.state_dict()))
    clock = Clock()
    resumed = SpectrumTracker(nn.Linear(2, 2), what=lambda m: 1.0, budget=0.05, clock=clock)
    resumed.load_state_dict(state)
    assert not resumed.due(300)
    assert resumed.step(300) is None
    clock.now += 100.0
    resumed.step(400)
    assert resumed.rows[-1]["step"] == 400
    assert resumed.rows[-1]["seconds"] == pytest.approx(103.0)


def test_a_diverged_model_is_recorded_as_such():
    model = nn.Linear(3, 3)
    tracker = SpectrumTracker(model, what="weights", budget=None)
    tracker.step(0, loss=1.0)
    model.weight.data[0, 0] = torch.nan
    row = tracker.step(1, loss=float("nan"))
    assert row["loss"] is None
    assert "NaN or infinite" in row["spectra"]["weights"]["error"]
    json.dumps(tracker.rows, allow_nan=False)


@pytest.mark.slow
def test_as_a_callback_of_train():
    problem = matrix_completion((8, 7), rank=1, n_observed=40, seed=0)
    model = overt.DeepLinear((7, 8, 8), scale=1e-2, seed=0, dtype=problem.y.dtype)
    tracker = SpectrumTracker(model, what="products", budget=None)
    result = overt.train(model, problem, max_steps=200, recording=Recording(check_every=10), callback=tracker)
    assert [row["step"] for row in tracker.rows][:3] == [0, 10, 20]
    assert result.status == "budget"
    twin = overt.DeepLinear((7, 8, 8), scale=1e-2, seed=0, dtype=problem.y.dtype)
    untracked = overt.train(twin, problem, max_steps=200, recording=Recording(check_every=10))
    assert torch.equal(result.W, untracked.W)
    assert result.trace.column("loss") == untracked.trace.column("loss")
    traced = {row["step"]: row["loss"] for row in result.trace}
    both = [row for row in tracker.rows if row["step"] in traced]
    assert len(both) >= 2
    assert all(row["loss"] == traced[row["step"]] for row in both)


def test_new_rows_are_handed_on_and_shown(capsys):
    rows = []
    with SpectrumTracker(nn.Linear(2, 2), on_record=rows.append, display=True, budget=None) as tracker:
        tracker.step(0, loss=0.5)
        tracker.step(1, loss=0.25)
    assert rows == tracker.rows
    shown = capsys.readouterr().err
    assert "step 1" in shown
    assert "effective rank weights.weight" in shown
    assert "\n" not in line_of(rows[0], 0.1)


def test_refusals():
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="unknown 'sizes'"):
        SpectrumTracker(model, what="sizes")
    with pytest.raises(ValueError, match="needs a fixed batch"):
        SpectrumTracker(model, what="measure")
    with pytest.raises(TypeError, match="what must be"):
        SpectrumTracker(model, what=3)
    with pytest.raises(ValueError, match="budget must be"):
        SpectrumTracker(model, budget=0.0)
    with pytest.raises(ValueError, match="per_decade"):
        SpectrumTracker(model, per_decade=0)
    with pytest.raises(ValueError, match="nothing to record"):
        SpectrumTracker().step(0)
    with pytest.raises(ValueError, match="step must be"):
        SpectrumTracker(model).step(-1)
    with pytest.raises(TypeError, match="loss must be"):
        SpectrumTracker(model).step(0, loss=torch.ones(3))
    with pytest.raises(TypeError, match="returned str"):
        SpectrumTracker(model, what=lambda m: "large").step(0)
    with pytest.raises(ValueError, match="basis"):
        SpectrumTracker(model, torch.randn(3, 2), options={"basis": "nothing"}).step(0)
    with pytest.raises(TypeError, match="model must be"):
        SpectrumTracker(3)


def test_a_named_view_may_have_arguments_of_its_own():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).double()
    x = torch.randn(6, 1, 4, 4, dtype=torch.float64)
    what = {
        "channels": ("activations", {"features": "channels", "layers": ["0"]}),
        "fourier": ("measure", {"basis": "fourier"}),
        "identity": "measure",
        "across": ("products", {"through_activations": True}),
    }
    row = SpectrumTracker(model, x, what=what, options={"basis": "identity"}).step(0)["spectra"]
    assert row["channels.0"]["count"] == 2
    for basis in ("fourier", "identity"):
        assert row[basis]["values"] == measure(model, x, basis=basis).values[:20].tolist()
    alone = SpectrumTracker(model, x, what=("measure", {"basis": "dct"})).step(0)
    assert list(alone["spectra"]) == ["measure"]
    with pytest.raises(TypeError, match="'activations' cannot be recorded with feature: "):
        SpectrumTracker(model, x, what=("activations", {"feature": "channels"}))
    with pytest.raises(TypeError, match="'measure' cannot be recorded with base"):
        SpectrumTracker(model, x, options={"base": "fourier"})
    with pytest.raises(ValueError, match="have one name"):
        SpectrumTracker(model, x, what=[lambda m: 1.0, lambda m: 2.0])
    with pytest.raises(ValueError, match="unknown 3"):
        SpectrumTracker(model, x, what=["measure", 3])


def test_inputs_that_can_be_gone_through_once_are_refused():
    with pytest.raises(TypeError, match="a generator can be gone through only once"):
        SpectrumTracker(nn.Linear(2, 2), (torch.randn(3, 2) for _ in range(2)))
    tracker = SpectrumTracker(nn.Linear(2, 2), [torch.randn(3, 2)], budget=None)
    assert [tracker.step(step)["spectra"]["measure"]["count"] for step in (0, 1)] == [2, 2]


def test_a_state_does_not_grow_with_the_tracker():
    tracker = run(0.05, 0.01, 0.1, steps=300)
    state = tracker.state_dict()
    counts = len(state["rows"]), len(state["skipped"])
    tracker.step(1000, force=True)
    tracker.skipped.append({})
    assert (len(state["rows"]), len(state["skipped"])) == counts


@pytest.mark.parametrize("step", [1.5, -1, True, "1", torch.ones(2, dtype=torch.int64), torch.tensor(True)])
def test_steps_that_are_no_counts_are_refused(step):
    error = ValueError if isinstance(step, int) and step == -1 else TypeError
    with pytest.raises(error, match="each step of at must be an integer ≥ 0"):
        SpectrumTracker(nn.Linear(2, 2), at=[step])


def test_steps_may_come_from_arrays():
    for at in (np.array([3, 1]), torch.tensor([3, 1]), range(1, 4, 2)):
        tracker = SpectrumTracker(nn.Linear(2, 2), at=at, budget=None)
        assert [step for step in range(5) if tracker.step(step)] == [1, 3]
    with pytest.raises(TypeError, match=r"at must be an iterable of steps.*got 5"):
        SpectrumTracker(nn.Linear(2, 2), at=5)
    tracker = SpectrumTracker(nn.Linear(2, 2), budget=None)
    assert [tracker.step(step)["step"] for step in (np.array(0), torch.tensor(1), np.int64(2))] == [0, 1, 2]


def test_flags_are_recorded_as_numbers():
    for flag in (True, torch.tensor(True)):
        row = SpectrumTracker(nn.Linear(2, 2), what={"done": lambda model, flag=flag: flag}).step(0)
        assert row["spectra"] == {"done": 1.0}


def test_a_dict_of_inputs_is_copied():
    x, t = torch.randn(4, 3), torch.ones(4, 1)
    options = {"forward": lambda m, x, t: m(x * t), "basis": "identity"}
    tracker = SpectrumTracker(nn.Linear(3, 2), {"x": x, "t": t}, options=options, budget=None)
    first = tracker.step(0)["spectra"]
    t.zero_()
    assert tracker.step(1)["spectra"] == first

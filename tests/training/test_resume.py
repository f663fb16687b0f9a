"""Interrupted runs: taken up again they end as if nothing had happened; other files are refused."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from overt.models import DeepLinear
from overt.penalties import SpectralPenalty
from overt.problems import matrix_completion
from overt.training import HoldUntilCollapse, Recording, State, Stopping, TrainResult, Warmup, train
from overt.training.checkpoint import load_checkpoint, save_checkpoint

OPTIMIZERS = [
    "adam",
    "gd",
    "momentum",
    "amsgrad",
    "grouprmsprop",
    "lbfgs",
    "muon",
    "adafactor",
    "asgd",
    "rprop",
]


class InterruptionError(Exception):
    pass


def run(checkpoint: Path | None, *, stop_at: int | None = None, seed: int = 0, **options) -> TrainResult:
    problem = matrix_completion((9, 7), rank=1, n_observed=45, seed=0)
    model = DeepLinear((7, 9, 9), scale=0.1, seed=seed, dtype=torch.float64)
    every = options.pop("every", 1)
    penalty = SpectralPenalty(model, of="product", weight=options.pop("weight", 1e-3), every=every)

    def interrupt(state: State) -> None:
        if state.step == stop_at:
            raise InterruptionError

    recording = {"check_every": 5, "checkpoint_seconds": 0.0, **options.pop("recording", {})}
    settings = {"optimizer": "adam", "lr": 1e-2, "max_steps": 60, "recording": Recording(**recording)}
    return train(
        model, problem, penalty=penalty, checkpoint=checkpoint, callback=interrupt, **{**settings, **options}
    )


def without_clock(result: TrainResult) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in result.trace]


def assert_same(resumed: TrainResult, whole: TrainResult) -> None:
    assert without_clock(resumed) == without_clock(whole)
    assert torch.equal(resumed.W, whole.W)
    assert (resumed.status, resumed.message, resumed.steps) == (whole.status, whole.message, whole.steps)
    assert {t: step for t, (step, _) in resumed.hits.items()} == {
        t: step for t, (step, _) in whole.hits.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_interrupted_run_ends_bit_for_bit_the_same(tmp_path, optimizer):
    options = {"optimizer": optimizer, "recording": {"error_targets": (0.9, 0.5, 0.1)}, "max_steps": 30}
    if optimizer == "lbfgs":
        options["optimizer_options"] = {"max_iter": 3}
    whole = run(None, **options)
    path = tmp_path / "run.safetensors"
    for stop_at in (10, 25):
        with pytest.raises(InterruptionError):
            run(path, stop_at=stop_at, **options)
        assert load_checkpoint(path)[1]["step"] == stop_at - 5
    assert_same(run(path, **options), whole)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "gd", "lbfgs"])
def test_directions_that_a_penalty_keeps_are_stored_too(tmp_path, optimizer):
    """With every=7 the directions are of the same steps as without the interruption."""
    options = {"optimizer": optimizer, "weight": 0.1, "every": 7, "max_steps": 40}
    if optimizer == "lbfgs":
        options["optimizer_options"] = {"max_iter": 3}
    whole = run(None, **options)
    for stop_at in (10, 25):
        with pytest.raises(InterruptionError):
            run(tmp_path / "c", stop_at=stop_at, **options)
    assert_same(run(tmp_path / "c", **options), whole)


@pytest.mark.slow
def test_a_checkpoint_without_a_penalty_is_taken_up(tmp_path):
    """As written before penalties had a state; at every=1 the run ends the same."""
    with pytest.raises(InterruptionError):
        run(tmp_path / "c", stop_at=20)
    forge(tmp_path / "c", without("penalty"))
    assert_same(run(tmp_path / "c"), run(None))


def test_a_penalty_begins_each_run_anew():
    problem = matrix_completion((9, 7), rank=1, n_observed=45, seed=0)
    model = DeepLinear((7, 9, 9), scale=0.1, seed=0, dtype=torch.float64)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    penalty = SpectralPenalty(model, of="product", weight=0.1, every=10)
    ends = []
    for _ in range(2):
        model.load_state_dict(start)
        ends.append(train(model, problem, penalty=penalty, lr=1e-2, max_steps=24).W)
    assert torch.equal(*ends)


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [5, 40, 55])
def test_schedules_and_warmup_go_on_too(tmp_path, stop_at):
    def options():
        # So lenient that the collapse comes within these few steps, and the release is interrupted, too.
        schedule = HoldUntilCollapse(gap=0.9, patience=6, drift=10.0, fit=10.0, release_steps=20)
        return {"schedule": schedule, "lr_schedule": Warmup(20, total=60), "lr": 3e-2}

    first = options()
    whole = run(None, **first)
    assert 0 < first["schedule"].collapsed_at < 55
    assert {0.0, 1e-3} == set(whole.trace.column("weight"))
    path = tmp_path / "c"
    with pytest.raises(InterruptionError):
        run(path, stop_at=min(stop_at, whole.steps), **options())
    last = options()
    assert_same(run(path, **last), whole)
    assert last["schedule"].state_dict() == first["schedule"].state_dict()


def test_a_resumed_run_diverges_as_the_whole_one(tmp_path):
    options = {"optimizer": "gd", "lr": 30.0, "weight": 0.0, "max_steps": 500}
    options["recording"] = {"check_every": 1}
    whole = run(None, **options)
    assert whole.status == "diverged"
    with pytest.raises(InterruptionError):
        run(tmp_path / "c", stop_at=whole.steps - 1, **options)
    assert_same(run(tmp_path / "c", **options), whole)


def test_an_infinite_limit_can_be_stored(tmp_path):
    assert run(tmp_path / "c", stopping=Stopping(blow_up=math.inf), max_steps=5).status == "budget"
    assert run(tmp_path / "c", stopping=Stopping(blow_up=math.inf), max_steps=5).status == "budget"


@pytest.mark.slow
def test_a_finished_run_is_returned_as_it_was(tmp_path):
    path = tmp_path / "c"
    whole = run(path)
    before = path.read_bytes()
    again = run(path)
    assert_same(again, whole)
    assert again.trace == whole.trace
    assert again.seconds == whole.seconds
    assert load_checkpoint(path)[1]["trace"] == list(whole.trace)
    assert path.read_bytes() == before


@pytest.mark.slow
def test_seconds_go_on_from_the_stored_ones(tmp_path):
    with pytest.raises(InterruptionError):
        run(tmp_path / "c", stop_at=40)
    stored = load_checkpoint(tmp_path / "c")[1]["seconds"]
    assert run(tmp_path / "c").seconds > stored > 0


SCRIPT = """
import json, sys, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_resume import run, without_clock
result = run(Path(sys.argv[2]), max_steps=600, recording={"check_every": 2})
Path(sys.argv[3]).write_text(json.dumps(without_clock(result)))
"""


@pytest.mark.slow
def test_a_killed_process_loses_nothing(tmp_path):
    path, out = tmp_path / "run.safetensors", tmp_path / "trace.json"
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(path), str(out)]
    process = subprocess.Popen(command)
    while not path.exists() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    assert load_checkpoint(path)[1]["step"] < 600
    subprocess.run(command, check=True)
    whole = run(None, max_steps=600, recording={"check_every": 2})
    assert json.loads(out.read_text()) == without_clock(whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lr": 2e-2}, "lr"),
        ({"optimizer": "adamw"}, "optimizer"),
        ({"optimizer_options": {"amsgrad": True}}, "optimizer_options"),
        ({"max_steps": 61}, "max_steps"),
        ({"weight": 2e-3}, "penalty"),
        ({"seed": 1}, "model"),
        ({"schedule": HoldUntilCollapse()}, "schedule"),
        ({"lr_schedule": Warmup(3)}, "lr_schedule"),
        ({"recording": {"check_every": 6}}, "check_every"),
        ({"recording": {"per_decade": 6}}, "record_per_decade"),
        ({"recording": {"leading": 2}}, "leading"),
        ({"recording": {"error_targets": 0.5}}, "error_targets"),
        ({"stopping": Stopping(stall_steps=7)}, "stall_steps"),
        ({"stopping": Stopping(stall_tolerance=0)}, "stall_tolerance"),
        ({"stopping": Stopping(blow_up=7)}, "blow_up"),
        ({"tolerance": 1e-3}, "tolerance"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(tmp_path, change, named):
    path = tmp_path / "c"
    with pytest.raises(InterruptionError):
        run(path, stop_at=20)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"of a run with other arguments \({named};"):
        run(path, **change)
    assert path.read_bytes() == before


def test_a_checkpoint_of_another_problem_is_refused(tmp_path):
    model = DeepLinear((7, 9), seed=0, dtype=torch.float64)
    train(
        model,
        matrix_completion((9, 7), rank=1, n_observed=45, seed=0),
        max_steps=3,
        checkpoint=tmp_path / "c",
    )
    model = DeepLinear((7, 9), seed=0, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"other arguments \(problem;"):
        train(
            model,
            matrix_completion((9, 7), rank=1, n_observed=45, seed=1),
            max_steps=3,
            checkpoint=tmp_path / "c",
        )


def forge(path: Path, change) -> None:
    tensors, data = load_checkpoint(path)
    change(tensors, data)
    save_checkpoint(path, tensors, data)


def without(key):
    return lambda tensors, data: data.pop(key)


def with_(key, value):
    return lambda tensors, data: data.update({key: value})


def with_tensor(name, value):
    return lambda tensors, data: tensors.update({name: value})


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        *[
            without(key)
            for key in ("step", "trace", "optimizer", "hits", "seconds", "weight", "best", "message")
        ],
        with_("step", 10**9),
        with_("step", "1"),
        with_("status", "done"),
        with_("seconds", "long"),
        with_("weight", -1.0),
        with_("hits", [[1]]),
        with_("trace", {"step": 1}),
        with_("best", None),
        with_("optimizer", {"plain": 1}),
        with_("penalty", {"plain": 1}),
        with_("penalty", {"dict": [["calls", {"plain": 3}]]}),
        with_("optimizer", {"dict": [[7, {"dict": []}]]}),
        with_("optimizer", {"dict": [[0, {"dict": [["exp_avg", {"tensor": "big"}]]}]]}),
        with_tensor("model.weights.0", torch.zeros(2, 2)),
        with_tensor("model.weights.0", torch.zeros(9, 7, dtype=torch.float32)),
        with_tensor("model.weights.0", torch.full((9, 7), torch.nan, dtype=torch.float64)),
        with_tensor("model.extra", torch.zeros(1)),
        with_tensor("optimizer.0.exp_avg", torch.zeros(10**6)),
        with_tensor("optimizer.0.exp_avg", torch.zeros(7, 9, dtype=torch.float64)),
    ],
)
def test_a_forged_checkpoint_is_refused_and_touches_nothing(tmp_path, change):
    path = tmp_path / "c"
    with pytest.raises(InterruptionError):
        run(path, stop_at=20)
    forge(path, change)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"cannot resume from .*delete the file to start anew"):
        run(path)
    assert path.read_bytes() == before

"""The tracker in Lightning, Hugging Face's Trainer and TensorBoard; skipped where a library is missing."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

import overt.integrations
from overt.measures import SpectrumTracker

# These libraries warn about much that is not ours.
pytestmark = pytest.mark.filterwarnings("ignore")


def imported(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed; it is an optional extra")


@pytest.mark.slow
def test_lightning(tmp_path):
    lightning = imported("lightning")
    from overt.integrations import LightningSpectra

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 5), nn.Dropout(), nn.Linear(5, 1))

        def training_step(self, batch, _):
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def fit(callbacks):
        torch.manual_seed(0)
        module = Module()
        data = torch.utils.data.TensorDataset(torch.randn(12, 4, generator=torch.Generator().manual_seed(0)))
        trainer = lightning.Trainer(
            max_epochs=2,
            accelerator="cpu",
            callbacks=callbacks,
            logger=False,
            default_root_dir=tmp_path,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=2))
        return module, trainer

    tracker = SpectrumTracker(None, torch.randn(3, 4), what=["measure", "weights"], budget=None)
    tracked, trainer = fit([LightningSpectra(tracker, select=lambda module: module.net)])
    plain, _ = fit([])
    assert [row["step"] for row in tracker.rows] == [0, 1, 2, 3, 4, 5, 6, 8, 10, 12]
    assert set(tracker.rows[0]["spectra"]) == {"measure", "weights.0.weight", "weights.2.weight"}
    assert "loss" in tracker.rows[1]
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), tracked.parameters(), strict=True))
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    stored = torch.load(tmp_path / "end.ckpt", weights_only=True)["callbacks"]["LightningSpectra"]
    resumed = SpectrumTracker()
    LightningSpectra(resumed).load_state_dict(stored)
    assert resumed.rows == tracker.rows
    with pytest.raises(TypeError, match="SpectrumTracker"):
        LightningSpectra(3)
    with pytest.raises(TypeError, match="select must be callable"):
        LightningSpectra(tracker, select="net")

    weights, spectra = SpectrumTracker(what="weights"), SpectrumTracker(None, torch.randn(3, 4))
    callbacks = [
        LightningSpectra(weights, name="weights"),
        LightningSpectra(spectra, select=lambda module: module.net),
    ]
    _, trainer = fit(callbacks)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    stored = torch.load(tmp_path / "two.ckpt", weights_only=True)["callbacks"]
    rows = [stored[callback.state_key]["rows"] for callback in callbacks]
    assert rows == [weights.state_dict()["rows"], spectra.state_dict()["rows"]]
    assert rows[0] != rows[1]


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_loss_in_lightning_is_the_one_that_was_returned(tmp_path, accumulate):
    lightning = imported("lightning")
    from overt.integrations import LightningSpectra

    class Constant(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(4, 3)

        def training_step(self, batch, _):
            return self.net(batch[0]).sum() * 0 + 7.0

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    tracker = SpectrumTracker(what="weights", budget=None)
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[LightningSpectra(tracker)],
        logger=False,
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accumulate_grad_batches=accumulate,
    )
    data = torch.utils.data.TensorDataset(torch.randn(32, 4))
    trainer.fit(Constant(), torch.utils.data.DataLoader(data, batch_size=4))
    steps = [row["step"] for row in tracker.rows]
    assert steps == [step for step in (0, 1, 2, 3, 4, 5, 6, 8) if step <= 8 // accumulate]
    assert [row["loss"] for row in tracker.rows[1:]] == [7.0] * (len(steps) - 1)


class Regression(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x, labels=None):
        output = self.layer(x)
        return {"loss": (output.squeeze(1) - labels).square().mean(), "logits": output}


@pytest.mark.slow
def test_hugging_face(tmp_path):
    transformers = imported("transformers")
    from overt.integrations import HuggingFaceSpectra

    tracker = SpectrumTracker(what="weights", budget=None)
    callback = HuggingFaceSpectra(tracker)
    model = nn.Linear(3, 2)
    state = transformers.TrainerState()
    callback.on_train_begin(None, state, None, model=model)
    for step in range(1, 12):
        state.global_step = step
        state.log_history.append({"loss": 1.0 / step, "step": step})
        callback.on_step_end(None, state, None, model=model)
    callback.on_train_end(None, state, None, model=model)
    assert [row["step"] for row in tracker.rows] == [0, 1, 2, 3, 4, 5, 6, 8, 10, 11]
    assert tracker.rows[-1]["loss"] == 1 / 11
    other = SpectrumTracker(what="weights")
    state.is_world_process_zero = False
    HuggingFaceSpectra(other).on_train_begin(None, state, None, model=model)
    assert other.rows == []
    with pytest.raises(TypeError, match="SpectrumTracker"):
        HuggingFaceSpectra(3)


@pytest.mark.slow
def test_hugging_face_trainer(tmp_path):
    transformers = imported("transformers")
    imported("accelerate")
    from overt.integrations import HuggingFaceSpectra

    data = [{"x": torch.randn(3), "labels": torch.tensor(1.0)} for _ in range(8)]
    arguments = transformers.TrainingArguments(
        str(tmp_path),
        max_steps=5,
        per_device_train_batch_size=2,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
    )
    tracker = SpectrumTracker(what="weights", budget=None)
    trainer = transformers.Trainer(
        Regression(), arguments, train_dataset=data, callbacks=[HuggingFaceSpectra(tracker)]
    )
    trainer.train()
    assert [row["step"] for row in tracker.rows] == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
@pytest.mark.parametrize("restored", [False, True])
def test_a_resumed_run_of_hugging_face_keeps_the_rows(tmp_path, restored):
    transformers = imported("transformers")
    imported("accelerate")
    from overt.integrations import HuggingFaceSpectra

    data = [{"x": torch.randn(3), "labels": torch.tensor(1.0)} for _ in range(8)]

    def train(steps, callbacks, **options):
        arguments = transformers.TrainingArguments(
            str(tmp_path),
            max_steps=steps,
            per_device_train_batch_size=2,
            report_to=[],
            use_cpu=True,
            save_steps=7,
            logging_steps=2,
            disable_tqdm=True,
            restore_callback_states_from_checkpoint=restored,
        )
        trainer = transformers.Trainer(Regression(), arguments, train_dataset=data, callbacks=callbacks)
        trainer.train(**options)

    def trackers():
        return [SpectrumTracker(what=what, budget=None) for what in ("weights", lambda m: 1.0)]

    first, second, unseen = trackers(), trackers(), SpectrumTracker(what="weights", budget=None)
    train(10, [HuggingFaceSpectra(tracker) for tracker in first])
    stored = json.loads((tmp_path / "checkpoint-7/trainer_state.json").read_text())
    checkpoint = str(tmp_path / "checkpoint-7")
    train(14, [HuggingFaceSpectra(t) for t in (*second, unseen)], resume_from_checkpoint=checkpoint)
    for before, after in zip(first, second, strict=True):
        assert [row["step"] for row in after.rows] == [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 14]
        assert after.rows[:7] == before.rows[:7]
        assert after.rows[7]["seconds"] > after.rows[6]["seconds"]
    assert first[0].rows[0]["spectra"].keys() == {"weights.layer.weight"}
    assert [row["step"] for row in unseen.rows] == [7, 8, 10, 13, 14]
    # the clock of the checkpoint is that of its step, not that of the last row
    entry = stored["stateful_callbacks"]["overt.SpectrumTracker"][0]
    assert entry["pace"]["seconds"] > entry["rows"][-1]["seconds"]
    assert "loss" not in first[0].rows[1]
    assert "loss" in first[0].rows[4]


@pytest.mark.slow
def test_tensorboard(tmp_path):
    imported("tensorboard")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from overt.integrations import TensorBoard

    with pytest.raises(TypeError, match="writer must be a folder or a SummaryWriter, got 5"):
        TensorBoard(5)
    board = TensorBoard(tmp_path)
    tracker = SpectrumTracker(nn.Linear(3, 2), on_record=board, budget=None)
    for step in range(4):
        tracker.step(step)
    board.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    scalars = events.Scalars("spectrum/weights.weight/effective_rank")
    assert [event.step for event in scalars] == [0, 1, 2, 3]
    written = [event.value for event in scalars]
    recorded = [row["spectra"]["weights.weight"]["effective_rank"] for row in tracker.rows]
    assert written == pytest.approx(recorded, rel=1e-6)
    assert "spectrum/weights.weight/values" in events.Tags()["histograms"]


@pytest.mark.slow
def test_a_missing_library_is_named_with_what_to_install():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['lightning', 'pytorch_lightning', 'transformers', "
        "'tensorboard', 'torch.utils.tensorboard']))\n"
        "import overt.integrations\n"
        "for name in overt.integrations.__all__:\n"
        "    try:\n        getattr(overt.integrations, name)\n"
        "    except ImportError as error:\n        print(name, error)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = dict(line.split(" ", 1) for line in answer.stdout.splitlines())
    extras = {
        "LightningSpectra": "lightning",
        "HuggingFaceSpectra": "huggingface",
        "TensorBoard": "tensorboard",
    }
    assert set(found) == set(extras)
    for name, extra in extras.items():
        assert f"pip install 'overt[{extra}]'" in found[name]


def test_unknown_names():
    with pytest.raises(AttributeError, match="no attribute 'Keras'"):
        overt.integrations.Keras  # noqa: B018

"""The tracker in Lightning, Hugging Face's Trainer and TensorBoard; skipped where a library is missing."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

import overt.integrations
from overt.measures.tracker import SpectrumTracker

# These libraries warn about much that is not ours.
pytestmark = pytest.mark.filterwarnings("ignore")


def imported(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed; it is an optional extra")


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
            max_epochs=2, accelerator="cpu", callbacks=callbacks, logger=False, default_root_dir=tmp_path,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
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


def test_hugging_face_trainer(tmp_path):
    transformers = imported("transformers")
    imported("accelerate")
    from overt.integrations import HuggingFaceSpectra

    class Regression(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 1)

        def forward(self, x, labels=None):
            output = self.layer(x)
            return {"loss": (output.squeeze(1) - labels).square().mean(), "logits": output}

    data = [{"x": torch.randn(3), "labels": torch.tensor(1.0)} for _ in range(8)]
    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=5, per_device_train_batch_size=2, report_to=[], use_cpu=True,
        save_strategy="no", logging_steps=1, disable_tqdm=True,
    )  # fmt: skip
    tracker = SpectrumTracker(what="weights", budget=None)
    trainer = transformers.Trainer(
        Regression(), arguments, train_dataset=data, callbacks=[HuggingFaceSpectra(tracker)]
    )
    trainer.train()
    assert [row["step"] for row in tracker.rows] == [0, 1, 2, 3, 4, 5]


def test_tensorboard(tmp_path):
    imported("tensorboard")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from overt.integrations import TensorBoard

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

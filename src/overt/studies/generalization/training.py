"""Every setting of a method is trained, validation chooses, the chosen network is tested once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from overt import functional as F
from overt.measures import compress, measure
from overt.studies.base import RunContext, RunOutput
from overt.studies.generalization.corruptions import corrupted
from overt.studies.generalization.data import Data
from overt.studies.generalization.trials import trial
from overt.studies.shared.classifiers import collapsed, evaluate, fit, logits_of, score, temperature
from overt.training.checkpoint import load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from overt.studies.generalization.settings import TunedConfig

RANKS = (1, 2, 4, 8, 16, 32)
MEASURED = 128  # validation images that M is an average over
SCORED = 2000  # test images for corruption and truncation


def run(config: TunedConfig, context: RunContext, *, properties: bool = True) -> RunOutput:
    """Tune and test; with ``properties`` also say what the chosen network is like."""
    data = Data(config)
    trials, models = tuned(config, data, context)
    by_accuracy = min(range(len(trials)), key=lambda i: (-trials[i]["accuracy"], trials[i]["cross_entropy"]))
    by_likelihood = min(range(len(trials)), key=lambda i: trials[i]["cross_entropy"])
    context.progress("testing the chosen network")
    best = models[by_accuracy]
    record = {
        "status": "diverged" if all(row["status"] == "diverged" for row in trials) else "trained",
        "trials": trials,
        "chosen": trials[by_accuracy]["setting"],
        "chosen_by_likelihood": trials[by_likelihood]["setting"],
        **_tested(best, models[by_likelihood], data),
    }
    if not properties:
        return RunOutput([record])
    record |= _sensitivity(best, data) | _robustness(best, data) | _compressibility(best, data)
    kept = [row["kept"] for row in record["truncations"]]
    return RunOutput([record], {"rank": np.array(RANKS, dtype=np.float64), "kept": np.array(kept)})


def tuned(
    config: TunedConfig, data: Data, context: RunContext
) -> tuple[list[dict[str, Any]], list[nn.Sequential]]:
    """The scores on validation of each setting, and the trained networks."""
    trials, models = [], []
    for place, setting in enumerate(config.knob):
        model, row = _trained(config, data, setting, place, context)
        trials.append(row)
        models.append(model)
    return trials, models


def _trained(
    config: TunedConfig, data: Data, setting: float, place: int, context: RunContext
) -> tuple[nn.Sequential, dict[str, Any]]:
    """A trained network and its scores on validation; read from the run's folder if it is there already."""
    one = trial(config, setting)
    model = data.build(one)
    done = Path(context.directory) / f"trained-{place}"
    if done.is_file():
        tensors, row = load_checkpoint(done)
        model.load_state_dict(tensors)
        return model, row
    ended = fit(
        model,
        data.train,
        one.recipe,
        None if one.penalty is None else one.penalty(model),
        checkpoint=Path(context.directory) / f"training-{place}",
        progress=lambda line: context.progress(f"setting {setting:g}, {line}"),
    )
    row = {
        "setting": setting,
        "status": ended.status,
        "steps": ended.steps,
        "train_loss": ended.loss if math.isfinite(ended.loss) else None,
        "seconds_per_step": ended.seconds_per_step,
        "accuracy": 0.0,
        "cross_entropy": 1e3,  # of a network that is no use; no valid one comes near
    }
    if ended.status != "diverged":
        found = evaluate(model, data.validation)
        row |= {"accuracy": found.accuracy, "cross_entropy": min(found.cross_entropy, 1e3)}
        row["train_accuracy"] = evaluate(model, data.train).accuracy
    save_checkpoint(done, dict(model.state_dict()), row)
    return model, row


def _tested(best: nn.Sequential, likeliest: nn.Sequential, data: Data) -> dict[str, float]:
    """Accuracy of the one network; cross-entropy and calibration of the other, before and after T."""
    found = score(logits_of(best, data.test.images), data.test.labels)
    logits = logits_of(likeliest, data.test.images)
    other = score(logits, data.test.labels)
    t = temperature(logits_of(likeliest, data.validation.images), data.validation.labels)
    cooled = score(logits.double() / t, data.test.labels)
    return {
        "error": 1 - found.accuracy,
        "cross_entropy": other.cross_entropy,
        "calibration_error": other.calibration_error,
        "temperature": t,
        "scaled_cross_entropy": cooled.cross_entropy,
    }


def _sensitivity(model: nn.Sequential, data: Data) -> dict[str, Any]:
    """Effective rank of M in three bases and of the weights, products multiplied out."""
    images = data.validation.images[:MEASURED]
    found: dict[str, Any] = {}
    spectra = {}
    for basis in ("eigen", "fourier", "identity"):
        spectra[basis] = measure(model, images, basis=basis, method="exact").values
        found[f"effective_rank_{basis}"] = _effective_rank(spectra[basis])
    found["jacobian_norm"] = float(spectra["eigen"].double().square().sum().sqrt()) * data.units
    ranks = [
        float(F.effective_rank(layer.weight.detach().flatten(1)))
        for layer in collapsed(_layers(model))
        if isinstance(layer, (nn.Linear, nn.Conv2d))
    ]
    found["effective_rank_weights"] = sum(ranks[:-1]) / max(1, len(ranks) - 1)  # of the hidden layers
    return found


def _effective_rank(values: Tensor) -> float:
    return float(F.effective_rank(singular_values=values.double().flatten().sort(descending=True).values))


def _layers(model: nn.Sequential) -> nn.Sequential:
    return nn.Sequential(*list(model)[1:])


def _robustness(model: nn.Sequential, data: Data) -> dict[str, Any]:
    """Accuracy on the first test images under each corruption, and the mean of them."""
    raw, labels = data.raw_test.images[:SCORED], data.raw_test.labels[:SCORED]
    rows: list[dict[str, Any]] = [
        {
            "corruption": name,
            "strength": strength,
            "accuracy": float((logits_of(model, data.seen(images)).argmax(1) == labels).double().mean()),
        }
        for name, strength, images in corrupted(raw)
    ]
    by_kind = [float(row["accuracy"]) for row in rows]
    noise = [float(row["accuracy"]) for row in rows if row["corruption"] == "noise"]
    return {
        "corruptions": rows,
        "noise_error": 1 - sum(noise) / len(noise),
        "corrupted_error": 1 - sum(by_kind) / len(by_kind),
    }


def _compressibility(model: nn.Sequential, data: Data) -> dict[str, Any]:
    """Accuracy kept where every layer is truncated to a rank, as a share of the network's own."""
    plain = collapsed(_layers(model))
    images, labels = data.test.images[:SCORED] / data.units, data.test.labels[:SCORED]
    own = float((logits_of(plain, images).argmax(1) == labels).double().mean())
    rows = []
    for rank in RANKS:
        small = compress(plain, ranks=rank)
        accuracy = float((logits_of(small, images).argmax(1) == labels).double().mean())
        rows.append(
            {
                "rank": rank,
                "accuracy": accuracy,
                "kept": accuracy / max(own, 1e-3),
                "parameters": sum(p.numel() for p in small.parameters()),
            }
        )
    return {"truncations": rows, "lost": 1 - sum(row["kept"] for row in rows) / len(rows)}

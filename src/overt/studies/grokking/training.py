"""Full-batch training on a share of all pairs until the other pairs are answered.

Seconds are of the processor, of training steps alone: other runs go on at the same time.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from overt import JacobianPenalty, SpectralPenalty
from overt.studies.base import RunContext
from overt.studies.grokking.networks import make_network, pairs
from overt.studies.grokking.settings import KNOBS, LearningConfig
from overt.training import make_optimizer

__all__ = ["run"]

RATES = {"mlp": 1e-2, "transformer": 3e-3}
GENERALIZES, FITS = 0.95, 0.99  # of the accuracy
EVERY = 10  # steps from one look at the test pairs to the next


def run(config: LearningConfig, context: RunContext) -> dict[str, Any]:
    """The record: steps and seconds until the test pairs are answered, None where they are not."""
    data = pairs(config.modulus, config.share, config.seed)
    model = make_network(config.network, config.modulus, config.width, config.seed)
    knob = KNOBS[config.method][config.setting]
    penalty = _penalty(model, config, knob)
    optimizer = make_optimizer(
        "adamw",
        model.parameters(),
        lr=RATES[config.network] * (knob if config.method == "weight 0" else 1.0),
        betas=(0.9, 0.98),
        weight_decay=knob if config.method == "weight decay" else 0.0,
    )
    fitted, status, step, spent = None, "budget", 0, 0.0
    accuracy = best = _accuracy(model, data.test, data.test_labels)
    while step < config.max_steps and status == "budget":
        began = time.process_time()
        x = data.train.clone().requires_grad_(isinstance(penalty, JacobianPenalty))
        logits = model(x)
        loss = nnf.cross_entropy(logits, data.train_labels)
        if isinstance(penalty, JacobianPenalty):
            loss = loss + penalty.penalty(x, logits)
        elif penalty is not None:
            loss = loss + penalty.penalty()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        step, spent = step + 1, spent + time.process_time() - began
        if step % EVERY and step < config.max_steps:
            continue
        if not math.isfinite(loss.item()):
            status = "diverged"
            break
        if fitted is None and float((logits.argmax(1) == data.train_labels).float().mean()) > FITS:
            fitted = step
        accuracy = _accuracy(model, data.test, data.test_labels)
        best = max(best, accuracy)
        status = "reached" if accuracy > GENERALIZES else status
        if step % 500 == 0:
            context.progress(f"{config.method}, step {step}, test accuracy {accuracy:.2f}")
    reached = status == "reached"
    return {
        "status": status,
        "steps": step,
        "seconds": spent,
        "steps_to_generalize": step if reached else None,
        "seconds_to_generalize": spent if reached else None,
        "steps_to_fit": fitted,
        "accuracy": accuracy,
        "best_accuracy": best,
        "knob": knob,
    }


@torch.no_grad()
def _accuracy(model: nn.Module, x: Tensor, labels: Tensor) -> float:
    return float((model(x).argmax(1) == labels).float().mean())


def _penalty(
    model: nn.Module, config: LearningConfig, weight: float
) -> SpectralPenalty | JacobianPenalty | None:
    if config.method == "nuclear":
        return SpectralPenalty(model, "nuclear_norm", weight=weight, layers=nn.Linear)
    if config.method == "jacobian 2":
        return JacobianPenalty(model, 2.0, "identity", weight, seed=config.seed)
    if config.method == "jacobian 1":
        return JacobianPenalty(model, 1.0, "identity", weight, seed=config.seed)
    if config.method == "fourier 1":  # over the residues, for a and b apart
        return JacobianPenalty(model, 1.0, "fourier", weight, dims=(1,), seed=config.seed)
    return None

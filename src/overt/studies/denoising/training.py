"""Every setting of a method is trained on noisy points, Stein's estimate chooses, clean points score."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from overt._utils.seeds import seeded
from overt.linalg.decompositions import eigh
from overt.penalties import CompositionPenalty
from overt.studies.base import RunContext
from overt.studies.denoising.data import Noisy, noisy
from overt.studies.denoising.settings import SETTINGS, CompareConfig
from overt.studies.shared.redrawn import redrawn
from overt.training import make_optimizer

__all__ = ["Denoiser", "run", "stein", "wiener"]

LR, BATCH = 1e-3, 128
NUDGE = 1e-2  # of finite differences, in units of the coordinates' standard deviation
PROBES = 8  # of the divergence in Stein's estimate
Map = Callable[[Tensor], Tensor]


class Denoiser(nn.Module):
    """A map of points in two pieces, of one hidden layer each, with a middle of its own width."""

    def __init__(self, dim: int, width: int, middle: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, middle))
        self.decoder = nn.Sequential(nn.Linear(middle, width), nn.ReLU(), nn.Linear(width, dim))

    def forward(self, x: Tensor) -> Tensor:
        """The denoised points."""
        found: Tensor = self.decoder(self.encoder(x))
        return found


def run(config: CompareConfig, context: RunContext) -> dict[str, Any]:
    """The record of a method: of each setting Stein's estimate, of the chosen one the error."""
    data = noisy(config)
    trials: list[dict[str, Any]] = []
    for setting in SETTINGS[config.method]:
        context.progress(f"{config.method}, setting {setting:g}")
        began = time.perf_counter()
        denoise = wiener(data) if config.method == "wiener" else _trained(config, data, setting)
        seconds = time.perf_counter() - began
        with torch.no_grad():
            error = float((denoise(data.test) - data.clean).square().mean())
            estimate = stein(denoise, data.validation, data.sigma, config.seed)
        known = math.isfinite(error) and math.isfinite(estimate)
        trials.append(
            {
                "setting": setting,
                "stein": estimate if known else None,
                "error": error if known else None,
                "seconds": seconds,
            }
        )
    kept = [row for row in trials if row["stein"] is not None]
    if not kept:
        return {"status": "diverged", "trials": trials, "error": None, "best_error": None}
    chosen = min(kept, key=lambda row: row["stein"])
    return {
        "status": "trained",
        "trials": trials,
        "chosen": chosen["setting"],
        "error": chosen["error"],
        "stein": chosen["stein"],
        "best_error": min(row["error"] for row in kept),
        "seconds": sum(row["seconds"] for row in trials),
    }


def stein(denoise: Map, y: Tensor, sigma: float, seed: int) -> float:
    """Stein's unbiased estimate of the mean squared error per coordinate, from noisy points alone.

    E‖f(y) − x‖² = E‖f(y) − y‖² − D σ² + 2 σ² E div f(y) (Stein 1981), the divergence by finite differences
    along random signs (Ramani, Blu & Unser 2008).
    """
    generator, found = seeded(seed), denoise(y)
    divergence = y.new_zeros(())
    for _ in range(PROBES):
        u = torch.randint(0, 2, y.shape, generator=generator).to(y) * 2 - 1
        divergence += (u * (denoise(y + NUDGE * u) - found)).mean() / NUDGE / PROBES
    return float((found - y).square().mean() - sigma**2 + 2 * sigma**2 * divergence)


def wiener(data: Noisy) -> Map:
    """The linear filter 1 − σ²/λ along each principal axis of the noisy points, λ its variance."""
    y = data.train.double()
    values, vectors = eigh(y.mT @ y / len(y))
    shrunk = (1 - data.sigma**2 / values).clamp_min(0)
    filter_ = ((vectors * shrunk) @ vectors.mT).float()
    return lambda x: x @ filter_


def _trained(config: CompareConfig, data: Noisy, setting: float) -> Map:
    """½‖f(y) − y‖² and the method's own term, by AdamW on random batches, its rate falling as a cosine."""
    method, dim = config.method, data.train.shape[1]
    middle = int(setting) if method == "bottleneck" else config.width
    model = redrawn(Denoiser(dim, config.width, middle), config.seed)
    generator = seeded(config.seed)
    penalty = _penalty(model, config, setting)
    lr = setting if method == "stein" else LR
    optimizer = make_optimizer("adamw", model.parameters(), lr=lr, weight_decay=0.0)
    for step in range(config.max_steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 + math.cos(math.pi * step / config.max_steps)) / 2
        y = data.train[torch.randint(len(data.train), (BATCH,), generator=generator)]
        found = model(y)
        loss = 0.5 * (found - y).square().sum(1).mean()
        if penalty is not None:
            loss = loss + penalty.penalty(y)
        elif method == "stein":
            u = torch.randn(y.shape, generator=generator)
            loss = loss + data.sigma**2 * (u * (model(y + NUDGE * u) - found)).sum(1).mean() / NUDGE
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not math.isfinite(loss.item()):
            break
    return model


def _penalty(model: Denoiser, config: CompareConfig, setting: float) -> CompositionPenalty | None:
    """σ² E‖J‖_* by the two pieces, or setting · σ² E‖J‖_F² of the whole, a chain of one piece."""
    weight = setting * config.sigma**2
    if config.method == "pointwise":
        return CompositionPenalty([model.encoder, model.decoder], weight=weight, seed=config.seed)
    if config.method == "frobenius":
        return CompositionPenalty([model], weight=weight, seed=config.seed)
    return None

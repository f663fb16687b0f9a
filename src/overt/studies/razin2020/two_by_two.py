"""The 2×2 problem: its networks, the bound on its open entry, and what is recorded of a flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from overt import functional as F
from overt.models import DeepLinear
from overt.studies.base import RunContext, RunOutput
from overt.studies.razin2020.flow import Floats, Path, Target, gradient_flow

if TYPE_CHECKING:
    from overt.studies.razin2020.settings import EntriesConfig, FlowConfig

EARLY = 1e-2  # the loss at which growth starts to be counted
NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "nuclear norm": F.nuclear_norm,
    "Frobenius norm": F.frobenius_norm,
    "spectral norm": F.spectral_norm,
    "Schatten ½": lambda W: F.schatten_norm(W, 0.5),
    "Schatten ⅔": lambda W: F.schatten_norm(W, 2 / 3),
}


def network(config: EntriesConfig) -> DeepLinear:
    """A 2×2 network whose end-to-end determinant has the wanted sign.

    Changing the sign of a row of the first layer changes it and keeps balanced layers balanced.
    """
    sizes = (2,) * (config.depth + 1)
    model = DeepLinear(
        sizes, init=config.init, scale=config.init_scale, seed=config.seed, dtype=torch.float64
    )
    with torch.no_grad():
        W = model.product()
        positive = bool(W[0, 0] * W[1, 1] > W[0, 1] * W[1, 0])
        if positive != (config.determinant == "positive"):
            model.weights[0][1] *= -1
        _reach(model, config)
    return model


def _reach(model: DeepLinear, config: EntriesConfig) -> None:
    """Put a start on the side from which a corner ε ≠ 0 can be fitted.

    With det W > 0 the sign of w₁₁ w₂₂ is fixed once w₁₂ w₂₁ is near its target: on the other side w₂₂ stays
    away from ε, the loss above ε²/2, and w₁₁ runs to infinity all the same. Changing the sign of both
    diagonal entries changes sides and neither the determinant nor the balance of the layers.
    """
    W = model.product()
    if config.corner * config.upper * config.lower * float(W[0, 0] + W[1, 1]) < 0:
        model.weights[-1][0] *= -1
        model.weights[0][:, 1] *= -1


def bound(loss: Floats, config: EntriesConfig) -> Floats:
    """The least |w₁₁| with det W > 0 at this loss; 0 where the loss says nothing.

    Each observed entry is within √(2ℓ) of its observation and w₁₁ w₂₂ > w₁₂ w₂₁.
    """
    reach = np.sqrt(2 * loss)
    product = np.maximum(abs(config.upper) - reach, 0) * np.maximum(abs(config.lower) - reach, 0)
    return np.asarray(product / (abs(config.corner) + reach))


def follow(config: FlowConfig, context: RunContext) -> RunOutput:
    """Integrate the gradient flow to the wanted loss."""
    context.progress(f"gradient flow to a loss of {config.loss_target:g}")
    path = gradient_flow(
        network(config).product().detach(),
        config.depth,
        Target(config.upper, config.lower, config.corner),
        loss_target=config.loss_target,
        max_time=config.max_time,
        rtol=config.rtol,
    )
    return RunOutput([_measured(path, config)], _on_grid(path))


def _measured(path: Path, config: FlowConfig) -> dict[str, Any]:
    loss, entry = path.losses, np.abs(path.products[:, 0, 0])
    late, settled = loss <= 0.1, loss <= 1e-4
    early, last = (torch.from_numpy(path.products[i]) for i in (int(np.argmax(loss <= EARLY)), -1))
    slope = np.polyfit(np.log(loss[settled]), np.log(entry[settled]), 1)[0] if settled.sum() > 1 else None
    least = bound(loss, config)
    return {
        "status": "converged" if loss[-1] <= 2 * config.loss_target else "budget",
        "message": path.message,
        "loss": float(loss[-1]),
        "time": float(path.times[-1]),
        "open_entry": float(entry[-1]),
        "over_bound": float(entry[-1] / least[-1]),
        "least_over_bound": float((entry[late] / least[late]).min()) if late.any() else None,
        "slope": None if slope is None else float(slope),
        "late_growth": float(entry[-1] / entry[np.argmax(settled)]) if settled.any() else None,
        "growth": {name: float(norm(last) / norm(early)) for name, norm in NORMS.items()},
        "effective_rank": float(F.effective_rank(last)),
        "effective_rank_start": float(F.effective_rank(torch.from_numpy(path.products[0]))),
        "rank_distance": float((path.singular_values[late, 1] / np.sqrt(18 * loss[late])).max())
        if late.any()
        else None,
    }


def _on_grid(path: Path) -> dict[str, Any]:
    """The trajectory at common values of the loss, four a decade, so that seeds can be averaged."""
    grid = 10.0 ** np.arange(-0.5, np.log10(path.losses[-1]) - 1e-3, -0.25)
    falling = -np.log(np.minimum.accumulate(path.losses))

    def at(values: Floats) -> Floats:
        return np.interp(-np.log(grid), falling, values)

    sigma = np.stack([at(path.singular_values[:, r]) for r in (0, 1)], axis=1)
    return {"loss": grid, "entry": at(path.products[:, 0, 0]), "singular_values": sigma}

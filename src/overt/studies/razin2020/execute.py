"""Making one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overt import functional as F
from overt.models import DeepLinear
from overt.models.cp import CPTensor
from overt.problems import CompletionProblem
from overt.problems.tensor import tensor_completion
from overt.studies.base import RunContext, RunOutput
from overt.studies.razin2020.config import RazinConfig
from overt.studies.razin2020.flow import Floats, Path, Target, gradient_flow
from overt.studies.razin2020.ranks import tensor_rank
from overt.studies.razin2020.which import run_which
from overt.studies.shared.training_runs import how
from overt.training import Stopping, train

EARLY = 1e-2  # the loss at which growth starts to be counted
NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "nuclear norm": F.nuclear_norm,
    "Frobenius norm": F.frobenius_norm,
    "spectral norm": F.spectral_norm,
    "Schatten ½": lambda W: F.schatten_norm(W, 0.5),
    "Schatten ⅔": lambda W: F.schatten_norm(W, 2 / 3),
}


def execute(config: RazinConfig, context: RunContext) -> RunOutput:
    """Make the run that a configuration describes."""
    makers: dict[str, Callable[[RazinConfig, RunContext], RunOutput]] = {
        "entry": run_flow,
        "perturbed": run_flow,
        "descent": run_descent,
        "tensor": run_tensor,
        "which": run_which,
    }
    return makers[config.group](config, context)


def run_flow(config: RazinConfig, context: RunContext) -> RunOutput:
    """Gradient flow on the 2×2 problem."""
    target = Target(config.upper, config.lower, config.corner)
    start = network(config).product().detach()
    context.progress(f"gradient flow to a loss of {config.loss_target:g}")
    path = gradient_flow(
        start,
        config.depth,
        target,
        loss_target=config.loss_target,
        max_time=config.max_time,
        rtol=config.rtol,
    )
    return RunOutput([_judged(path, config)], _on_grid(path))


def network(config: RazinConfig) -> DeepLinear:
    """A 2×2 network whose end-to-end determinant has the wanted sign.

    Changing the sign of a row of the first layer changes it and keeps balanced layers balanced.
    """
    model = DeepLinear(
        (2,) * (config.depth + 1),
        init=config.init,
        scale=config.init_scale,
        seed=config.seed,
        dtype=torch.float64,
    )
    with torch.no_grad():
        W = model.product()
        positive = bool(W[0, 0] * W[1, 1] > W[0, 1] * W[1, 0])
        if positive != (config.determinant == "positive"):
            model.weights[0][1] *= -1
        _reach(model, config)
    return model


def _reach(model: DeepLinear, config: RazinConfig) -> None:
    """Put a start on the side from which a corner ε ≠ 0 can be fitted.

    With det W > 0 the sign of w₁₁ w₂₂ is fixed once w₁₂ w₂₁ is near its target: on the other side w₂₂ stays
    away from ε, the loss above ε²/2, and w₁₁ runs to infinity all the same. Changing the sign of both
    diagonal entries changes sides and neither the determinant nor the balance of the layers.
    """
    W = model.product()
    if config.corner * config.upper * config.lower * float(W[0, 0] + W[1, 1]) < 0:
        model.weights[-1][0] *= -1
        model.weights[0][:, 1] *= -1


def bound(loss: Floats, config: RazinConfig) -> Floats:
    """The least |w₁₁| with det W > 0 at this loss; 0 where the loss says nothing.

    Each observed entry is within √(2ℓ) of its observation and w₁₁ w₂₂ > w₁₂ w₂₁.
    """
    reach = np.sqrt(2 * loss)
    product = np.maximum(abs(config.upper) - reach, 0) * np.maximum(abs(config.lower) - reach, 0)
    return np.asarray(product / (abs(config.corner) + reach))


def _judged(path: Path, config: RazinConfig) -> dict[str, Any]:
    loss, entry = path.losses, np.abs(path.products[:, 0, 0])
    late, settled = loss <= 0.1, loss <= 1e-4
    early, last = (torch.from_numpy(path.products[i]) for i in (int(np.argmax(loss <= EARLY)), -1))
    slope = np.polyfit(np.log(loss[settled]), np.log(entry[settled]), 1)[0] if settled.sum() > 1 else None
    least = bound(loss, config)
    return {
        "loss": float(loss[-1]),
        "time": float(path.times[-1]),
        "message": path.message,
        "open_entry": float(entry[-1]),
        "bound": float(least[-1]),
        "least_over_bound": float((entry[late] / least[late]).min()) if late.any() else None,
        "slope": None if slope is None else float(slope),
        "entry_at_1e-4": float(entry[np.argmax(settled)]) if settled.any() else None,
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


def run_descent(config: RazinConfig, context: RunContext) -> RunOutput:
    """The layers of a 2×2 network by the configured optimizer."""
    nan = float("nan")
    observed = torch.tensor([[nan, config.upper], [config.lower, config.corner]], dtype=torch.float64)
    problem = CompletionProblem.from_dense(observed)
    result = train(
        network(config),
        problem,
        optimizer=config.optimizer,
        lr=config.lr,
        max_steps=config.max_steps,
        tolerance=1e-12,
        stopping=Stopping(blow_up=1e6),
        checkpoint=context.directory / "run.safetensors",
    )
    W = result.W
    loss = 1.5 * float(problem.loss(W))  # the problem's is the mean of three squares
    least = float(bound(np.array([loss]), config)[0])
    record = {
        "loss": loss,
        "open_entry": abs(float(W[0, 0])),
        "bound": least,
        "determinant": float(W[0, 0] * W[1, 1] - W[0, 1] * W[1, 0]),
    }
    return RunOutput([record | how(result)])


def run_tensor(config: RazinConfig, context: RunContext) -> RunOutput:
    """Tensor completion by CP factorization."""
    shape = (config.n,) * config.order
    problem = tensor_completion(shape, rank=config.rank, n_observed=config.n_observed, seed=config.seed)
    model = CPTensor(shape, config.components, config.init_scale, seed=config.seed, dtype=torch.float64)
    result = train(
        model,
        problem,
        optimizer=config.optimizer,
        lr=config.lr,
        max_steps=config.max_steps,
        tolerance=1e-6,
        checkpoint=context.directory / "run.safetensors",
    )
    rank, residuals = tensor_rank(result.W, limit=config.rank + 1, seed=config.seed)
    norms = model.component_norms().detach().sort(descending=True).values
    record = {
        "error": problem.error(result.W),
        "loss": float(problem.loss(result.W)) / float(problem.y.square().mean()),
        "tensor_rank": rank,
        "residuals": residuals,
        "zero_filling": problem.error(problem.adjoint(problem.y)),
        "components": norms[:10].tolist(),
    }
    return RunOutput([record | how(result)])

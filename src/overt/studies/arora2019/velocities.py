"""The singular values of a gradient flow, their measured velocity, and the one that theory gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from overt import functional as F
from overt.linalg import Factored
from overt.models import DeepLinear
from overt.studies.arora2019.settings import FlowConfig
from overt.studies.arora2019.training import Problem, network
from overt.studies.base import RunContext, RunOutput
from overt.training.gradient_flow import Flow, gradient_flow, singular_value_velocity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_CENTRES = (0.3, 0.8)  # of the finite differences within each step of the solver
_FLOOR = 1e-3  # of the largest velocity of the same singular value: where it turns, a relative error is none
_END = 1e8  # a time that no flow comes near: it ends by its loss


def run_flow(config: FlowConfig, problem: Problem, context: RunContext) -> RunOutput:
    """Integrate the flow and compare measured with predicted velocities."""
    network_ = network(config.depth, problem.shape, config.init, config.init_scale, config.width, config.seed)
    model = _Narrow(network_) if 4 * min(network_.sizes) < min(problem.shape) else network_
    watch = _Watch(problem, config, context)
    with torch.no_grad():
        initial = float(problem.loss(model.product()))  # type: ignore[arg-type]
    flow = gradient_flow(
        model,
        problem,
        _END,
        fractions=[centre + side * config.stencil for centre in _CENTRES for side in (-1, 0, 1)],
        record=watch,
        until_loss=config.until * initial,
        rtol=config.rtol,
        max_steps=config.max_steps,
    )
    times, values, measured, predicted, slopes = _triples(flow)
    record: dict[str, Any] = {
        "status": {"loss": "converged", "end": "budget"}.get(flow.status, flow.status),
        "message": flow.message,
        "steps": flow.n_steps,
        "evaluations": flow.n_evaluations,
        "points": int(measured.size),
        "loss": flow.losses[-1] / initial,
        "error": problem.error(network_.product().detach()),
        **compare(values, measured, predicted, slopes, config.depth),
    }
    arrays = {
        "time": times,
        "singular_values": values,
        "measured": measured,
        "predicted": predicted,
        "loss": np.asarray(flow.losses[2::3]),
    }
    return RunOutput([record], arrays)


def compare(
    values: Array, measured: Array, predicted: Array, slopes: Array, depth: int
) -> dict[str, float | None]:
    """Deviations of measured from predicted velocities, and the exponent that the measured ones show.

    Parameters
    ----------
    values, measured, predicted, slopes
        Singular values, velocities by finite differences and by theory, and −⟨∇ℓ, u_r v_rᵀ⟩: (times, r).
    depth
        Number N of layers; other depths' formulas are compared as well.

    Returns
    -------
    dict
        ``deviation``: the largest of |measured − predicted| / max(|predicted|, 1e-3 × the largest |predicted|
        of that singular value); ``other_deviation``: the median one for the formula of that other depth (1–5)
        which comes closest; ``exponent``, ``factor``: of |measured / slope| = factor × (σ²)^exponent, fitted
        to all points above the floor.
    """
    top = np.abs(predicted).max(axis=0, keepdims=True)
    scale = np.maximum(np.abs(predicted), _FLOOR * top)
    deviation = np.abs(measured - predicted) / scale
    formulas = [other * values ** (2 - 2 / other) * slopes for other in range(1, 6) if other != depth]
    found: dict[str, float | None] = {
        "deviation": float(deviation.max()),
        "other_deviation": min(float(np.median(np.abs(measured - one) / scale)) for one in formulas),
    }
    keep = (np.abs(predicted) > _FLOOR * top) & (measured * slopes > 0)
    if keep.sum() < 2 or np.ptp(np.log(values[keep])) == 0:
        return found | {"exponent": None, "factor": None}
    exponent, constant = np.polyfit(2 * np.log(values[keep]), np.log(measured[keep] / slopes[keep]), 1)
    return found | {"exponent": float(exponent), "factor": float(np.exp(constant))}


class _Watch:
    """Records, of every third state the singular values with their predicted velocities, of the others the
    singular values alone."""

    def __init__(self, problem: Problem, config: FlowConfig, context: RunContext) -> None:
        self.problem, self.config, self.context = problem, config, context
        self.count = 0

    def __call__(self, t: float, model: nn.Module) -> tuple[Array, Array | None, Array | None]:
        depth, leading = self.config.depth, self.config.leading
        with torch.no_grad():
            W: Tensor | Factored = model.product()  # type: ignore[operator]
            s = F.singular_values(W)[:leading]
            self.count += 1
            if self.count % 3 != 0:  # the first state of all is the start, which belongs to no triple
                return s.numpy().copy(), None, None
            gradient = _gradient(self.problem, W)
            velocity = singular_value_velocity(W, gradient, depth, leading=leading)
            slope = singular_value_velocity(W, gradient, 1, leading=leading)
        if self.count % 60 == 0:
            self.context.progress(f"time {t:.3g}, largest singular value {float(s[0]):.3g}")
        return s.numpy().copy(), velocity.numpy().copy(), slope.numpy().copy()


def _triples(flow: Flow) -> tuple[Array, Array, Array, Array, Array]:
    """Times, singular values, velocities by finite differences and by theory, and slopes."""
    t = np.asarray(flow.times[1:]).reshape(-1, 3)
    s = np.asarray([values for values, _, _ in flow.records[1:]])
    s = s.reshape(-1, 3, s.shape[1])
    measured = (s[:, 2] - s[:, 0]) / (t[:, 2] - t[:, 0])[:, None]
    middle = flow.records[2::3]
    predicted, slopes = (np.asarray([record[part] for record in middle]) for part in (1, 2))
    return t[:, 1], s[:, 1], measured, predicted, slopes


class _Narrow(nn.Module):
    """A network with a narrow hidden layer, whose product is kept as two factors: nothing large is formed."""

    def __init__(self, network: DeepLinear) -> None:
        super().__init__()
        self.network = network

    def product(self) -> Factored:
        """The end-to-end matrix, as W_N … W_2 and W_1."""
        weights = list(self.network.weights)
        left = weights[-1]
        for weight in weights[-2:0:-1]:
            left = left @ weight
        return Factored(left, weights[0].mT)


def _gradient(problem: Problem, W: Tensor | Factored) -> Tensor:
    """∇ℓ(W) of the mean squared residual, dense."""
    misfit = problem.measure(W) - problem.y  # type: ignore[arg-type]
    return problem.adjoint(misfit * (2 / problem.n_observed))

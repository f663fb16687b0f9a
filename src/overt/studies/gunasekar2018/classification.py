"""Separable classification: the losses, and an explicit penalty in the Fourier domain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from overt.models import DeepCircularConvolution, DeepLinear
from overt.penalties import VectorPenalty
from overt.studies.shared.penalized import Coordinates
from overt.studies.shared.stationarity import relative_gradient
from overt.training import Stopping, TrainResult, train

__all__ = [
    "FourierPenalty",
    "Functional",
    "Loss",
    "SeparableProblem",
    "network",
    "penalized",
    "separable",
]

Loss = Literal["exponential", "logistic", "squared_hinge"]
_OFFSET = 1e6  # keeps the logarithm of a loss positive, as the training loop expects; no gradient sees it


@dataclass(frozen=True, eq=False)
class SeparableProblem:
    """Samples X (k, d) with labels y (k,) of ±1 that some w separates.

    For the exponential and the logistic loss it is the logarithm of the mean loss that is trained on: its
    gradient flow takes the same path at another pace, and its gradient does not vanish as the loss does.
    """

    X: Tensor
    y: Tensor
    kind: Loss = "exponential"

    @property
    def shape(self) -> tuple[int]:
        """(d,)."""
        return (self.X.shape[1],)

    def margins(self, W: Tensor) -> Tensor:
        """y ⟨x, w⟩ for each sample, shape (k,)."""
        return self.y * (self.X @ W)

    def loss(self, W: Tensor) -> Tensor:
        """Mean squared hinge loss, or the logarithm of the mean exponential or logistic loss plus 10⁶."""
        margins = self.margins(W)
        if self.kind == "squared_hinge":
            return (1 - margins).clamp_min(0).square().mean()
        logs = -margins if self.kind == "exponential" else _log_logistic(margins)
        return torch.logsumexp(logs, dim=0) - math.log(len(self.y)) + _OFFSET

    def error(self, W: Tensor) -> float:  # noqa: ARG002
        """There is no truth: NaN."""
        return math.nan


def _log_logistic(margins: Tensor) -> Tensor:
    """log log(1 + e^{−m}), which is −m to rounding for m > 40."""
    safe = margins.clamp_max(40.0)
    return torch.where(margins > 40.0, -margins, torch.nn.functional.softplus(-safe).log())


def separable(n: int, n_samples: int, seed: int, kind: Loss = "exponential") -> SeparableProblem:
    """Gaussian samples with random labels; fewer samples than dimensions are separable."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n_samples, n, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 2, (n_samples,), generator=generator).to(torch.float64) * 2 - 1
    return SeparableProblem(X, y, kind)


class Functional(nn.Module):
    """A model with an end-to-end tensor of d entries, seen as the vector of a linear functional."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def product(self) -> Tensor:
        """The vector (d,)."""
        tensor: Tensor = self.model.product()  # type: ignore[operator]
        return tensor.reshape(-1)


class FourierPenalty(VectorPenalty):
    """weight × ‖ŵ‖_p^p with ŵ the orthonormal discrete Fourier transform of the end-to-end vector w."""

    def __init__(self, model: nn.Module, p: float, weight: float) -> None:
        super().__init__(model, p, None, weight)

    def value(self, product: Tensor | None = None) -> Tensor:
        """‖ŵ‖_p^p, a 0-d tensor."""
        if product is None:
            product = self.model.product()  # type: ignore[operator]
        return super().value(torch.fft.fft(product, norm="ortho").abs())

    def describe(self) -> dict[str, Any]:
        """The settings as plain data."""
        return {**super().describe(), "basis": "fourier"}


def network(architecture: str, n: int, depth: int, scale: float, seed: int) -> Functional:
    """A linear network as the vector of a linear functional: ``full`` of width n, or ``convolution``."""
    options: dict[str, Any] = {"scale": scale, "seed": seed, "dtype": torch.float64}
    if architecture == "full":
        return Functional(DeepLinear((n,) * depth + (1,), **options))
    return Functional(DeepCircularConvolution(n, depth, **options))


def penalized(
    start: Tensor, problem: Any, p: float, weight: float, lr: float, max_steps: int, *, unit: float
) -> tuple[TrainResult, dict[str, Any]]:
    """Adam on the vector itself, its rate falling to zero; weight 0 is without a penalty.

    Whether the whole objective is stationary is asked in the Fourier domain, where the penalty has its kinks.
    """
    model = Coordinates(start)
    penalty = FourierPenalty(model, p, weight) if weight > 0 else None
    result = train(
        model,
        problem,
        optimizer="adam",
        lr=lr,
        penalty=penalty,
        max_steps=max_steps,
        stopping=Stopping(stall_steps=max_steps),
        lr_schedule=lambda step: max(0.0, 1 - step / max_steps),
    )

    def vector(parts: Tensor) -> Tensor:
        w: Tensor = torch.fft.irfft(torch.view_as_complex(parts), n=len(start), norm="ortho")
        return w

    parts = torch.view_as_real(torch.fft.rfft(result.W, norm="ortho"))
    extra = None if penalty is None else lambda parts: penalty.penalty(vector(parts))
    left = relative_gradient(
        parts, lambda parts: problem.loss(vector(parts)), extra, unit=unit, negligible=1e-2, grouped=True
    )
    return result, {"relative_gradient": left}

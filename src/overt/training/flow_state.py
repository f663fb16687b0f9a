"""The state of a gradient flow: a model's parameters as one vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from overt.penalties import product_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from overt.training.loop import Trainable

    Vector = NDArray[np.float64]

__all__ = ["FlowRecord", "FlowState"]


class FlowState:
    """The parameters of a model as one vector, and minus the gradient of the loss there."""

    def __init__(self, model: nn.Module, problem: Trainable) -> None:
        self.model, self.problem, self.product = model, problem, product_of(model)
        self.params = [p for p in model.parameters() if p.requires_grad]
        if not self.params:
            raise ValueError("the model has no parameter that requires a gradient: nothing flows")
        for p in self.params:
            if p.dtype != torch.float64:
                raise TypeError(f"gradient flow needs float64 parameters, got {p.dtype}; use model.double()")

    def read(self) -> Vector:
        """The present parameters."""
        vector: Vector = torch.cat([p.detach().reshape(-1).cpu() for p in self.params]).numpy().copy()
        return vector

    @torch.no_grad()
    def write(self, vector: Vector) -> None:
        """Put the model into a state."""
        whole, start = torch.from_numpy(np.ascontiguousarray(vector)), 0
        for p in self.params:
            p.copy_(whole[start : start + p.numel()].view_as(p))
            start += p.numel()

    def velocity(self, t: float, vector: Vector) -> Vector:  # noqa: ARG002  (the flow is autonomous)
        """−∇L(θ)."""
        self.write(vector)
        with torch.enable_grad():
            loss = self.problem.loss(self.product())
            grads = torch.autograd.grad(loss, self.params)
        rate: Vector = torch.cat([g.reshape(-1).cpu() for g in grads]).numpy()
        return -rate

    @torch.no_grad()
    def loss(self, vector: Vector) -> float:
        """L(θ)."""
        self.write(vector)
        return float(self.problem.loss(self.product()))


class FlowRecord:
    """Puts the model into a state and keeps what is recorded of it."""

    def __init__(self, state: FlowState, record: Callable[[float, nn.Module], Any] | None) -> None:
        self.state, self.record = state, record
        self.times: list[float] = []
        self.losses: list[float] = []
        self.records: list[Any] = []

    def __call__(self, t: float, vector: Vector) -> None:
        self.losses.append(self.state.loss(vector))
        self.times.append(float(t))
        self.records.append(
            self._product() if self.record is None else self.record(float(t), self.state.model)
        )

    @torch.no_grad()
    def _product(self) -> Tensor:
        return self.state.product().detach().clone()

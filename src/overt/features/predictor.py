"""The fitted predictor as a torch module, in the units of the data, for autograd and ``overt.measure``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from overt.features.inputs import Units
from overt.features.kernels import multiplied
from overt.features.machine import Machine, Stack

__all__ = ["Predictor"]


class _Kernel(nn.Module):
    """One machine, with distances whose gradient is zero at zero."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.kernel, self.scale = machine.kernel, machine.scale
        self.register_buffer("root", machine.root)
        for name in ("centres", "coefficients", "offset"):
            self.register_buffer(name, getattr(machine, name))

    def forward(self, X: Tensor) -> Tensor:
        """Outputs, shape (n, k)."""
        U = multiplied(X, self.root)  # type: ignore[arg-type]
        V: Tensor = self.centres  # type: ignore[assignment]
        if self.kernel == "linear":
            values = U @ V.mT / self.scale**2
        else:
            # At a kink, where rounding leaves some distance, the gradient would have some direction.
            least = 32 * torch.finfo(U.dtype).eps * (U.square().sum(1)[:, None] + V.square().sum(1))
            distances = torch.cdist(U, V, compute_mode="donot_use_mm_for_euclid_dist")
            distances = torch.where(distances.square() > least, distances, 0) / self.scale
            values = (-distances if self.kernel == "laplace" else -0.5 * distances.square()).exp()
        found: Tensor = values @ self.coefficients + self.offset  # type: ignore[operator]
        return found


class Predictor(nn.Module):
    """Inputs (n, d) to outputs (n, k), both in the units of the data.

    Its weights are buffers: nothing is trained, and everything is differentiable by the inputs.
    """

    def __init__(self, stack: Stack, inputs: Units, outputs: Units, like: Tensor) -> None:
        super().__init__()
        self.kernels = nn.ModuleList(map(_Kernel, stack.machines))
        self.weights = stack.weights
        values = {
            "offset": stack.offset,
            "top": torch.as_tensor(inputs.top),
            "mean": torch.as_tensor(inputs.mean),
            "factor": torch.as_tensor(inputs.factor),
            "spread": torch.as_tensor(outputs.spread),
            "centre": torch.as_tensor(outputs.mean * outputs.top),
        }
        for name, value in values.items():
            self.register_buffer(name, value.to(like))

    def forward(self, X: Tensor) -> Tensor:
        """Outputs, shape (n, k)."""
        Z = (X / self.top - self.mean) * self.factor  # type: ignore[operator]
        total = self.offset + 0 * Z[:, :1]  # type: ignore[operator]
        for weight, kernel in zip(self.weights, self.kernels, strict=True):
            total = total + weight * kernel(Z)
        found: Tensor = total * self.spread + self.centre  # type: ignore[operator]
        return found

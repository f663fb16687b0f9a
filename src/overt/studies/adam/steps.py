"""Steps of optimizers, split into what the data and what the penalty cause.

Every optimizer here is a momentum and a preconditioner: W ← W − lr M(m), where M is linear and depends on the
history of the whole gradient only. So the step is the sum of M(m_data) and M(m_penalty), exactly, and one
can be changed while the other is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from overt.linalg import svd

Linear = Callable[[Tensor], Tensor]


@dataclass
class Stepper:
    """One optimizer's state.

    Parameters
    ----------
    name
        See ``config.Optimizer``.
    beta1, beta2, eps
        Of Adam.
    alpha
        The decay of RMSprop.
    """

    name: str
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-12
    alpha: float = 0.99
    count: int = 0
    first: list[Tensor] = field(default_factory=list)
    second: Tensor | None = None

    def split(self, data: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
        """The two parts of the next step, without the learning rate, from the two parts of the gradient."""
        self.count += 1
        precondition = self._preconditioner(data + penalty)
        moments = self._momentum(data, penalty)
        return precondition(moments[0]), precondition(moments[1])

    def _momentum(self, data: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
        if self.name not in ("adam", "momentum"):
            return data, penalty
        decay, gain = (self.beta1, 1 - self.beta1) if self.name == "adam" else (0.9, 1.0)
        if not self.first:
            self.first = [torch.zeros_like(data), torch.zeros_like(penalty)]
        self.first = [decay * m + gain * g for m, g in zip(self.first, (data, penalty), strict=True)]
        bias = 1 - decay**self.count if self.name == "adam" else 1.0
        return self.first[0] / bias, self.first[1] / bias

    def _preconditioner(self, g: Tensor) -> Linear:
        if self.name in ("gd", "momentum"):
            return lambda x: x
        if self.name == "normalized_gd":
            length = torch.linalg.vector_norm(g) + self.eps
            return lambda x: x / length
        if self.name == "sign":
            size = g.abs().clamp_min(self.eps)
            return lambda x: x / size
        if self.name in ("adam", "adam_beta1_0"):
            before = self.second if self.second is not None else torch.zeros_like(g)
            self.second = self.beta2 * before + (1 - self.beta2) * g * g
            root = (self.second / (1 - self.beta2**self.count)).sqrt() + self.eps
            return lambda x: x / root
        if self.name == "rmsprop":  # without the correction, as torch has it
            before = self.second if self.second is not None else torch.zeros_like(g)
            self.second = self.alpha * before + (1 - self.alpha) * g * g
            plain = self.second.sqrt() + self.eps
            return lambda x: x / plain
        _, S, Vh = svd(g)  # Muon, the polar factor of the gradient: G (GᵀG)^{-1/2}
        right = (Vh.mT / S.clamp_min(1e-10 * float(S[0]) + self.eps)) @ Vh
        return lambda x: x @ right

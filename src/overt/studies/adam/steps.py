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

from overt.linalg import eigh, svd

Linear = Callable[[Tensor], Tensor]


@dataclass
class Stepper:
    """One optimizer's state.

    Parameters
    ----------
    name
        See ``AdamConfig.optimizer``.
    beta1, beta2, eps
        Of Adam; Shampoo takes the latter two.
    alpha
        The decay of RMSprop and GroupRMSprop.
    """

    name: str
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-12
    alpha: float = 0.99
    count: int = 0
    first: list[Tensor] = field(default_factory=list)
    second: list[Tensor] = field(default_factory=list)

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

    def _average(self, value: Tensor, place: int = 0, decay: float | None = None) -> Tensor:
        """The running mean of a quantity, corrected for its start at zero."""
        while len(self.second) <= place:
            self.second.append(torch.zeros_like(value))
        kept = self.beta2 if decay is None else decay
        self.second[place] = kept * self.second[place] + (1 - kept) * value
        return self.second[place] / (1 - kept**self.count)

    def _preconditioner(self, g: Tensor) -> Linear:
        if self.name in ("gd", "momentum"):
            return lambda x: x
        if self.name == "normalized_gd":
            length = torch.linalg.vector_norm(g) + self.eps
            return lambda x: x / length
        if self.name == "grouprmsprop":
            root = self._average(g.square().sum(), decay=self.alpha).sqrt() + self.eps
            return lambda x: x / root
        if self.name == "sign":
            size = g.abs().clamp_min(self.eps)
            return lambda x: x / size
        if self.name in ("adam", "adam_beta1_0"):
            root = self._average(g.square()).sqrt() + self.eps
            return lambda x: x / root
        if self.name == "rmsprop":  # without the correction, as torch has it
            before = self.second[0] if self.second else torch.zeros_like(g)
            self.second = [self.alpha * before + (1 - self.alpha) * g * g]
            plain = self.second[0].sqrt() + self.eps
            return lambda x: x / plain
        if self.name == "muon":  # the polar factor of the gradient: G (GᵀG)^{-1/2}
            _, S, Vh = svd(g)
            right = (Vh.mT / S.clamp_min(1e-10 * float(S[0]) + self.eps)) @ Vh
            return lambda x: x @ right
        return self._shampoo(g)

    def _shampoo(self, g: Tensor) -> Linear:
        """L^{-1/4} G R^{-1/4} with running means of GGᵀ and GᵀG (Gupta, Koren & Singer 2018)."""
        roots = []
        for place, gram in enumerate((g @ g.mT, g.mT @ g)):
            values, vectors = eigh(self._average(gram, place))
            powers = (values.clamp_min(0) + 1e-10 * float(values[0]) + self.eps).pow(-0.25)
            roots.append((vectors * powers) @ vectors.mT)
        left, right = roots
        return lambda x: left @ x @ right

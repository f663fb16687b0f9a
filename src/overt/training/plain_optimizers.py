"""Steps that keep only the sign or the direction of the gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

__all__ = ["NormalizedGD", "SignDescent"]


class _Memoryless(Optimizer):
    """A step of length lr that depends on the present gradient alone."""

    def __init__(self, params: Iterable[Any], lr: float = 1e-3) -> None:
        if not lr > 0:
            raise ValueError(f"lr must be positive, got {lr}")
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; `closure`, if given, recomputes the loss and its gradient first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._move([p for p in group["params"] if p.grad is not None], group["lr"])
        return loss

    def _move(self, params: list[torch.Tensor], lr: float) -> None:
        raise NotImplementedError


class SignDescent(_Memoryless):
    """Every entry moves by lr against the sign of its gradient: Adam without any memory.

    W ← W − lr · sign(g) (Bernstein et al. 2018, "signSGD", here on the whole gradient).

    Examples
    --------
    >>> import torch
    >>> from overt.training import make_optimizer
    >>> w = torch.nn.Parameter(torch.tensor([3.0, -0.1]))
    >>> optimizer = make_optimizer("signdescent", [w], lr=0.5)
    >>> (w**2).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([2.5000, 0.4000])
    """

    def _move(self, params: list[torch.Tensor], lr: float) -> None:
        for p in params:
            assert p.grad is not None
            p.sub_(p.grad.sign(), alpha=lr)


class NormalizedGD(_Memoryless):
    """A step of length lr along the gradient of all parameters of a group; none where that is zero.

    W ← W − lr · g / ‖g‖, ‖g‖ over the whole group (Nesterov 1984).

    Examples
    --------
    >>> import torch
    >>> from overt.training import make_optimizer
    >>> w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> optimizer = make_optimizer("normalizedgd", [w], lr=1.0)
    >>> (w**2).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([2.4000, 3.2000])
    """

    def _move(self, params: list[torch.Tensor], lr: float) -> None:
        if not params:
            return
        norms = torch._foreach_norm([p.grad for p in params if p.grad is not None])
        whole = torch.linalg.vector_norm(torch.stack([norm.to(norms[0]) for norm in norms]))
        rate = -lr / whole.clamp_min(torch.finfo(whole.dtype).tiny)
        for p in params:
            assert p.grad is not None
            p.addcmul_(p.grad, rate)

"""Optimizers that torch does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from overt._utils.checks import check_number


class _ByGroup(Optimizer):
    """A step that moves the parameters of a group together."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; `closure`, if given, recomputes the loss and its gradient first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._move(group, params, [p.grad for p in params])
        return loss

    def _move(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        raise NotImplementedError


class GroupRMSprop(_ByGroup):
    """Gradient descent whose one learning rate adapts to the size of the whole gradient.

    v ← α v + (1 − α) Σ‖g‖², step −lr · g / (√(v / (1 − αᵗ)) + ε),

    summed over all parameters of a group. Unlike RMSprop it keeps the direction of the gradient, so it
    follows gradient flow at another pace (Arora, Cohen, Hu & Luo 2019, "Implicit regularization in deep
    matrix factorization", appendix on implementation, and the authors' code).

    Parameters
    ----------
    params
        Tensors, or groups as for any ``torch.optim`` optimizer.
    lr
        Length of a step while the gradient keeps its size, positive.
    alpha
        Decay of the average, in [0, 1).
    eps
        Added to the denominator, positive; the authors' default.

    Raises
    ------
    TypeError, ValueError
        An argument of another kind, or out of its range.

    Examples
    --------
    >>> import torch
    >>> from overt.training import GroupRMSprop
    >>> w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> optimizer = GroupRMSprop([w], lr=1.0)
    >>> (w**2).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([2.4000, 3.2000])
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-6
    ) -> None:
        settings = {
            "lr": check_number(lr, "lr", above=0),
            "alpha": check_number(alpha, "alpha", least=0, below=1),
            "eps": check_number(eps, "eps", above=0),
        }
        super().__init__(params, settings)

    def _move(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        # The group's state lives with its first parameter: torch stores state by parameter only.
        state = self.state[group["params"][0]]
        norms = _norms(grads)
        squared = norms[0] ** 2 if len(norms) == 1 else norms.square().sum()
        if not state:
            state["step"], state["square_avg"] = 0, torch.zeros_like(squared)
        state["step"] += 1
        state["square_avg"].mul_(group["alpha"]).add_(squared, alpha=1 - group["alpha"])
        average = state["square_avg"] / (1 - group["alpha"] ** state["step"])
        rate = (-group["lr"]) / (average.sqrt() + group["eps"])
        for p, grad in zip(params, grads, strict=True):
            p.addcmul_(grad, rate)


class _Memoryless(_ByGroup):
    """A step of length lr that depends on the present gradient alone."""

    def __init__(self, params: Iterable[Any], lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": check_number(lr, "lr", above=0)})


class SignDescent(_Memoryless):
    """Every entry moves by lr against the sign of its gradient: Adam without any memory.

    W ← W − lr · sign(g) (Bernstein et al. 2018, "signSGD", here on the whole gradient).
    """

    def _move(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        for p, grad in zip(params, grads, strict=True):
            p.sub_(grad.sign(), alpha=group["lr"])


class NormalizedGD(_Memoryless):
    """A step of length lr along the gradient of all parameters of a group; none where that is zero.

    W ← W − lr · g / ‖g‖, ‖g‖ over the whole group (Nesterov 1984).
    """

    def _move(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        whole = torch.linalg.vector_norm(_norms(grads))
        rate = -group["lr"] / whole.clamp_min(torch.finfo(whole.dtype).tiny)
        for p, grad in zip(params, grads, strict=True):
            p.addcmul_(grad, rate)


def _norms(grads: list[Tensor]) -> Tensor:
    """The Frobenius norm of each, in the dtype and on the device of the first."""
    norms = torch._foreach_norm(grads)
    return torch.stack([norm.to(norms[0]) for norm in norms])

"""Optimizers by name."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from overt.training.plain_optimizers import NormalizedGD, SignDescent

__all__ = ["GroupRMSprop", "make_optimizer", "optimizer_names"]


class GroupRMSprop(Optimizer):
    """Gradient descent whose one learning rate adapts to the size of the whole gradient.

    v ← α v + (1 − α) Σ‖g‖², step −lr · g / (√(v / (1 − αᵗ)) + ε),

    the sum being over all parameters of a group. Unlike RMSprop it keeps the direction of the gradient, so
    that it follows gradient flow, only at another pace (Arora, Cohen, Hu & Luo 2019, "Implicit regularization
    in deep matrix factorization", appendix on implementation, and the authors' code).

    Parameters
    ----------
    params
        Tensors, or groups as for any ``torch.optim`` optimizer.
    lr
        Positive: length of a step while the gradient keeps its size.
    alpha
        Decay of the average, in [0, 1).
    eps
        Added to the denominator, positive. The authors' default.

    Raises
    ------
    ValueError
        An argument out of its range.

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
        if not lr > 0:
            raise ValueError(f"lr must be positive, got {lr}")
        if not 0 <= alpha < 1:
            raise ValueError(f"alpha must be in [0, 1), got {alpha}")
        if not eps > 0:
            raise ValueError(f"eps must be positive, got {eps}")
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; `closure`, if given, recomputes the loss and its gradient first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads: list[Tensor] = [p.grad for p in params]
            # The group's state lives with its first parameter: torch stores state by parameter only.
            state = self.state[group["params"][0]]
            norms = torch._foreach_norm(grads)
            squared = (
                norms[0] ** 2
                if len(norms) == 1
                else torch.stack([n.to(norms[0]) for n in norms]).square().sum()
            )
            if not state:
                state["step"], state["square_avg"] = 0, torch.zeros_like(squared)
            state["step"] += 1
            state["square_avg"].mul_(group["alpha"]).add_(squared, alpha=1 - group["alpha"])
            average = state["square_avg"] / (1 - group["alpha"] ** state["step"])
            rate = (-group["lr"]) / (average.sqrt() + group["eps"])
            for p, grad in zip(params, grads, strict=True):
                p.addcmul_(grad, rate)
        return loss


_ALIASES: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
    "gd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "amsgrad": (torch.optim.Adam, {"amsgrad": True}),
    "grouprmsprop": (GroupRMSprop, {}),
    "signdescent": (SignDescent, {}),
    "normalizedgd": (NormalizedGD, {}),
    # torch's L-BFGS takes steps without a line search and stops by itself at a gradient of 1e-7, which for a
    # mean of
    # squares is far from converged. The loop decides when to stop.
    "lbfgs": (
        torch.optim.LBFGS,
        {"line_search_fn": "strong_wolfe", "tolerance_grad": 0.0, "tolerance_change": 0.0},
    ),
}

_REFUSED = {
    "sparseadam": "it takes sparse gradients only, and those of every problem here are dense; use Adam",
}

# One kernel for all entries of all parameters; the other optimizers have no such form on the CPU.
_FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad)


def _catalogue() -> dict[str, tuple[type[Optimizer], dict[str, Any]]]:
    """Every optimizer by its lower-case name, with the options that the name stands for."""
    classes: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
        name.lower(): (cls, {})
        for name, cls in vars(torch.optim).items()
        if inspect.isclass(cls) and issubclass(cls, Optimizer) and cls is not Optimizer
    }
    return {**{name: entry for name, entry in classes.items() if name not in _REFUSED}, **_ALIASES}


def optimizer_names() -> list[str]:
    """The names that `make_optimizer` knows, in lower case and sorted.

    Examples
    --------
    >>> from overt.training import optimizer_names
    >>> "adam" in optimizer_names(), "muon" in optimizer_names()
    (True, True)
    """
    return sorted(_catalogue())


def make_optimizer(name: str, params: Iterable[Tensor], lr: float | None = None, **options: Any) -> Optimizer:
    """An optimizer by its name.

    Parameters
    ----------
    name
        Any class of ``torch.optim`` in any case, or ``"gd"`` (SGD on the whole problem), ``"momentum"``
        (0.9), ``"amsgrad"``, ``"grouprmsprop"``, ``"signdescent"``, ``"normalizedgd"``. Muon is for matrices
        only. SparseAdam is refused.
    params
        The tensors to be trained.
    lr
        Learning rate, positive; None for the optimizer's own default.
    **options
        Passed on. What is not given keeps torch's default (thus AdamW's and Muon's weight decay are on),
        except that the fused kernel is used where there is one.

    Raises
    ------
    TypeError, ValueError
        An unknown name or option (the message lists the valid ones), a bad learning rate, nothing to train,
        parameters that the optimizer cannot take.

    Examples
    --------
    >>> import torch
    >>> from overt.training import make_optimizer
    >>> w = torch.nn.Parameter(torch.zeros(2, 2))
    >>> make_optimizer("RMSprop", [w], lr=1e-3, alpha=0.9).defaults["alpha"]
    0.9
    """
    if not isinstance(name, str):
        raise TypeError(
            f"optimizer must be a name, got {type(name).__name__}; known: {', '.join(optimizer_names())}"
        )
    key = name.lower()
    if key in _REFUSED:
        raise ValueError(f"optimizer {name!r} is not offered: {_REFUSED[key]}")
    if key not in _catalogue():
        raise ValueError(f"unknown optimizer {name!r}; known: {', '.join(optimizer_names())}")
    cls, preset = _catalogue()[key]
    tensors = list(params)
    _check_tensors(name, cls, tensors)
    arguments = {**preset, **_check_options(name, cls, options)}
    if lr is not None:
        arguments["lr"] = check_lr(lr)
    if issubclass(cls, _FUSED) and not {"foreach", "fused", "differentiable"} & set(arguments):
        arguments["fused"] = all(p.device.type in {"cpu", "cuda"} for p in tensors)
    try:
        return cls(tensors, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"optimizer {name!r} refuses its options {arguments}: {error}") from error


def set_lrs(optimizer: Optimizer, lrs: list[Any], factor: float, step: int) -> None:
    """Give each group its learning rate times `factor`; ValueError if that is negative or not finite."""
    if not 0 <= factor < math.inf:
        raise ValueError(f"lr_schedule must give a finite factor ≥ 0, but gave {factor} at step {step}")
    for group, lr in zip(optimizer.param_groups, lrs, strict=True):
        group["lr"] = lr * factor


def standstill(optimizer: Optimizer, since: int, step: int) -> tuple[str, str]:
    """What it means, as status and message, that no parameter moved: a minimum, or an overflow."""
    what = f"no parameter moved between the steps {since} and {step}"
    if _is_finite(optimizer):
        return "converged", what
    why = "but gradients or the optimizer's state became NaN or infinite; lower the penalty's weight"
    return "diverged", f"diverged at step {step}: {what}, {why}"


def _is_finite(optimizer: Optimizer) -> bool:
    """Whether all gradients and all that the optimizer keeps of them are finite."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    kept = [p.grad for p in params]
    for entries in optimizer.state.values():
        for value in entries.values():
            kept += value if isinstance(value, list) else [value]
    return all(bool(torch.isfinite(t).all()) for t in kept if isinstance(t, Tensor))


def check_lr(lr: object) -> float:
    """`lr` as a finite positive float."""
    if isinstance(lr, bool) or not isinstance(lr, numbers.Real):
        raise TypeError(f"lr must be a positive number, got {lr!r}")
    number = float(lr)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"lr must be finite and positive, got {lr}")
    return number


def _check_tensors(name: str, cls: type[Optimizer], tensors: list[Tensor]) -> None:
    if not tensors:
        raise ValueError("params is empty: the model has nothing to train")
    for p in tensors:
        if not isinstance(p, Tensor):
            raise TypeError(f"params must be tensors, got {type(p).__name__}")
        if not p.is_floating_point():
            raise TypeError(f"params must be real floating tensors, got {p.dtype}")
        if cls is torch.optim.Muon and p.ndim != 2:
            raise ValueError(
                f"optimizer {name!r} orthogonalizes matrices, but a parameter has shape {tuple(p.shape)}; "
                "use another optimizer, such as 'adam', for this model"
            )


def _check_options(name: str, cls: type[Optimizer], options: dict[str, Any]) -> dict[str, Any]:
    valid = [option for option in inspect.signature(cls).parameters if option not in {"params", "lr"}]
    unknown = sorted(set(options) - set(valid))
    if unknown:
        raise ValueError(
            f"optimizer {name!r} has no option {', '.join(unknown)}; it takes: {', '.join(valid)}"
        )
    return options

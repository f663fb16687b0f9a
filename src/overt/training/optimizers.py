"""Optimizers by name."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from overt._utils.checks import check_number, message
from overt._utils.tensors import is_finite
from overt.training.state import Status
from overt.training.update_rules import GroupRMSprop, NormalizedGD, SignDescent

_ALIASES: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
    "gd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "amsgrad": (torch.optim.Adam, {"amsgrad": True}),
    "grouprmsprop": (GroupRMSprop, {}),
    "signdescent": (SignDescent, {}),
    "normalizedgd": (NormalizedGD, {}),
    # torch's L-BFGS takes steps without a line search and stops by itself at a gradient of 1e-7, which for a
    # mean of squares is far from converged. The loop decides when to stop.
    "lbfgs": (
        torch.optim.LBFGS,
        {"line_search_fn": "strong_wolfe", "tolerance_grad": 0.0, "tolerance_change": 0.0},
    ),
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
    del classes["sparseadam"]
    return {**classes, **_ALIASES}


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
        The tensors to train.
    lr
        Learning rate, positive; None for the optimizer's own default.
    **options
        Passed on. The others keep torch's defaults (so the weight decay of AdamW and Muon is on), except that
        the fused kernel is used where there is one.

    Returns
    -------
    torch.optim.Optimizer

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
    catalogue = _catalogue()
    known = f"known: {', '.join(sorted(catalogue))}"
    if not isinstance(name, str):
        raise TypeError(message("optimizer", "a name", name, known))
    key = name.lower()
    if key == "sparseadam":
        raise ValueError(f"optimizer {name!r} is not offered: it takes sparse gradients only; use Adam")
    if key not in catalogue:
        raise ValueError(f"unknown optimizer {name!r}; {known}")
    cls, preset = catalogue[key]
    tensors = list(params)
    _check_tensors(name, cls, tensors)
    valid = [option for option in inspect.signature(cls).parameters if option not in {"params", "lr"}]
    if unknown := sorted(set(options) - set(valid)):
        unknown_names, valid_names = ", ".join(unknown), ", ".join(valid)
        raise ValueError(f"optimizer {name!r} has no option {unknown_names}; it takes: {valid_names}")
    arguments = {**preset, **options}
    if lr is not None:
        arguments["lr"] = check_number(lr, "lr", above=0)
    if issubclass(cls, _FUSED) and not {"foreach", "fused", "differentiable"} & set(arguments):
        arguments["fused"] = all(p.device.type in {"cpu", "cuda"} for p in tensors)
    try:
        return cls(tensors, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"optimizer {name!r} refuses its options {arguments}: {error}") from error


def set_lrs(optimizer: Optimizer, lrs: list[Any], factor: float, step: int) -> None:
    """Give each group its learning rate times `factor`, a number ≥ 0."""
    factor = check_number(factor, f"lr_schedule({step})", least=0)
    for group, lr in zip(optimizer.param_groups, lrs, strict=True):
        group["lr"] = lr * factor


def standstill(optimizer: Optimizer, since: int, step: int) -> tuple[Status, str]:
    """Status and message of a run whose parameters did not move: a minimum, or an overflow."""
    what = f"no parameter moved between the steps {since} and {step}"
    kept: list[object] = [p.grad for group in optimizer.param_groups for p in group["params"]]
    for entries in optimizer.state.values():
        for value in entries.values():
            kept += value if isinstance(value, list) else [value]
    if all(is_finite(t) for t in kept if isinstance(t, Tensor)):
        return "converged", what
    why = "but gradients or the optimizer's state became NaN or infinite; lower the penalty's weight"
    return "diverged", f"diverged at step {step}: {what}, {why}"


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

"""What all penalties of this room have in common."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from overt._utils.checks import check_number, optional
from overt.networks.modules import check_module


class Penalty(nn.Module):
    """A scalar that is added to a training loss; the model it watches is held, not owned.

    The model is no submodule of the penalty, so that its parameters are listed once, by the model, and moving
    the penalty to a device leaves the model alone. A ``copy.deepcopy`` of the penalty watches the same model,
    unless the model, or a part of it, was copied before in the same call, as in ``deepcopy((model,
    penalty))`` or a module that holds both in this order: then the copy watches the copied model.

    Parameters
    ----------
    model
        Whose parameters are penalized.
    weight
        Finite number ≥ 0; may be set at any time, see `weight`.

    Raises
    ------
    TypeError, ValueError
        `model` is no ``torch.nn.Module``, or has lazy parameters that are not initialized yet; `weight` is no
        number, negative, NaN or infinite.
    """

    def __init__(self, model: nn.Module, weight: float) -> None:
        super().__init__()
        check_module(model)
        if any(is_lazy(p) for p in model.parameters()):
            raise ValueError(
                f"model: parameters of {type(model).__name__} are uninitialized (a lazy layer such as "
                "LazyLinear); run one forward pass first"
            )
        # In a tuple, which nn.Module does not register.
        self._held = (model,)
        self.weight = weight

    def __deepcopy__(self, memo: dict[int, Any]) -> Penalty:
        held = [*self.model.modules(), *self.model.parameters(), *self.model.buffers()]
        kept = {} if any(id(part) in memo for part in held) else {id(part): part for part in held}
        twin = memo[id(self)] = type(self).__new__(type(self))
        memo.update(kept)
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        for key in kept:  # what else is copied in this call may hold the model, too
            del memo[key]
        return twin

    @property
    def model(self) -> nn.Module:
        """The model whose parameters are penalized."""
        return self._held[0]

    @property
    def weight(self) -> float:
        """Factor of the penalty; setting it to 0 switches the penalty off, at no cost a step."""
        return self._weight

    @weight.setter
    def weight(self, value: float) -> None:
        self._weight = check_number(value, "weight", least=0, remedy="0 switches the penalty off")

    def value(self, product: Tensor | None = None) -> Tensor:
        """The penalty without its weight, a 0-d tensor.

        Parameters
        ----------
        product
            The model's end-to-end tensor if the caller has it already, so that it is not computed twice.
            Penalties that look at something else ignore it.
        """
        raise NotImplementedError

    def penalty(self, product: Tensor | None = None) -> Tensor:
        """weight × value, a 0-d tensor to be added to the loss. See `value` for `product`."""
        if self._weight == 0.0:
            return self._zero()
        return self._weight * self.value(product)

    def forward(self, product: Tensor | None = None) -> Tensor:
        """The same as `penalty`."""
        return self.penalty(product)

    def reset(self) -> None:
        """Forget what is kept from one call to the next: another run begins. Here nothing is kept."""

    def describe(self) -> dict[str, Any]:
        """The settings as plain data, from which a stored run can be told apart from another."""
        return {"penalty": type(self).__name__, "weight": self._weight}

    def _zero(self) -> Tensor:
        # Not of the parameter itself: those that processes share would give a shared zero, which cannot be
        # added to the loss of one process.
        like = next(self.model.parameters(), torch.empty(0))
        return torch.zeros((), dtype=like.dtype, device=like.device)

    def extra_repr(self) -> str:
        settings = {**self.describe(), "model": type(self.model).__name__}
        del settings["penalty"]
        return ", ".join(f"{name}={value!r}" for name, value in settings.items())


def check_norm_guard(value: object, name: str) -> float | None:
    """`value` as a finite positive float, or None: a cap on a norm, or its floor."""
    return optional(check_number, value, name, above=0)

"""The end-to-end linear map of a model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from overt.linalg.decompositions import full_precision
from overt.linalg.spectrum import widen
from overt.networks.distributed import computed, whole


def product_of(model: nn.Module) -> Callable[[], Tensor]:
    """A function that computes the model's end-to-end tensor from its present parameters, differentiably.

    Parameters
    ----------
    model
        A module with a method ``product()``, or an ``nn.Linear``, or an ``nn.Sequential`` of them (identities
        between them are passed over; biases shift the output and are no part of the linear map).

    Raises
    ------
    ValueError
        The model has no single linear map that could be read off its weights.

    Examples
    --------
    >>> import torch
    >>> from overt.penalties import product_of
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3, bias=False), torch.nn.Linear(3, 2, bias=False))
    >>> x = torch.randn(5, 4)
    >>> torch.allclose(model(x), x @ product_of(model)().T, atol=1e-6)
    True
    """
    product = getattr(model, "product", None)
    if callable(product):
        return cast(Callable[[], Tensor], product)
    _chained(model)
    # With the model itself and not its layers, so that a copy follows the copied model, a layer that is
    # replaced later counts, and all can be pickled.
    return partial(_multiplied, model)


def end_to_end(model: nn.Module) -> Tensor:
    """The model's present end-to-end tensor, see `product_of`, for a penalty.

    Autocast does not reach it, half-precision layers are multiplied in float32, and weights that processes
    share are gathered first.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with full_precision(device):
        product = getattr(model, "product", None)
        if callable(product):
            return widen(whole(computed(model, cast(Callable[[], Tensor], product))))
        return _multiplied(model, wide=True)


def _multiplied(model: nn.Module, *, wide: bool = False) -> Tensor:
    weights = [layer.weight for layer in _chained(model)]
    if wide:
        weights = [widen(whole(W)) for W in weights]
    # In the order of application, W_N … W_1.
    return weights[0] if len(weights) == 1 else torch.linalg.multi_dot(weights[::-1])


def _chained(model: nn.Module) -> list[nn.Linear]:
    """The linear layers of a model that is made of nothing else; ValueError for any other."""
    layers = list(model) if isinstance(model, nn.Sequential) else [model]
    chained = [layer for layer in layers if not isinstance(layer, nn.Identity)]
    linear = [layer for layer in chained if isinstance(layer, nn.Linear)]
    if not linear or len(linear) < len(chained):
        raise ValueError(
            f"{type(model).__name__} has no end-to-end matrix: it needs a method product(), or must be an "
            "nn.Sequential of nn.Linear layers with nothing between them"
        )
    return linear

"""What a spectral penalty refuses when it is made, so that it is said there and not in training."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from overt.linalg import Factored
from overt.networks.adapters import adapters_of
from overt.networks.penalty_weights import matrices_of, owners_of_adapter
from overt.networks.selection import unmatched
from overt.penalties.functionals import SCALE_INVARIANT
from overt.penalties.layers import Layer, layers_of

if TYPE_CHECKING:
    from overt.penalties.spectral import SpectralPenalty

__all__ = ["check_model", "check_settings"]


def check_settings(penalty: SpectralPenalty) -> None:
    """Refuse arguments that do not go together.

    Raises
    ------
    ValueError
        See the message.
    """
    functional = penalty.functional
    for name in ("norm_cap", "norm_floor"):
        guarded = getattr(penalty, name) is not None
        if guarded and isinstance(functional, str) and functional not in SCALE_INVARIANT:
            raise ValueError(
                f"{name} is for scale-invariant functionals ({', '.join(sorted(SCALE_INVARIANT))}); "
                f"{functional!r} grows with the matrix by itself, leave {name} out"
            )
    if penalty.conv == "operator" and callable(functional):
        raise ValueError("conv='operator' needs a functional of overt.functional by name, got a callable")
    if penalty.method == "gram" and penalty.precision == "bfloat16":
        raise ValueError(
            "precision='bfloat16' is for the polar iteration: a Gram matrix in it would lose all but the "
            "largest singular values; choose 'float32' or 'float64', or leave precision out"
        )
    given = {
        "layers": penalty.layers is not None,
        "layer_weights": bool(penalty.layer_weights),
        "conv": penalty.conv != "kernel",
    }
    if penalty.of == "product" and any(given.values()):
        names = ", ".join(name for name, there in given.items() if there)
        raise ValueError(
            f"of='product' penalizes one end-to-end matrix, there are no layers to choose: leave {names} out"
        )


def check_model(penalty: SpectralPenalty) -> None:
    """Refuse a model with nothing to penalize, and selectors that mean nothing; warn of a frozen selection.

    Raises
    ------
    TypeError, ValueError
        See the message.
    """
    if penalty.of == "weights":
        _check_names(penalty)
    with torch.no_grad():
        layers = penalty.penalized()
    if not layers:
        raise ValueError(_nothing(penalty))
    if penalty.of == "product":
        W = layers[0].tensors[0]
        if W.ndim != 2:
            raise ValueError(
                f"model.product() has shape {tuple(W.shape)}, not (m, n); use VectorPenalty for a vector"
            )
        if W.numel() == 0:
            raise ValueError(f"the end-to-end matrix is empty, of shape {tuple(W.shape)}")
    elif not any(layer.moves for layer in layers) and any(
        p.requires_grad for p in penalty.model.parameters()
    ):
        warnings.warn(
            f"all {len(layers)} matrices that the penalty selects are frozen, so that it has no gradient, "
            "while other parameters of the model are trained; select those with layers=",
            UserWarning,
            stacklevel=3,
        )
    if callable(penalty.functional):
        _check_callable(penalty, layers[0])


def _check_names(penalty: SpectralPenalty) -> None:
    """Refuse names of layers that there are not."""
    owners = [owners_of_adapter(adapter) for adapter in adapters_of(penalty.model)]
    owners += [matrix.owners for matrix in matrices_of(penalty.model)]
    for argument, selectors in (("layers", penalty.layers or ()), ("layer_weights", penalty.layer_weights)):
        unknown = unmatched(selectors, owners)
        if unknown and owners:
            known = [of_one[0][0] for of_one in owners]
            listed = ", ".join(known[:8]) + (f" and {len(known) - 8} more" if len(known) > 8 else "")
            raise ValueError(
                f"{argument}: {', '.join(map(repr, unknown))} is no name or pattern of a matrix of "
                f"{type(penalty.model).__name__}; it has {listed}"
            )


def _nothing(penalty: SpectralPenalty) -> str:
    """Why there is nothing to penalize."""
    with torch.no_grad():
        if penalty.layer_weights and layers_of(penalty.model, penalty.layers, {}):
            return "layer_weights leave nothing to penalize: the weight of each selected layer is 0"
    among = "" if penalty.layers is None else f" among layers={list(penalty.layers)}"
    return f"{type(penalty.model).__name__} has no parameter with two or more dimensions to penalize{among}"


def _check_callable(penalty: SpectralPenalty, layer: Layer) -> None:
    """Evaluate it once."""
    with torch.no_grad():
        W = layer.matrix()
        function = cast("object", penalty.functional)
        assert callable(function)
        value: object = function(W.dense() if isinstance(W, Factored) else W.detach())
    if not isinstance(value, Tensor) or value.ndim != 0:
        shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
        raise TypeError(
            "functional must return a 0-d tensor for a matrix (m, n), but it returned a "
            f"{type(value).__name__}{shape}"
        )

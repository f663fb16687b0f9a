"""What a spectral penalty refuses when it is made, so that it is said there and not in training."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from overt.networks.adapters import check_read
from overt.networks.selection import Selector, passed_over, unmatched
from overt.networks.weights import weights_of
from overt.penalties.functionals import SCALE_INVARIANT, Functional
from overt.penalties.layers import Layer, layers_of


def check_settings(
    functional: Functional,
    *,
    of: str,
    method: str,
    conv: str,
    precision: str | None,
    norm_guards: Mapping[str, float | None],
    selectors: Mapping[str, object],
) -> None:
    """Refuse arguments that do not go together.

    Parameters
    ----------
    norm_guards, selectors
        By the names of the arguments; a selector that is empty or None was not given.

    Raises
    ------
    ValueError
        See the message.
    """
    for name, guard in norm_guards.items():
        if guard is not None and functional.named and functional.name not in SCALE_INVARIANT:
            raise ValueError(
                f"{name} is for scale-invariant functionals ({', '.join(sorted(SCALE_INVARIANT))}); "
                f"{functional.name!r} grows with the matrix by itself, leave {name} out"
            )
    if conv == "operator" and not functional.named:
        raise ValueError("conv='operator' needs a functional of overt.functional by name, got a callable")
    if method == "gram" and precision == "bfloat16":
        raise ValueError(
            "precision='bfloat16' is for the polar iteration: a Gram matrix in it would lose all but the "
            "largest singular values; choose 'float32' or 'float64', or leave precision out"
        )
    given = [name for name, value in selectors.items() if value]
    if conv != "kernel":
        given.append("conv")
    if of == "product" and given:
        raise ValueError(
            "of='product' penalizes one end-to-end matrix, there are no layers to choose: "
            f"leave {', '.join(given)} out"
        )


def check_layers(
    layers: Sequence[Layer],
    model: nn.Module,
    functional: Functional,
    select: Sequence[Selector] | None,
    weights: Mapping[Selector, float],
) -> None:
    """Refuse a model with nothing to penalize; warn of a selection that is frozen.

    Raises
    ------
    TypeError, ValueError
        See the message.
    """
    if not layers:
        raise ValueError(_nothing(model, select, weights))
    first = layers[0]
    if not first.parameters:  # the end-to-end matrix
        W = first.tensors[0]
        if W.ndim != 2:
            raise ValueError(
                f"model.product() has shape {tuple(W.shape)}, not (m, n); use VectorPenalty for a vector"
            )
        if W.numel() == 0:
            raise ValueError(f"the end-to-end matrix is empty, of shape {tuple(W.shape)}")
    elif not any(layer.moves for layer in layers) and any(p.requires_grad for p in model.parameters()):
        warnings.warn(
            f"all {len(layers)} matrices that the penalty selects are frozen, so that it has no gradient, "
            "while other parameters of the model are trained; select those with layers=",
            UserWarning,
            stacklevel=3,
        )
    if not functional.named:
        _check_scalar(functional, first)


def check_names(model: nn.Module, **selectors: Sequence[Selector] | Mapping[Selector, float] | None) -> None:
    """Refuse names of layers that there are not, in arguments of these names.

    And patterns for what is to be penalized that match only what a pattern does not select.
    """
    if selectors.get("layers") is None:
        check_read(model, "select what is to be penalized by layers=")
    weights = weights_of(model)
    matrices = [(weight.owners, weight.role) for weight in weights]
    matrices += [(weight.member_owners(), weight.role) for weight in weights]
    for argument, given in selectors.items():
        unknown = unmatched(given or (), matrices)
        if unknown and weights:
            raise ValueError(
                f"{argument}: {', '.join(map(repr, unknown))} is no name or pattern of a matrix of "
                f"{type(model).__name__}; it has {_listed(weight.name for weight in weights)}"
            )
        idle = passed_over(given or (), matrices) if argument == "layers" else []
        if idle and weights:
            raise ValueError(
                f"{argument}: {', '.join(map(repr, idle))} matches only embeddings, heads or tables, which "
                "no pattern selects; give their full names, or 'embeddings' or 'heads'"
            )


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    return ", ".join(known[:8]) + (f" and {len(known) - 8} more" if len(known) > 8 else "")


def _nothing(model: nn.Module, select: Sequence[Selector] | None, weights: Mapping[Selector, float]) -> str:
    """Why there is nothing to penalize."""
    with torch.no_grad():
        if weights and layers_of(model, select, {}):
            return "layer_weights leave nothing to penalize: the weight of each selected layer is 0"
    left = [weight.name for weight in weights_of(model) if weight.role in ("embedding", "head", "table")]
    if select is None and left:
        return (
            f"{type(model).__name__} has nothing to penalize but embeddings, heads or tables; name those "
            f"that are meant by layers=: it has {_listed(left)}"
        )
    among = "" if select is None else f" among layers={list(select)}"
    return f"{type(model).__name__} has no parameter with two or more dimensions to penalize{among}"


def _check_scalar(functional: Functional, layer: Layer) -> None:
    """Evaluate it once."""
    with torch.no_grad():
        W = layer.dense()
        value: object = functional.of_matrix(W.detach())
    if not isinstance(value, Tensor) or value.ndim != 0:
        shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
        raise TypeError(
            "functional must return a 0-d tensor for a matrix (m, n), but it returned a "
            f"{type(value).__name__}{shape}"
        )

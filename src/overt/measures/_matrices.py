"""The weights of a model as matrices, one for each layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

__all__ = ["CONVOLUTIONS", "TRANSPOSED", "Convolution", "Weight", "weights_of"]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


@dataclass(frozen=True)
class Weight:
    """One weight of a model, as a matrix or as several that act side by side.

    Attributes
    ----------
    name
        As in ``model.named_parameters()``; of a parametrized weight, the name of the module and the weight.
    matrix
        Detached, of shape (groups, m, n): a kernel (out, in/groups, …) is (groups, out/groups, in/groups·…),
        and everything else has one group. The operator on one position is the block diagonal of the groups.
    module
        Where the weight is held.
    """

    name: str
    matrix: Tensor
    module: nn.Module


def weights_of(model: nn.Module) -> Iterator[Weight]:
    """Each weight of two or more dimensions, once; parametrized weights as they act.

    Raises
    ------
    ValueError
        A parameter is not initialized yet.
    """
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        if isinstance(module, nn.utils.parametrize.ParametrizationList):
            continue
        for name, weight, identity in _weights_in(module):
            if identity in seen:
                continue
            seen.add(identity)
            full = f"{prefix}.{name}" if prefix else name
            if is_lazy(weight):
                raise ValueError(
                    f"model: {full} is not initialized (a lazy layer); run one forward pass first"
                )
            if weight.ndim >= 2 and weight.is_floating_point():
                yield Weight(full, _as_matrices(module, weight.detach()), module)


def _weights_in(module: nn.Module) -> Iterator[tuple[str, Tensor, int]]:
    if nn.utils.parametrize.is_parametrized(module):
        held = module.parametrizations
        assert isinstance(held, nn.ModuleDict)
        for name in held:
            with torch.no_grad():
                yield name, getattr(module, name), id(held[name])
    for name, parameter in module._parameters.items():
        if parameter is not None:
            yield name, parameter, id(parameter)


def _as_matrices(module: nn.Module, weight: Tensor) -> Tensor:
    groups = int(module.groups) if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)) else 1
    # A transposed convolution holds (in, out/groups, …): its groups lie along the first dimension as well.
    rows = weight.flatten(1)
    return rows.reshape(groups, -1, rows.shape[1])

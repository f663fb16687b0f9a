"""The weights of a model as matrices, one for each layer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from overt.networks.guard import untouched

__all__ = ["CONVOLUTIONS", "TRANSPOSED", "Convolution", "Weight", "acting", "weights_of"]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


@dataclass(frozen=True)
class Weight:
    """One weight of a model, as a matrix or as several that act side by side.

    Attributes
    ----------
    name
        As in ``model.named_parameters()``; of a weight that is computed from other parameters, the name of
        the module and the weight.
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
    """Each weight of two or more dimensions, once and as it acts, see `acting`.

    Raises
    ------
    ValueError
        A parameter is not initialized yet.
    """
    seen: set[Hashable] = set()
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


def acting(module: nn.Module, name: str) -> Tensor:
    """A weight of a module, detached, as it acts in evaluation. The module is left as it is.

    That is the weight after its parametrization, or after the forward pre-hook that ``torch.nn.utils`` has
    put on it (weight and spectral normalization in their older form, pruning). Such a hook sets the attribute
    in each forward pass, so that the attribute is out of date once an optimizer has made a step.
    """
    parameter = module._parameters.get(name)
    if parameter is not None:
        return parameter.detach()
    compute = _hooked(module).get(name)
    with untouched(module), torch.no_grad():
        weight: Tensor = getattr(module, name) if compute is None else compute(module)
        return weight.detach()


def _hooked(module: nn.Module) -> dict[str, Callable[[nn.Module], Tensor]]:
    """How the hooks of ``torch.nn.utils`` compute the weights of a module, by the names of the weights."""
    found: dict[str, Callable[[nn.Module], Tensor]] = {}
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            found[hook.name] = hook.compute_weight
        elif isinstance(hook, SpectralNorm):
            found[hook.name] = partial(hook.compute_weight, do_power_iteration=False)
        elif isinstance(hook, BasePruningMethod):
            found[hook._tensor_name] = hook.apply_mask
    return found


def _weights_in(module: nn.Module) -> Iterator[tuple[str, Tensor, Hashable]]:
    """Name and weight of all that a module holds itself, and what is the same for tied weights."""
    if nn.utils.parametrize.is_parametrized(module):
        held = module.parametrizations
        assert isinstance(held, nn.ModuleDict)
        for name in held:
            yield name, acting(module, name), id(held[name])
    hooked = _hooked(module)
    for name in hooked:
        yield name, acting(module, name), (id(module), name)
    sources = {f"{name}{suffix}" for name in hooked for suffix in ("_orig", "_g", "_v")}
    for name, parameter in module._parameters.items():
        if parameter is not None and name not in sources:
            yield name, parameter, id(parameter)


def _as_matrices(module: nn.Module, weight: Tensor) -> Tensor:
    groups = int(module.groups) if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)) else 1
    # A transposed convolution holds (in, out/groups, …): its groups lie along the first dimension as well.
    rows = weight.flatten(1)
    return rows.reshape(groups, -1, rows.shape[1])

"""The weights of a model as they act: the one place that says which matrices a network has.

Measures and penalties both read a model's weights here, so that what is measured is what is penalized. What a
parameter is follows from what the module that holds it does with it; see `overt.networks.kinds`.

- A parameter of two dimensions is a matrix.
- The kernel (out, in/groups, k_1, …) of a convolution is, for each group, the matrix
  (out/groups, in/groups·k_1·…): what one output position does to its patch is their block diagonal. A
  transposed convolution holds (in, out/groups, …), whose groups lie along the first dimension as well.
- A parameter of three dimensions (E, m, n) is a batch of E matrices, such as the experts of a mixture. Gates
  of recurrent layers, the packed projections of attention and of gated experts are several matrices, too.
- One of more dimensions is taken for a kernel, one with a single dimension above 1 for a vector.
- Embeddings and heads are matrices, but a penalty leaves them out unless it is asked. So it does with tables:
  what is used entry by entry or as vectors (scales of a normalization, depthwise kernels, class tokens and
  positions, the logarithms in a state space), which measures leave out as well.
- A weight that is computed (``torch.nn.utils.parametrizations``, the older weight and spectral
  normalization, pruning) counts as its layer uses it in evaluation; what it is computed from does not.
- A low-rank adapter is one matrix, what it adds to that of its layer; see `overt.networks.adapters`.
- A weight that is shared counts once, and answers to each of its names; but not where one layer uses it
  as it is and another computes its own from it, say by pruning.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils.parametrize import is_parametrized

from overt.linalg import Factored
from overt.networks.adapters import Adapter, adapters_of, factors_of
from overt.networks.distributed import computed, whole
from overt.networks.guard import evaluated, untouched
from overt.networks.kinds import (
    CONVOLUTIONS,
    EMBEDDINGS,
    TRANSPOSED,
    Convolution,
    Layout,
    Role,
    heads_of,
    is_table,
    layout_of,
)
from overt.networks.modules import check_module, named_modules
from overt.networks.selection import Owners


@dataclass(frozen=True, eq=False)
class Weight:
    """One weight of a model: a matrix, several that act side by side, a batch of them, or an adapter.

    Attributes
    ----------
    owners
        Every name of it, with the module that holds it under that name; the first is the one to report.
    attribute : str
        Its name in the first module.
    parameters : tuple of Tensor
        What it is made of: itself, or what it is computed from.
    compute : callable
        The tensor as the layer uses it, with its graph; of an adapter its matrix.
    adapter : Adapter or None
    role
        What it is for in the model.
    """

    owners: Owners
    attribute: str
    parameters: tuple[Tensor, ...]
    compute: Callable[[], Tensor | Factored]
    adapter: Adapter | None = None
    role: Role = "matrix"

    @property
    def name(self) -> str:
        """As in ``model.named_parameters()``; of a computed weight that of the module and the weight."""
        return self.owners[0][0]

    @property
    def held(self) -> Tensor | None:
        """The parameter that it is; None if it is computed from others."""
        p = self.owners[0][1]._parameters.get(self.attribute)
        return p if p is not None and p is self.parameters[0] else None

    @property
    def convolution(self) -> Convolution | None:
        """The convolution whose kernel it is, if it is one."""
        if self.adapter is not None:
            return None
        kinds = (*CONVOLUTIONS, *TRANSPOSED)
        # By each of its names: another module may hold the kernel first, under a name of its own.
        held = (module for name, module in self.owners if name.rpartition(".")[2] == "weight")
        return next((module for module in held if isinstance(module, kinds)), None)

    @property
    def groups(self) -> int:
        """Number of matrices that act side by side."""
        return 1 if self.convolution is None else int(self.convolution.groups)

    def layout(self, ndim: int) -> Layout | None:
        """How several matrices lie in it, as a tensor of so many dimensions; None if it is one."""
        if self.adapter is not None or self.convolution is not None:
            return None
        for name, module in self.owners:
            layout = layout_of(module, name.rpartition(".")[2], ndim)
            if layout is not None:
                return layout
        return None

    def member_owners(self, member: tuple[int, ...] | None = None) -> Owners:
        """As `owners`, of one of the matrices that a parameter holds, or of all; else nothing.

        An adapter of experts answers to the name of the adapter as well.
        """
        if self.adapter is not None:
            several = self.adapter.common != self.name
            return tuple((self.adapter.common, module) for _, module in self.owners if several)
        layout = None if self.held is None else self.layout(self.held.ndim)
        if layout is None or self.held is None:
            return ()
        shape = layout(torch.empty(self.held.shape, device="meta")).shape
        members = _members(shape) if member is None else (member,)
        return tuple((_numbered(name, i), module) for name, module in self.owners for i in members)

    def tensor(self) -> Tensor | Factored:
        """Detached, whole, as it acts in evaluation; the model is left as it is."""
        check_readable(self)
        if self.held is not None:
            return readable(whole(self.held.detach()))
        with torch.no_grad(), untouched(self.owners[0][1], "as is"):
            if self.adapter is None:
                return computed(self.owners[0][1], cast(Callable[[], Tensor], self.compute)).detach()
            W = self.adapter.matrix(whole)
            return Factored(W.U.detach(), W.V.detach()) if isinstance(W, Factored) else W.detach()

    def parts(self, W: Tensor) -> list[tuple[str, tuple[int, ...], Tensor]]:
        """The matrices in a dense tensor, each with its name and its place in the layout, in its own shape.

        One alone, at place (), unless the tensor holds several. Nothing for a vector in the shape of a
        matrix, and for an empty tensor.
        """
        if W.ndim < 2 or W.numel() == 0 or not W.is_floating_point():
            return []
        layout = self.layout(W.ndim)
        if W.ndim > 2 and self.convolution is None and W.numel() == max(W.shape):
            return []
        if layout is None:
            return [(self.name, (), W)]
        held = layout(W)
        if held.shape[:-2].numel() == 1:
            return [(self.name, (0,) * (held.ndim - 2), held.reshape(held.shape[-2:]))]
        return [(_numbered(self.name, i), i, held[i]) for i in _members(held.shape)]

    def blocks(self, part: Tensor) -> Tensor:
        """One of the `parts` as matrices that act side by side, shape (groups, m, n)."""
        return part.reshape(self.groups, -1, part.shape[1:].numel())


def weights_of(model: nn.Module) -> list[Weight]:
    """Each adapter of a model, and each weight of two or more dimensions, shared ones once.

    Raises
    ------
    TypeError, ValueError
        `model` is no module; a parameter is not initialized yet.
    """
    model = check_module(model)
    adapters = adapters_of(model)
    found: dict[Hashable, Weight] = {a.name: _of_adapter(a) for a in adapters}
    factors = factors_of(model) | {id(p) for a in adapters for p in a.parameters}
    for key, weight in _each(model):
        if not factors.isdisjoint(map(id, weight.parameters)):
            continue
        first = found.get(key)
        found[key] = weight if first is None else replace(first, owners=(*first.owners, *weight.owners))
    heads = heads_of(model)
    return [w if w.adapter is not None else replace(w, role=_role(w, heads)) for w in found.values()]


def check_readable(weight: Weight) -> None:
    """ValueError for a weight whose numbers are not here."""
    if any(p.is_meta for p in weight.parameters):
        raise ValueError(
            f"model: {weight.name} is on the meta device and has no values here (offloaded, or not loaded "
            "yet); load the model onto one device first"
        )


def is_quantized(W: Tensor) -> bool:
    """Whether a tensor holds whole numbers, or a kind of its own that stands for others."""
    return not W.is_floating_point() or type(W).dequantize is not Tensor.dequantize


def readable(W: Tensor) -> Tensor:
    """A tensor of a quantized kind that poses as a floating-point one, as the numbers that it stands for."""
    return W.dequantize() if W.is_floating_point() and is_quantized(W) else W


def _role(weight: Weight, heads: Collection[int]) -> Role:
    if any(isinstance(module, EMBEDDINGS) for _, module in weight.owners):
        return "embedding"
    if any(id(module) in heads for _, module in weight.owners):
        return "head"
    convolution = weight.convolution
    shape = None if weight.held is None else weight.held.shape
    owners = weight.owners if convolution is None else (("weight", convolution),)
    tables = all(is_table(module, name.rpartition(".")[2], shape) for name, module in owners)
    return "table" if tables else "matrix"


def _members(shape: torch.Size) -> list[tuple[int, ...]]:
    return list(product(*map(range, shape[:-2])))


def _numbered(name: str, member: tuple[int, ...]) -> str:
    return f"{name}[{','.join(map(str, member))}]"


def acting(module: nn.Module, name: str) -> Tensor:
    """A weight of a module, detached, as it acts in evaluation. The module is left as it is.

    That is the weight after its parametrization, or after the forward pre-hook that ``torch.nn.utils`` has
    put on it (weight and spectral normalization in their older form, pruning). Such a hook sets the attribute
    in each forward pass, so that the attribute is out of date once an optimizer has made a step.
    """
    for _, weight in _held_by(module, ""):
        if weight.attribute == name:
            return cast(Tensor, weight.tensor())
    found: Tensor = getattr(module, name)
    return found.detach()


def _of_adapter(adapter: Adapter) -> Weight:
    # The layer that it adapts has the familiar type.
    base = getattr(adapter.module, "base_layer", None)
    modules = (adapter.module, base) if isinstance(base, nn.Module) else (adapter.module,)
    owners = tuple((adapter.name, module) for module in modules)
    return Weight(owners, "", adapter.parameters, adapter.matrix, adapter, "adapter")


def _each(model: nn.Module) -> Iterator[tuple[Hashable, Weight]]:
    inside: set[int] = set()
    for prefix, module in named_modules(model):
        if id(module) in inside:
            continue
        if "parametrizations" in module._modules and is_parametrized(module):
            inside.update(id(part) for part in cast(nn.ModuleDict, module.parametrizations).modules())
        yield from _held_by(module, f"{prefix}." if prefix else "")


def _held_by(module: nn.Module, path: str) -> Iterator[tuple[Hashable, Weight]]:
    """The weights that a module holds itself, each with what is the same for shared ones."""
    hooked = _hooked(module)
    sources = {id(p) for parameters, _ in hooked.values() for p in parameters}
    for name, p in module._parameters.items():
        if p is None:
            continue
        if isinstance(p, UninitializedParameter):
            raise ValueError(
                f"model: {path}{name} is not initialized (a lazy layer); run one forward pass first"
            )
        if p.ndim >= 2 and id(p) not in sources:
            yield (id(p),), Weight(((f"{path}{name}", module),), name, (p,), partial(getattr, module, name))
    for name, (parameters, compute) in hooked.items():
        mask = getattr(module, f"{name}_mask", None)  # of pruning: other masks are other matrices
        key = (*map(id, parameters), "hooked", id(mask)) if parameters else (id(module), name)
        yield key, Weight(((f"{path}{name}", module),), name, parameters, compute)
    if "parametrizations" in module._modules and is_parametrized(module):
        for name, chain in cast(nn.ModuleDict, module.parametrizations).items():
            parameters = tuple(chain.parameters())
            kinds = tuple(type(part) for part in cast(nn.ModuleList, chain))
            key = (*map(id, parameters), *kinds) if parameters else (id(chain),)
            compute = partial(_parametrized, module, name)
            yield key, Weight(((f"{path}{name}", module),), name, parameters, compute)


def _parametrized(module: nn.Module, name: str) -> Tensor:
    """The tensor, its parametrization in evaluation mode: spectral normalization would go on iterating."""
    with evaluated(cast(Any, module.parametrizations)[name]):
        return cast(Tensor, getattr(module, name))


def _hooked(module: nn.Module) -> dict[str, tuple[tuple[Tensor, ...], Callable[[], Tensor]]]:
    """What the hooks of ``torch.nn.utils`` compute before each forward pass, by the names of the weights."""
    found: dict[str, tuple[tuple[Tensor, ...], Callable[[], Tensor]]] = {}
    for hook in cast(Any, module)._forward_pre_hooks.values():
        if hasattr(hook, "compute_weight"):
            # Spectral normalization makes no step of its power iteration unless it is asked to.
            name, compute = hook.name, partial(hook.compute_weight, module)
            if hasattr(hook, "n_power_iterations"):
                compute = partial(compute, do_power_iteration=False)
        elif hasattr(hook, "apply_mask"):
            name, compute = hook._tensor_name, partial(hook.apply_mask, module)
        else:
            continue
        known = module._parameters
        parameters = tuple(p for end in ("orig", "g", "v") if (p := known.get(f"{name}_{end}")) is not None)
        found[name] = (parameters, compute)
    return found

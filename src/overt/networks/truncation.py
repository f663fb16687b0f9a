"""Low-rank adapters at the rank that they use: thinner factors, and a configuration that can load them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from overt._utils.checks import check_number
from overt.linalg import Factored, singular_values, svd
from overt.linalg.spectrum import widen
from overt.networks.adapters import Adapter, adapters_of, check_read
from overt.networks.weights import readable


def truncate_adapters(
    model: nn.Module, tolerance: float = 1e-2, *, base_tolerance: float = 0.0
) -> dict[str, int]:
    """Cut what a penalty has made superfluous: singular values of B A that are small, and their columns.

    A singular value is cut if it is at most tolerance · σ₁, σ₁ being the largest of the adapter, or at most
    base_tolerance · σ₁ of the matrix that is adapted. What has nothing to cut stays bit for bit as it is.
    Otherwise factors become thinner and are balanced: √σ goes to A and √σ to B. An adapter of which nothing
    is left keeps one rank, with B = 0, for PEFT has no rank 0. The experts of a mixture share a rank, the
    largest of theirs.

    With PEFT the ranks are written into the configuration, so that ``save_pretrained`` and
    ``from_pretrained`` work. Thinner factors are new parameters: make a new optimizer.

    Parameters
    ----------
    model
        Changed in place.
    tolerance, base_tolerance
        In [0, 1).

    Returns
    -------
    dict
        The rank of each adapter.

    Raises
    ------
    TypeError, ValueError
        A tolerance out of its range; an adapter that is merged into its layer, which would keep what is cut;
        one that is no product of two factors (AdaLoRA, LoHa, LoKr) or adds
        no matrix at all.

    Examples
    --------
    >>> import torch
    >>> from overt.penalties import truncate_adapters
    >>> layer = torch.nn.Module()
    >>> layer.lora_A, layer.lora_B = (torch.nn.Parameter(torch.diag(torch.tensor([3.0, 0.01])))
    ...                               for _ in range(2))
    >>> truncate_adapters(layer), layer.lora_A.shape
    ({'': 1}, torch.Size([1, 2]))
    """
    tolerance = check_number(tolerance, "tolerance", least=0, below=1)
    base_tolerance = check_number(base_tolerance, "base_tolerance", least=0, below=1)
    check_read(model, "there is nothing to truncate in them")
    adapters = adapters_of(model)
    for adapter in adapters:
        _check(adapter)
    ranks: dict[str, int] = {}
    with torch.no_grad():
        for group in _by_factors(adapters):
            found = [_decomposed(adapter, tolerance, base_tolerance) for adapter in group]
            ranks |= {adapter.name: kept for adapter, (_, _, kept) in zip(group, found, strict=True)}
            rank = max(1, *(kept for _, _, kept in found))
            if any(kept < len(A) for A, _, kept in found):
                _set(group[0], [(A[:rank], B[:, :rank]) for A, B, _ in found])
    _write_ranks(model, adapters)
    return ranks


def _check(adapter: Adapter) -> None:
    """Refuse an adapter whose product has been added to the matrix of its layer, or is none of two."""
    merged = getattr(adapter.module, "merged_adapters", None) or getattr(adapter.module, "merged", False)
    if merged is True or (isinstance(merged, (list, tuple)) and adapter.key in merged):
        raise ValueError(
            f"the adapter {adapter.name!r} is merged into its layer, which would keep what is cut; unmerge "
            "it first (in PEFT: model.unmerge_adapter())"
        )
    if len(adapter.parameters) != 2 or not isinstance(adapter.matrix(), Factored):
        raise ValueError(
            f"the adapter {adapter.name!r} is no product of two factors (AdaLoRA, LoHa and LoKr are not), so "
            "that there is no factor to make thinner; merge it, or use LoRA"
        )


def _by_factors(adapters: Sequence[Adapter]) -> Iterator[list[Adapter]]:
    """Adapters that lie in the same two parameters together: the experts of one."""
    groups: dict[tuple[int, int], list[Adapter]] = {}
    for adapter in adapters:
        groups.setdefault((id(adapter.module), id(adapter.parameters[0])), []).append(adapter)
    yield from groups.values()


def _decomposed(adapter: Adapter, tolerance: float, base_tolerance: float) -> tuple[Tensor, Tensor, int]:
    """Factors A (r, n) and B (m, r) without the scaling, in the order of the singular values; how many stay.

    Those past it are zero. With nothing to cut they are the present ones, and with nothing to keep B is zero
    and A is the present one, so that training can go on from there.
    """
    W = cast(Factored, adapter.matrix(widen))
    U, S, Vh = svd(W)
    bound = tolerance * S[:1]
    if base_tolerance > 0:
        bound = bound.maximum(base_tolerance * singular_values(_base(adapter))[:1].to(bound))
    keep = bound < S
    rank = int(keep.sum())
    A, B = W.V.mT, W.U / adapter.scaling if adapter.scaling else W.U
    if rank == len(A):
        return A, B, rank
    if rank == 0:
        return A, torch.zeros_like(B), 0
    root = (S * keep / abs(adapter.scaling)).sqrt()
    sign = math.copysign(1.0, adapter.scaling)
    A_new, B_new = torch.zeros_like(A), torch.zeros_like(B)
    A_new[: len(root)] = root.unsqueeze(-1) * Vh
    B_new[:, : len(root)] = sign * U * root
    return A_new, B_new, rank


def _base(adapter: Adapter) -> Tensor:
    """The matrix that is adapted."""
    module: Any = adapter.module
    layer: Any = getattr(module, "base_layer", None)
    while hasattr(layer, "base_layer"):
        layer = layer.base_layer
    W = getattr(layer, getattr(module, "parameter_name", "weight"), None)
    if not isinstance(W, Tensor) or not W.is_floating_point() or W.is_meta:
        raise ValueError(
            f"base_tolerance: the matrix that {adapter.name!r} adapts cannot be read (quantized, offloaded, "
            "or in no base_layer); use tolerance alone"
        )
    number = re.search(r"\[(\d+)\]$", adapter.name)
    W = readable(W.detach())
    return W[int(number[1])] if number and W.ndim == 3 else W.flatten(1)


def _set(adapter: Adapter, factors: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Put new factors, a pair or one for each expert, into the layer, in the shape and order of A and B."""
    (left, right), *more = factors
    if more:
        left = torch.cat([a for a, _ in factors])
        right = torch.stack([b for _, b in factors], -1).flatten(1)
    if adapter.turned:
        left, right = right.mT, left.mT
    rank = len(factors[0][0])
    for name, old, new in zip(adapter.held_as, adapter.parameters, (left, right), strict=True):
        shape = list(old.shape)
        shape[0 if old is adapter.parameters[0] else 1] = -1
        _replace(adapter, name, new.reshape(shape).to(old.dtype).contiguous())
    ranks = getattr(adapter.module, "r", None)
    if isinstance(ranks, dict) and adapter.key is not None:
        ranks[adapter.key] = rank


def _replace(adapter: Adapter, name: str, new: Tensor) -> None:
    holder: Any = getattr(adapter.module, name)
    inside = isinstance(holder, (nn.ModuleDict, nn.ParameterDict))
    old = holder[adapter.key] if inside else holder
    if isinstance(old, nn.Module):
        side = "out" if name == adapter.held_as[0] else "in"
        kind = "channels" if hasattr(old, f"{side}_channels") else "features"
        setattr(old, f"{side}_{kind}", new.shape[0 if side == "out" else 1])
        old.weight = nn.Parameter(new, requires_grad=cast(Tensor, old.weight).requires_grad)
        return
    held = nn.Parameter(new, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else new
    if inside:
        holder[adapter.key] = held
    else:
        setattr(adapter.module, name, held)


def _write_ranks(model: nn.Module, adapters: Sequence[Adapter]) -> None:
    """Tell PEFT's configurations what each layer has: the rank, and an alpha that gives the same scaling."""
    for root, configs in _configurations(model):
        names = {id(module): name for name, module in root.named_modules()}
        for adapter in adapters:
            config, path = configs.get(str(adapter.key)), names.get(id(adapter.module))
            ranks = getattr(adapter.module, "r", None)
            if config is None or path is None or not isinstance(ranks, dict):
                continue
            rank = ranks[adapter.key]
            alpha = adapter.scaling * (math.sqrt(rank) if getattr(config, "use_rslora", False) else rank)
            # PEFT reads the names as patterns, and takes the first that matches.
            path = _known_as(adapter.module, path)
            exact = "^" + re.escape(path)
            for patterns, value, default in (
                ("rank_pattern", rank, config.r),
                ("alpha_pattern", alpha, config.lora_alpha),
            ):
                present = {name: v for name, v in getattr(config, patterns).items() if name != exact}
                given = (v for name, v in present.items() if re.match(rf"(.*\.)?({name})$", path))
                if value != next(given, default):
                    present = {exact: value, **present}
                setattr(config, patterns, present)


def _known_as(module: nn.Module, path: str) -> str:
    """What PEFT calls a layer; where it adapts parameters of one module, each layer wraps the next."""
    parameter = getattr(module, "parameter_name", None)
    path = ".".join(part for part in path.split(".") if part != "base_layer")
    return path if parameter is None else f"{path}.{parameter}"


def _configurations(model: nn.Module) -> Iterator[tuple[nn.Module, dict[str, Any]]]:
    """Each module whose layers PEFT has adapted, with the configurations of the adapters by name."""
    for module in model.modules():
        configs = vars(module).get("peft_config")
        if isinstance(configs, dict):
            tuner = hasattr(module, "targeted_module_names")
            yield (cast(nn.Module, module.model) if tuner else module), configs

"""Several processes that train one model: tensors that they share (``DTensor``), rows of all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn


def is_sharded(W: object) -> bool:
    """Whether W is a tensor that several processes hold together (``DTensor``)."""
    # By its attributes, so that torch.distributed need not be there.
    return hasattr(W, "full_tensor") and hasattr(W, "placements")


def whole(W: Tensor) -> Tensor:
    """A tensor that processes share gathered, differentiably; any other as it is."""
    return cast(Tensor, cast(Any, W).full_tensor()) if is_sharded(W) else W


@torch.no_grad()
def put_whole(W: Tensor, value: Tensor) -> None:
    """Give a tensor that processes share the values that each of them has whole; nothing for any other."""
    if is_sharded(W):
        from torch.distributed.tensor import DTensor, Replicate

        shared = cast(Any, W)
        everywhere = [Replicate()] * shared.device_mesh.ndim
        found = DTensor.from_local(value, shared.device_mesh, everywhere, run_check=False)
        W.copy_(found.redistribute(placements=shared.placements))


def computed(model: nn.Module, compute: Callable[[], Tensor]) -> Tensor:
    """What a function computes from a model's parameters, with whole ones in the place of shared ones.

    Computed from shards, a product may come out with gradients that are placed otherwise than the parameters,
    which FSDP2 then adds up wrongly, and many operations are not defined at all.
    """
    if not any(is_sharded(p) for p in model.parameters()):
        return compute()
    parameters = {f"model.{name}": whole(p) for name, p in model.named_parameters()}
    return cast(Tensor, torch.func.functional_call(_Computed(model, compute), parameters, ()))


class _Computed(nn.Module):
    """A function as a module, which is what parameters can be swapped in."""

    def __init__(self, model: nn.Module, compute: Callable[[], Tensor]) -> None:
        super().__init__()
        self.model, self.compute = model, compute

    def forward(self) -> Tensor:
        return self.compute()


def check_not_sharded(*models: nn.Module) -> None:
    """ValueError for parameters that FSDP gathers for its own passes only."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None:
        return
    kinds = (fsdp.FSDPModule, fsdp.FullyShardedDataParallel)
    for model in models:
        if any(isinstance(module, kinds) for module in model.modules()):
            raise ValueError(
                f"model: {type(model).__name__} is sharded by FSDP, which gathers parameters for its own "
                "passes only, while this penalty makes others; use DistributedDataParallel"
            )


def process_number() -> int:
    """Rank of this process; 0 where there is one alone."""
    return torch.distributed.get_rank() if _several() else 0


def own_rows(rows: Tensor) -> Tensor:
    """The rows of this process alone, where the others may not be asked: they may not be there."""
    return rows


def rows_of_all(rows: Tensor) -> Tensor:
    """The rows (n, D) of all processes, one after the other; n may differ from process to process."""
    if not _several():
        return rows
    # A gather of tensors of different lengths does not fail, it hangs or aborts: the lengths go first.
    length = torch.tensor([len(rows)], device=rows.device)
    lengths = [int(n) for n in torch.cat(_gathered(length)).tolist()]
    if len(rows) < max(lengths):
        rows = torch.cat([rows, rows.new_zeros(max(lengths) - len(rows), *rows.shape[1:])])
    parts = _gathered(rows.contiguous())
    return torch.cat([part[:n] for part, n in zip(parts, lengths, strict=True)])


def _several() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _gathered(tensor: Tensor) -> list[Tensor]:
    parts = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, tensor)
    return parts

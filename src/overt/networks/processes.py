"""Several processes that train one model: rows of all of them, in every one."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["own_rows", "process_number", "rows_of_all"]


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

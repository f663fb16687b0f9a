"""Steps whose length is a share of what they move."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from overt._utils.tensors import compute_dtype
from overt.linalg.spectrum import widen
from overt.networks.distributed import is_sharded


@torch.no_grad()
def relative_step(W: Tensor, G: Tensor, length: float | Tensor, *, batch: bool = False) -> None:
    """W ← W − length ‖W‖_F G/‖G‖_F, in place, and back to ‖W‖_F where that is longer.

    No step is taken where W or G is zero. Nothing waits for a device.

    Parameters
    ----------
    W, G
        A tensor and a direction of its shape; tensors that processes share (``DTensor``) alike.
    length
        ≥ 0; a tensor of one number for each member of a batch.
    batch
        Whether W is a batch along its first dimension, each of whose members has a norm of its own.
    """
    if isinstance(length, Tensor):
        length = _beside(length.view(-1, *[1] * (W.ndim - 1)), W)
    wide, along = widen(W), widen(G)
    norm, size = _norm(wide, batch), _norm(along, batch)
    moved = wide - along * (length * norm / _positive(size))
    W.copy_(moved * (norm / _positive(_norm(moved, batch))).clamp_max(1.0))


def _norm(X: Tensor, batch: bool) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(X, dim=tuple(range(int(batch), X.ndim)), keepdim=True)
    return norm


def _positive(norm: Tensor) -> Tensor:
    return torch.where(norm > 0, norm, torch.ones_like(norm))


def _beside(numbers: Tensor, W: Tensor) -> Tensor:
    """Numbers in the dtype and on the device of W, and in each process where W is shared."""
    numbers = numbers.to(W.device, compute_dtype(W.dtype))
    if not is_sharded(W):
        return numbers
    from torch.distributed.tensor import DTensor, Replicate

    mesh = cast(Any, W).device_mesh
    return DTensor.from_local(numbers, mesh, [Replicate()] * mesh.ndim)

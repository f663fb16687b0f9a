"""Steps whose length is a share of what they move."""

from __future__ import annotations

import torch
from torch import Tensor

from overt.linalg.spectrum import widen


@torch.no_grad()
def relative_step(W: Tensor, G: Tensor, length: float) -> None:
    """W ← W − length ‖W‖_F G/‖G‖_F, in place, and back to ‖W‖_F where that is longer.

    No step is taken where W or G is zero. Nothing waits for a device.

    Parameters
    ----------
    W, G
        A tensor and a direction of its shape; tensors that processes share (``DTensor``) alike.
    length
        ≥ 0.
    """
    wide, along = widen(W), widen(G)
    norm, size = torch.linalg.vector_norm(wide), torch.linalg.vector_norm(along)
    moved = wide - along * (length * norm / _positive(size))
    W.copy_(moved * (norm / _positive(torch.linalg.vector_norm(moved))).clamp_max(1.0))


def _positive(norm: Tensor) -> Tensor:
    return torch.where(norm > 0, norm, torch.ones_like(norm))

"""The end-to-end scale and the parameters of a model."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from overt._utils.checks import check_number
from overt._utils.tensors import check_dtype


def check_scale(scale: object) -> float:
    """`scale` as a finite, positive float."""
    return check_number(scale, "scale", above=0, remedy="zero would be a saddle point")


def parameters_of(
    layers: Iterable[Tensor], scale: float, dtype: torch.dtype | None, device: torch.device | str | None
) -> nn.ParameterList:
    """The layers as parameters in `dtype`; ValueError if that cannot hold them or their end-to-end scale."""
    dtype = check_dtype(dtype)
    info = torch.finfo(dtype)
    cast = [layer.to(dtype=dtype, device=device) for layer in layers]
    if not info.tiny <= scale <= info.max or not all(bool(torch.isfinite(layer).all()) for layer in cast):
        raise ValueError(
            f"scale: {scale:g} is beyond what {dtype} can hold ({info.tiny:.2g} … {info.max:.2g}); choose "
            "another scale or dtype=torch.float64"
        )
    return nn.ParameterList(map(nn.Parameter, cast))

"""The basis and the exponent of a penalty: checked before inputs are known, and as plain data."""

from __future__ import annotations

import zlib
from typing import Any, cast

import torch
from torch import Tensor

from overt._utils.checks import check_number
from overt.linalg import Basis, make_basis
from overt.linalg.bases import is_eigen


def check_basis(basis: object, dims: tuple[int, ...] | None) -> None:
    """TypeError or ValueError for what is neither ``"eigen"`` nor a basis."""
    if is_eigen(cast(Any, basis), dims):
        return
    if isinstance(basis, Basis) and dims is not None:
        raise ValueError("dims: a Basis comes with its dimensions; leave dims out")
    if isinstance(basis, Tensor):
        make_basis(basis, basis.shape[1:], dims=dims)
    elif not isinstance(basis, Basis):
        make_basis(cast(Any, basis), (1,))


def basis_name(basis: str | Tensor | Basis) -> str:
    """A name that tells it from others; a matrix has its shape and a checksum in it."""
    if isinstance(basis, str):
        return basis
    matrix = basis.matrix if isinstance(basis, Basis) else basis
    if matrix is None:
        assert isinstance(basis, Basis)
        return f"{basis.name} of dimensions {basis.dims}"
    entries = torch.view_as_real(matrix) if matrix.is_complex() else matrix
    checksum = zlib.crc32(entries.detach().double().cpu().contiguous().numpy().tobytes())
    return f"matrix {'×'.join(map(str, matrix.shape))} {checksum:08x}"


def exponent_of(p: float | None, depth: float | None) -> float:
    """p in (0, 2], given as itself or as 2/depth; 1 by default."""
    if p is not None and depth is not None:
        raise ValueError(
            f"p, depth: p={p!r} and depth={depth!r} are two names of one thing, p = 2/depth; give one"
        )
    if depth is not None:
        return 2 / check_number(depth, "depth", least=1)
    return 1.0 if p is None else check_number(p, "p", above=0, most=2)

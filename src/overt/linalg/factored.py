"""A matrix held as a product of two thin factors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from overt._utils.tensors import check_matrix, check_same_kind


@dataclass(frozen=True, eq=False)
class Factored:
    """The matrix W = U Vᵀ, held as its two factors.

    Parameters
    ----------
    U : Tensor, shape (..., m, r)
        Left factor.
    V : Tensor, shape (..., n, r)
        Right factor: same batch shape, ``r``, dtype and device as ``U``.

    Raises
    ------
    TypeError
        If a factor is not a real floating-point tensor, or the dtypes differ.
    ValueError
        If the shapes do not fit, or the devices differ.

    Examples
    --------
    >>> import torch
    >>> from overt.linalg import Factored
    >>> W = Factored(torch.ones(4, 1), torch.ones(3, 1))
    >>> W.shape
    torch.Size([4, 3])
    >>> W.dense().sum()
    tensor(12.)
    """

    U: Tensor
    V: Tensor

    def __post_init__(self) -> None:
        check_matrix(self.U, "U")
        check_matrix(self.V, "V")
        u, v = tuple(self.U.shape), tuple(self.V.shape)
        if u[:-2] != v[:-2] or u[-1] != v[-1]:
            raise ValueError(
                f"V must have shape (..., n, r) with the batch shape and r of U, got U {u} and V {v}; "
                "since W = U Vᵀ, pass the right factor as (n, r), not (r, n)"
            )
        check_same_kind(self.V, "V", self.U, "U")

    @property
    def shape(self) -> torch.Size:
        """Shape of W: (..., m, n)."""
        return torch.Size((*self.U.shape[:-1], self.V.shape[-2]))

    @property
    def ndim(self) -> int:
        """Number of dimensions of W."""
        return self.U.ndim

    @property
    def dtype(self) -> torch.dtype:
        """Common dtype of the factors."""
        return self.U.dtype

    @property
    def device(self) -> torch.device:
        """Common device of the factors."""
        return self.U.device

    @property
    def mT(self) -> Factored:  # noqa: N802 - the name that tensors use
        """The transpose Wᵀ = V Uᵀ."""
        return Factored(self.V, self.U)

    def dense(self) -> Tensor:
        """Form W, shape (..., m, n)."""
        return self.U @ self.V.mT

    def __matmul__(self, X: Tensor) -> Tensor:
        """W X without forming W; ``X`` has shape (..., n, k) or (n,)."""
        return self.U @ (self.V.mT @ X)

    def __add__(self, other: Factored) -> Factored:
        """The sum; its factors have the columns of both."""
        return Factored(torch.cat([self.U, other.U], -1), torch.cat([self.V, other.V], -1))

    def __sub__(self, other: Factored) -> Factored:
        return self + Factored(other.U, -other.V)

    def to(self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Factored:
        """The same matrix with its factors converted to ``dtype`` and moved to ``device``."""
        return Factored(self.U.to(dtype=dtype, device=device), self.V.to(dtype=dtype, device=device))

"""A tall matrix that arrives in blocks of rows, kept in bounded memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from overt._utils.checks import check_integer
from overt._utils.tensors import compute_dtype, require_finite
from overt.linalg.decompositions import dense_svd, full_precision

# A square matrix of this size takes 400 MB in single precision; wider ones are only kept thin.
LARGEST_SQUARE = 10_000


class RowStack:
    """Rows A, kept in bounded memory so that AᵀA can be formed from them.

    Once there are more rows than a limit, they are replaced by the R of a QR decomposition if that is
    smaller: RᵀR = AᵀA up to rounding and, unlike in a Gram matrix, small singular values are not lost. If
    there are too many columns for that, they are replaced by the leading half of their singular value
    decomposition, S Vᵀ. The loss is bounded: with B the rows that are kept, 0 ≤ AᵀA − BᵀB ≤ ``dropped_norm``
    · I in the order of symmetric matrices.

    Parameters
    ----------
    columns : int
        Number D of columns.
    limit : int
        Number of rows above which they are compressed, at least 2.
    lossless : bool
        Refuse to drop anything.

    Attributes
    ----------
    dropped_norm : float
        0 as long as nothing was dropped.

    Examples
    --------
    >>> import torch
    >>> from overt.linalg import RowStack
    >>> stack = RowStack(2, limit=4)
    >>> for row in torch.eye(2).repeat(4, 1):
    ...     stack.append(row[None])
    >>> A = stack.rows()
    >>> (A.T @ A).round(decimals=5)
    tensor([[4., 0.],
            [0., 4.]])
    """

    def __init__(self, columns: int, limit: int, *, lossless: bool = False) -> None:
        self.columns = check_integer(columns, "columns", least=1)
        self.limit = check_integer(limit, "limit", least=2)
        self.lossless = lossless
        self.dropped_norm = 0.0
        self._blocks: list[Tensor] = []
        self._kept = 0

    @property
    def most(self) -> float:
        """Rows that it takes without loss; infinite where compression loses nothing."""
        return math.inf if self._square else self.limit

    @property
    def _square(self) -> bool:
        return self.columns <= min(self.limit // 2, LARGEST_SQUARE)

    def append(self, rows: Tensor) -> None:
        """Add rows, shape (k, columns).

        Raises
        ------
        ValueError
            If the shape is another one, entries are NaN or infinite, or a lossless stack cannot keep them.
        """
        if rows.ndim != 2 or rows.shape[1] != self.columns:
            raise ValueError(f"rows must have shape (k, {self.columns}), got {tuple(rows.shape)}")
        require_finite(rows, "rows")
        self._blocks.append(rows.detach().to(compute_dtype(rows.dtype)))
        self._kept += len(rows)
        if self._kept > self.limit:
            self._compress()

    def rows(self) -> Tensor:
        """Rows B with BᵀB = AᵀA but for what was dropped, shape (r, columns)."""
        if len(self._blocks) != 1:
            self._blocks = [torch.cat(self._blocks)]
        return self._blocks[0]

    def _compress(self) -> None:
        A = self.rows()
        with full_precision(A.device):
            if self._square:
                self._keep(torch.linalg.qr(A, mode="r")[1])
                return
            if self.lossless:
                raise ValueError(
                    f"rows: more than {self.limit} with {self.columns} columns cannot be kept without loss"
                )
            _, S, Vh = dense_svd(A)
        k = self.limit // 2
        if k < len(S):
            self.dropped_norm += float(S[k].double().square())
        self._keep(S[:k, None] * Vh[:k])

    def _keep(self, rows: Tensor) -> None:
        self._blocks = [rows]
        self._kept = len(rows)

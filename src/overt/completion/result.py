"""What every completion solver returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from overt._utils.tensors import check_float_tensor, check_index, require_finite
from overt.linalg import Factored, svd

_CHUNK = 4096  # positions gathered at a time: so few stay in a core's cache
HistoryRow = dict[str, Any]
Triplet = tuple[Tensor, Tensor, Tensor]
"""A thin singular value decomposition: U (m, r), singular values (r,), Vt (r, n)."""


def entries_at(left: Tensor, right: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Entries of ``left`` (m, t) times the transpose of ``right`` (n, t) at (k,), in chunks."""
    right = right.contiguous()
    out = left.new_empty(rows.shape[0])
    for start in range(0, rows.shape[0], _CHUNK):
        piece = slice(start, start + _CHUNK)
        out[piece] = (left[rows[piece]] * right[cols[piece]]).sum(-1)
    return out


def degrees_of_freedom(shape: tuple[int, int], rank: int) -> int:
    """``r (m + n − r)``: the numbers that determine an m×n matrix of rank r."""
    return rank * (shape[0] + shape[1] - rank)


def joined(first: Triplet, second: Triplet) -> Triplet:
    """The factors of both, side by side."""
    (U, s, Vt), (more_U, more_s, more_Vt) = first, second
    return torch.cat([U, more_U], 1), torch.cat([s, more_s]), torch.cat([Vt, more_Vt])


@dataclass(frozen=True)
class Completion:
    """A completed matrix as its thin singular value decomposition, and how it was reached.

    The completed matrix is ``U diag(singular_values) Vt``. It is stored through its factors only, so a
    20 000 × 20 000 completion of rank 10 needs 400 000 numbers; :attr:`W` forms it on demand.

    Parameters
    ----------
    U : Tensor, shape (m, r)
        Orthonormal columns.
    singular_values : Tensor, shape (r,)
        Descending, not negative.
    Vt : Tensor, shape (r, n)
        Orthonormal rows.
    converged : bool
        Whether the solver's own stopping rule was met.
    n_iter : int
        Iterations used.
    residual : float
        Relative misfit on the observations, ``‖P(X) − y‖ / ‖y‖`` (absolute where ``y = 0``).
    seconds : float
        Wall time of the solve.
    history : list of dict
        One plain dictionary per recorded iteration; keys depend on the solver.
    message : str
        Why the solver stopped and, where it failed, what to do about it.
    pair : (Tensor, Tensor), shapes (m, t) and (n, t), optional
        Factors of the same matrix, where its columns differ so much in size that the singular vectors lose
        the small ones. Entries are then read from these.

    Raises
    ------
    ValueError
        If the shapes of the three factors disagree.

    Examples
    --------
    >>> import torch
    >>> from overt.completion.result import Completion
    >>> found = Completion.from_dense(torch.ones(3, 2, dtype=torch.float64))
    >>> found.rank, found.shape
    (1, (3, 2))
    """

    U: Tensor
    singular_values: Tensor
    Vt: Tensor
    converged: bool = True
    n_iter: int = 0
    residual: float = math.nan
    seconds: float = 0.0
    history: list[HistoryRow] = field(default_factory=list)
    message: str = ""
    pair: tuple[Tensor, Tensor] | None = None

    def __post_init__(self) -> None:
        """Refuse factors that cannot be multiplied."""
        r = self.singular_values.shape[-1] if self.singular_values.ndim == 1 else -1
        fits = self.U.ndim == 2 and self.Vt.ndim == 2 and self.U.shape[1] == r == self.Vt.shape[0]
        if not fits:
            raise ValueError(
                "U, singular_values and Vt must have shapes (m, r), (r,) and (r, n), got "
                f"{tuple(self.U.shape)}, {tuple(self.singular_values.shape)} and {tuple(self.Vt.shape)}"
            )

    @classmethod
    def from_dense(cls, W: Tensor, *, rank_tolerance: float | None = None, **fields: Any) -> Completion:
        """Decompose a dense matrix, dropping the singular values that are zero to rounding.

        Parameters
        ----------
        W : Tensor, shape (m, n)
            The completed matrix.
        rank_tolerance : float, optional
            Singular values at or below ``rank_tolerance · σ_1`` are dropped; the default is
            ``eps · max(m, n)``.
        **fields
            Any other field of :class:`Completion`.

        Returns
        -------
        Completion
        """
        if check_float_tensor(W, "W").ndim != 2:
            raise ValueError(f"W must have two dimensions, got the shape {tuple(W.shape)}")
        require_finite(W)
        scale = W.abs().max() if W.numel() else W.new_zeros(())
        safe = scale if float(scale) > 0 else torch.ones_like(scale)
        U, S, Vt = svd(W.detach() / safe)
        if rank_tolerance is None:
            rank_tolerance = torch.finfo(W.dtype).eps * max(W.shape)
        top = float(S[0]) if S.numel() else 0.0
        rank = int((rank_tolerance * top < S).sum())
        return cls(U[:, :rank], S[:rank] * safe, Vt[:rank], **fields)

    def of_factors(self, left: Tensor, right: Tensor, *, cut: float = 0.0) -> Completion:
        """The same account of another matrix, ``left`` (m, t) times the transpose of ``right`` (n, t).

        Entries are read from these factors, whose lines may have any units. Singular values at or below
        ``cut`` times the largest are dropped.
        """
        U, s, Vt = svd(Factored(left, right))
        rank = int((s > cut * s[:1]).sum()) if cut else len(s)
        return replace(self, U=U[:, :rank], singular_values=s[:rank], Vt=Vt[:rank], pair=(left, right))

    @classmethod
    def zero(cls, like: Tensor, shape: tuple[int, int], **fields: Any) -> Completion:
        """The zero matrix (m, n), of rank 0, with the dtype and device of ``like``."""
        m, n = shape
        return cls(like.new_zeros(m, 0), like.new_zeros(0), like.new_zeros(0, n), **fields)

    @property
    def triplet(self) -> Triplet:
        """``(U, singular_values, Vt)``."""
        return self.U, self.singular_values, self.Vt

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``."""
        return self.U.shape[0], self.Vt.shape[1]

    @property
    def rank(self) -> int:
        """Number of singular values kept."""
        return self.singular_values.shape[0]

    @property
    def freedom(self) -> int:
        """Degrees of freedom ``r (m + n − r)`` of the matrices of this shape and rank."""
        return degrees_of_freedom(self.shape, self.rank)

    @property
    def effective_rank(self) -> float:
        """``exp(entropy(σ / Σσ))`` (Roy & Vetterli 2007); 0 for the zero matrix."""
        s = self.singular_values.double()
        top = float(s[0]) if s.numel() else 0.0
        if top <= 0:
            return 0.0
        p = s / top
        p = p / p.sum()
        return float(torch.exp(-torch.xlogy(p, p).sum()))

    @property
    def W(self) -> Tensor:  # noqa: N802  (the field's name for it)
        """The dense (m, n) matrix, formed anew at every access."""
        left, right = self.factors
        return left @ right.mT

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        """``left`` (m, t) and ``right`` (n, t) with ``W = left rightᵀ``: the pair, or ``U σ`` and ``V``."""
        return self.pair or (self.U * self.singular_values, self.Vt.mT)

    @property
    def factored(self) -> Factored:
        """The matrix as ``overt.Factored`` with ``√σ`` on either side."""
        root = self.singular_values.sqrt()
        return Factored(self.U * root, self.Vt.mT * root)

    def at(self, rows: Tensor, cols: Tensor) -> Tensor:
        """Entries ``W[rows, cols]`` without forming ``W``.

        Parameters
        ----------
        rows, cols : Tensor of int64, shape (k,)
            Positions.

        Returns
        -------
        Tensor, shape (k,)
        """
        m, n = self.shape
        rows = check_index(rows, "rows", m, like=rows)
        cols = check_index(cols, "cols", n, like=rows)
        return entries_at(*self.factors, rows, cols)

    def cut(self, rank: int) -> Completion:
        """The leading ``rank`` singular triplets."""
        U, s, Vt = self.triplet
        return replace(self, U=U[:, :rank], singular_values=s[:rank], Vt=Vt[:rank], pair=None)

    def scaled(self, factor: float) -> Completion:
        """The same completion of ``factor`` times the matrix (``factor > 0``)."""
        pair = None if self.pair is None else (self.pair[0] * factor, self.pair[1])
        return replace(self, singular_values=self.singular_values * factor, pair=pair)

"""Matrix completion: some entries of a matrix are seen, the others are asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from overt.linalg import Factored
from overt.models.base import check_dtype
from overt.problems._indices import check_factors, check_heldout, check_pairs, check_shape, check_unique
from overt.problems.base import (
    check_iterate,
    check_values,
    factors_of,
    mean_squared,
    relative_error,
    rms,
)
from overt.problems.factors import distance, entries_of, frobenius

if TYPE_CHECKING:
    from overt.problems.offsets import Offsets

__all__ = ["CompletionProblem", "Entries"]

Entries = tuple[Tensor, Tensor, Tensor]
"""(rows, cols, values), three vectors of equal length."""


@dataclass(frozen=True, eq=False, repr=False)
class CompletionProblem:
    """Observed entries of an unknown m×n matrix; the matrix itself is never formed unless asked for.

    Parameters
    ----------
    rows, cols
        Integer vectors (k,): where the entries are. Every pair at most once, in any order.
    y
        Observed values (k,), real floating, finite. Its dtype and device are the problem's.
    shape
        (m, n).
    truth
        The whole matrix (m, n), where it is known.
    heldout
        (rows, cols, values) of entries that are known but not given to the solver.
    truth_factors
        The truth as ``overt.Factored``, for a matrix too large to be formed.
    true_rank, noise_std
        What a generator knows of its instance, for oracles: rank of the truth and the standard deviation of
        the noise on `y`.
    name
        For tables and reports.

    Raises
    ------
    TypeError
        Indices that are no integers, values that are no real floating tensors, or of unlike dtype.
    ValueError
        No observation at all, unlike lengths, an index out of range, a pair given twice, NaN or infinite
        values, a `truth` of another shape, tensors on different devices.

    Examples
    --------
    >>> import torch
    >>> from overt.problems import CompletionProblem
    >>> X = torch.tensor([[1.0, float("nan")], [float("nan"), 4.0]])
    >>> problem = CompletionProblem.from_dense(X)
    >>> problem.measure(torch.ones(2, 2)), problem.n_observed
    (tensor([1., 1.]), 2)
    >>> float(problem.loss(torch.ones(2, 2)))
    4.5
    """

    rows: Tensor
    cols: Tensor
    y: Tensor
    shape: tuple[int, int]
    truth: Tensor | None = None
    heldout: Entries | None = None
    truth_factors: Factored | None = None
    true_rank: int | None = None
    noise_std: float | None = None
    name: str = "completion"

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        shape = check_shape(self.shape)
        set_(self, "shape", shape)
        y = check_values(self.y, "y", ndim=1)
        if y.numel() == 0:
            raise ValueError("no entry is observed: rows, cols and y are empty")
        rows, cols = check_pairs(self.rows, self.cols, y, shape, "")
        set_(self, "rows", rows)
        set_(self, "cols", cols)
        check_unique(self.flat, shape[1])
        if self.truth is not None:
            truth = check_values(self.truth, "truth", ndim=2, like=y)
            if truth.shape != shape:
                raise ValueError(f"truth must have shape {shape}, got {tuple(truth.shape)}")
        if self.truth_factors is not None:
            check_factors(self.truth_factors, shape, y)
        if self.heldout is not None:
            set_(self, "heldout", check_heldout(self.heldout, y, shape))

    @classmethod
    def from_dense(cls, X: Tensor, mask: Tensor | None = None, **fields: Any) -> CompletionProblem:
        """The problem whose observations are the entries of X (m, n) that are not NaN, or those where `mask`
        is True.

        Parameters
        ----------
        X
            Matrix (m, n).
        mask
            Boolean (m, n); where given, it alone decides, and X must be finite there.
        **fields
            Further fields of the problem: truth, heldout, name, ….
        """
        if not isinstance(X, Tensor) or X.ndim != 2:
            raise TypeError("X must be a torch.Tensor with 2 dimensions")
        if mask is None:
            mask = ~torch.isnan(X)
        elif not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            raise TypeError("mask must be a boolean torch.Tensor")
        elif mask.shape != X.shape:
            raise ValueError(f"mask must have the shape {tuple(X.shape)} of X, got {tuple(mask.shape)}")
        rows, cols = mask.nonzero(as_tuple=True)
        return cls(rows, cols, X[mask], (X.shape[0], X.shape[1]), **fields)

    # ---- what is observed ----------------------------------------------------------------------------------

    @property
    def n_observed(self) -> int:
        """Number k of observed entries."""
        return self.y.numel()

    @property
    def dtype(self) -> torch.dtype:
        """Of all real tensors of the problem."""
        return self.y.dtype

    @property
    def device(self) -> torch.device:
        """Of all tensors of the problem."""
        return self.y.device

    @cached_property
    def flat(self) -> Tensor:
        """Positions ``rows * n + cols`` (k,) in the matrix read row by row."""
        return self.rows * self.shape[1] + self.cols

    @cached_property
    def observed(self) -> Tensor:
        """Boolean mask (m, n). Formed, and kept, on first use only."""
        mask = torch.zeros(self.shape, dtype=torch.bool, device=self.device)
        mask.view(-1)[self.flat] = True
        return mask

    @cached_property
    def max_abs_observed(self) -> float:
        """Largest absolute observed value."""
        return float(self.y.abs().max())

    def oversampling(self, rank: int) -> float:
        """ρ = k / (r (m + n − r)): observations over degrees of freedom of a rank-r matrix."""
        m, n = self.shape
        if not 1 <= rank <= min(m, n):
            raise ValueError(f"rank must lie in 1 … {min(m, n)}, got {rank}")
        return self.n_observed / (rank * (m + n - rank))

    # ---- the measurement map -------------------------------------------------------------------------------

    def measure(self, W: Tensor | Factored) -> Tensor:
        """Entries of W (m, n) at the observed places, shape (k,). A Factored is never multiplied out."""
        factors = factors_of(W)
        if factors is not None:
            return self._entries(*factors, self.rows, self.cols)
        # index_select, not W[rows, cols]: its backward is two to ten times faster, at every size and share
        # measured.
        return check_iterate(W, self.shape, self.y).reshape(-1).index_select(0, self.flat)

    def adjoint(self, z: Tensor) -> Tensor:
        """The m×n matrix with z (k,) at the observed places and zero elsewhere."""
        check_iterate(z, (self.n_observed,), self.y, name="z")
        m, n = self.shape
        return z.new_zeros(m * n).index_put((self.flat,), z).view(m, n)

    def loss(self, W: Tensor | Factored) -> Tensor:
        """Mean squared residual over the observations, a 0-d tensor."""
        return mean_squared(self.measure(W), self.y)

    def error(self, W: Tensor | Factored) -> float:
        """‖W − W*‖_F / ‖W*‖_F where the truth is known, else the RMSE on held-out entries, else NaN.

        For a truth of zero the denominator is 1.
        """
        factors_of(W)  # refuses what is neither
        with torch.no_grad():
            if self.truth is not None:
                dense = W if isinstance(W, Tensor) else W.dense()
                check_iterate(dense, self.shape, self.y)
                distance_ = float(torch.linalg.vector_norm(dense - self.truth))
                return relative_error(distance_, self._truth_norm)
            if self.truth_factors is not None:
                U, V = self.truth_factors.U, self.truth_factors.V
                return relative_error(distance(W, U, V), frobenius(U, V))
            return self.heldout_rmse(W) if self.heldout is not None else math.nan

    def heldout_rmse(self, W: Tensor | Factored) -> float:
        """Root mean squared error on the held-out entries.

        Raises
        ------
        ValueError
            The problem has none.
        """
        if self.heldout is None:
            raise ValueError(f"problem {self.name!r} has no held-out entries")
        rows, cols, values = self.heldout
        with torch.no_grad():
            factors = factors_of(W)
            if factors is not None:
                return rms(self._entries(*factors, rows, cols) - values)
            assert isinstance(W, Tensor)
            check_iterate(W, self.shape, self.y)
            return rms(W[rows, cols] - values)

    # ---- other problems from this one ----------------------------------------------------------------------

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> CompletionProblem:
        """The same problem in another precision or on another device."""
        check_dtype(dtype)

        def real(t: Tensor) -> Tensor:
            return t.to(dtype=dtype, device=device)

        heldout = self.heldout
        factors = self.truth_factors
        return replace(
            self,
            rows=self.rows.to(device=device),
            cols=self.cols.to(device=device),
            y=real(self.y),
            truth=None if self.truth is None else real(self.truth),
            heldout=None
            if heldout is None
            else (heldout[0].to(device=device), heldout[1].to(device=device), real(heldout[2])),
            truth_factors=None if factors is None else factors.to(dtype=dtype, device=device),
        )

    def center(self, how: str = "biases", *, ridge: float = 5.0) -> tuple[CompletionProblem, Offsets]:
        """The problem less its global mean or its row and column biases, and these offsets.

        See `overt.problems.fit_offsets`. Observations, held-out values and truth are all reduced; the error
        of the centred problem is relative to the centred truth.
        """
        from overt.problems.offsets import center

        return center(self, how, ridge=ridge)

    def __repr__(self) -> str:
        m, n = self.shape
        where = f"{self.dtype}, {self.device}"
        return f"CompletionProblem({self.name!r}, {m}×{n}, {self.n_observed} observed, {where})"

    # ---- internals -----------------------------------------------------------------------------------------

    @cached_property
    def _truth_norm(self) -> float:
        return 0.0 if self.truth is None else float(torch.linalg.vector_norm(self.truth))

    def _entries(self, U: Tensor, V: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
        """Checked entries of U Vᵀ at (rows, cols)."""
        if (U.shape[0], V.shape[0]) != self.shape:
            raise ValueError(f"W must have shape {self.shape}, got {(U.shape[0], V.shape[0])}")
        if U.dtype != self.dtype:
            raise TypeError(
                f"W has dtype {U.dtype} but the problem holds {self.dtype}; use problem.to(dtype=…)"
            )
        return entries_of(U, V, rows, cols)

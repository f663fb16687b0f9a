"""Matrix completion: find a matrix from some of its entries."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as nnf

from overt._utils.checks import message
from overt._utils.tensors import check_index
from overt.linalg import Factored, qr
from overt.problems.base import (
    EntriesProblem,
    MatrixProblem,
    check_iterate,
    check_values,
    relative_error,
    rms,
    set_field,
)
from overt.problems.offsets import Offsets, fit_offsets

Entries = tuple[Tensor, Tensor, Tensor]
"""(rows, cols, values), three vectors of equal length."""

_BLOCK = 2**24  # entries of the dense matrix read at once
_GATHER = 2**22  # numbers gathered from a factor at once: 32 MiB in double precision


@dataclass(frozen=True, eq=False, repr=False)
class CompletionProblem(MatrixProblem, EntriesProblem):
    """Observed entries of an unknown m×n matrix, which need not fit in memory as a whole.

    Parameters
    ----------
    rows, cols
        Integer vectors (k,): places of the entries, in any order, each pair at most once.
    y
        Observed values (k,), real floating, finite. Its dtype and device are the problem's.
    shape
        (m, n).
    truth
        The whole matrix (m, n), if it is known.
    heldout
        (rows, cols, values) of entries that are known but not given to the solver.
    truth_factors
        The truth as ``overt.Factored``, for a matrix that is too large to form.
    true_rank, noise_std
        Rank of the truth and standard deviation of the noise on `y`, if a generator knows them.
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
        super().__post_init__()
        rows, cols = self._check_places(self.rows, self.cols, self.y)
        set_field(self, "rows", rows)
        set_field(self, "cols", cols)
        self._refuse_repeats()
        factors = self.truth_factors
        if factors is not None:
            if not isinstance(factors, Factored):
                raise TypeError(message("truth_factors", "an overt.Factored", factors))
            m, n = self.shape
            check_values(factors.U, "truth_factors.U", (m, "r"), like=self.y)
            check_values(factors.V, "truth_factors.V", (n, "r"), like=self.y)
        if self.heldout is not None:
            set_field(self, "heldout", self._checked_heldout(self.heldout))

    @classmethod
    def from_dense(cls, X: Tensor, mask: Tensor | None = None, **fields: Any) -> CompletionProblem:
        """The problem that observes the entries of X that are not NaN, or those where `mask` is True.

        Parameters
        ----------
        X
            Matrix (m, n).
        mask
            Boolean (m, n). X must be finite where it is True.
        **fields
            Further fields of the problem: truth, heldout, name, ….
        """
        if not isinstance(X, Tensor) or X.ndim != 2:
            raise TypeError(message("X", "a torch.Tensor with 2 dimensions", X))
        if mask is None:
            mask = ~torch.isnan(X)
        elif not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            raise TypeError(message("mask", "a boolean torch.Tensor", mask))
        elif mask.shape != X.shape:
            raise ValueError(f"mask must have the shape {tuple(X.shape)} of X, got {tuple(mask.shape)}")
        rows, cols = mask.nonzero(as_tuple=True)
        return cls(rows, cols, X[mask], (X.shape[0], X.shape[1]), **fields)

    def places(self) -> tuple[Tensor, Tensor]:
        """`rows` and `cols`."""
        return self.rows, self.cols

    @cached_property
    def observed(self) -> Tensor:
        """Boolean mask (m, n), formed on first use."""
        mask = torch.zeros(self.shape, dtype=torch.bool, device=self.device)
        mask.view(-1)[self.flat] = True
        return mask

    def measure(self, W: Tensor | Factored) -> Tensor:
        """Entries of W (m, n) at the observed places, shape (k,); a Factored is not multiplied out."""
        check_iterate(W, self.shape, self.y, factored=True)
        return super().measure(W) if isinstance(W, Tensor) else entries_of(W, self.rows, self.cols)

    def loss(self, W: Tensor | Factored) -> Tensor:
        """Mean squared residual over the observations, a 0-d tensor."""
        return nnf.mse_loss(self.measure(W), self.y)

    def error(self, W: Tensor | Factored) -> float:
        """‖W − W*‖_F / ‖W*‖_F (‖W‖_F if W* = 0); if W* is unknown the RMSE on held-out entries, else NaN."""
        check_iterate(W, self.shape, self.y, factored=True)
        with torch.no_grad():
            if self.truth is not None:
                return super().error(W if isinstance(W, Tensor) else W.dense())
            if self.truth_factors is not None:
                return relative_error(distance(W, self.truth_factors), frobenius(self.truth_factors))
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
        check_iterate(W, self.shape, self.y, factored=True)
        with torch.no_grad():
            found = W[rows, cols] if isinstance(W, Tensor) else entries_of(W, rows, cols)
            return rms(found - values)

    def center(self, how: str = "biases", *, ridge: float = 5.0) -> tuple[CompletionProblem, Offsets]:
        """The problem less its global mean or its row and column biases, and these offsets.

        See `overt.problems.fit_offsets`. Observations, held-out values and truth are all reduced, so the
        error of the centred problem is relative to the centred truth.
        """
        offsets = fit_offsets(self, how, ridge=ridge)
        heldout = self.heldout
        if heldout is not None:
            rows, cols, values = heldout
            heldout = (rows, cols, values - offsets.at(rows, cols))
        factors = self.truth_factors
        centered = replace(
            self,
            y=self.y - offsets.at(self.rows, self.cols),
            truth=None if self.truth is None else self.truth - offsets.dense(),
            truth_factors=None if factors is None else factors - offsets.factored(),
            true_rank=None,
            heldout=heldout,
            name=f"{self.name} (less {how})",
        )
        return centered, offsets

    def _check_places(
        self, rows: object, cols: object, values: Tensor, of: str = ""
    ) -> tuple[Tensor, Tensor]:
        m, n = self.shape
        return check_index(rows, f"{of}rows", m, values), check_index(cols, f"{of}cols", n, values)

    def _checked_heldout(self, heldout: object) -> Entries:
        if not isinstance(heldout, tuple | list) or len(heldout) != 3:
            raise TypeError(message("heldout", "a triple (rows, cols, values)", heldout))
        values = check_values(heldout[2], "heldout values", ("h",), like=self.y)
        if values.numel() == 0:
            raise ValueError("heldout: there is no entry; leave heldout out")
        return *self._check_places(heldout[0], heldout[1], values, "heldout "), values


def frobenius(W: Factored) -> float:
    """‖U Vᵀ‖_F from the triangular factors of U (m, r) and V (n, r).

    Unlike tr(UᵀU VᵀV) this loses no digits when the columns nearly cancel.
    """
    return float(torch.linalg.matrix_norm(qr(W.U)[1] @ qr(W.V)[1].mT))


def distance(W: Tensor | Factored, truth: Factored) -> float:
    """‖W − truth‖_F for W (m, n) dense, read in row blocks, or factored."""
    if isinstance(W, Factored):
        return frobenius(W - truth)
    m, n = truth.shape
    step = max(1, _BLOCK // n)
    pieces = ((W[i : i + step], truth.U[i : i + step]) for i in range(0, m, step))
    return math.hypot(*(float(torch.linalg.vector_norm(rows - U @ truth.V.mT)) for rows, U in pieces))


def entries_of(W: Factored, rows: Tensor, cols: Tensor) -> Tensor:
    """Entries of W at (rows, cols), gathered in pieces of bounded size."""
    step = max(1, _GATHER // max(1, W.U.shape[1]))
    pieces = [
        (W.U.index_select(0, rows[i : i + step]) * W.V.index_select(0, cols[i : i + step])).sum(-1)
        for i in range(0, rows.numel(), step)
    ]
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]

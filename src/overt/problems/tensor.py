"""Tensor completion: some entries of a tensor are seen, the others are asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from overt.models.base import check_dtype, check_size
from overt.models.cp import CPTensor
from overt.problems._numbers import check_count, check_integer
from overt.problems.base import check_iterate, check_values, error_against, mean_squared

__all__ = ["TensorCompletionProblem", "tensor_completion"]


@dataclass(frozen=True, eq=False, repr=False)
class TensorCompletionProblem:
    """Observed entries of an unknown tensor of any order N ≥ 1.

    Parameters
    ----------
    indices
        Integer matrix (k, N): where the entries are. Every row at most once, in any order.
    y
        Observed values (k,), real floating, finite. Its dtype and device are the problem's.
    shape
        (n_1, …, n_N).
    truth
        The whole tensor, where it is known.
    true_rank
        Number of rank-one terms of the truth, where a generator knows it.
    name
        For tables and reports.

    Raises
    ------
    TypeError, ValueError
        Indices that are no integers, out of range, repeated or not one row for each value; no observation;
        NaN or infinite values; a `truth` of another shape or dtype.

    Examples
    --------
    >>> import torch
    >>> from overt.problems.tensor import TensorCompletionProblem
    >>> where = torch.tensor([[0, 0, 0], [1, 0, 1]])
    >>> problem = TensorCompletionProblem(where, torch.tensor([1.0, 3.0]), (2, 2, 2))
    >>> problem.measure(torch.ones(2, 2, 2)), float(problem.loss(torch.ones(2, 2, 2)))
    (tensor([1., 1.]), 2.0)
    """

    indices: Tensor
    y: Tensor
    shape: tuple[int, ...]
    truth: Tensor | None = None
    true_rank: int | None = None
    name: str = "tensor completion"

    def __post_init__(self) -> None:
        shape = tuple(check_size(size, f"shape[{i}]") for i, size in enumerate(self.shape))
        object.__setattr__(self, "shape", shape)
        y = check_values(self.y, "y", ndim=1)
        if y.numel() == 0:
            raise ValueError("no entry is observed: indices and y are empty")
        _check_indices(self.indices, y, shape)
        if bool((self.flat.sort().values.diff() == 0).any()):
            raise ValueError("indices: an entry is given more than once; give every entry once")
        if self.truth is not None:
            truth = check_values(self.truth, "truth", ndim=len(shape), like=y)
            if truth.shape != shape:
                raise ValueError(f"truth must have shape {shape}, got {tuple(truth.shape)}")

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
        """Positions (k,) in the tensor read row by row."""
        position = torch.zeros_like(self.indices[:, 0])
        for mode, size in enumerate(self.shape):
            position = position * size + self.indices[:, mode]
        return position

    @cached_property
    def max_abs_observed(self) -> float:
        """Largest absolute observed value."""
        return float(self.y.abs().max())

    def measure(self, W: Tensor) -> Tensor:
        """Entries of W at the observed places, shape (k,)."""
        return check_iterate(W, self.shape, self.y).reshape(-1).index_select(0, self.flat)

    def adjoint(self, z: Tensor) -> Tensor:
        """The tensor with z (k,) at the observed places and zero elsewhere."""
        check_iterate(z, (self.n_observed,), self.y, name="z")
        return z.new_zeros(math.prod(self.shape)).index_put((self.flat,), z).view(self.shape)

    def loss(self, W: Tensor) -> Tensor:
        """Mean squared residual over the observations, a 0-d tensor."""
        return mean_squared(self.measure(W), self.y)

    def error(self, W: Tensor) -> float:
        """‖W − W*‖_F / ‖W*‖_F, NaN where the truth is not known; for a truth of zero the denominator is 1."""
        return error_against(self.truth, W, self.y)

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> TensorCompletionProblem:
        """The same problem in another precision or on another device."""
        check_dtype(dtype)
        return replace(
            self,
            indices=self.indices.to(device=device),
            y=self.y.to(dtype=dtype, device=device),
            truth=None if self.truth is None else self.truth.to(dtype=dtype, device=device),
        )

    def __repr__(self) -> str:
        size = "×".join(map(str, self.shape))
        return f"TensorCompletionProblem({self.name!r}, {size}, {self.n_observed} observed, {self.dtype})"


def tensor_completion(
    shape: Sequence[int], *, rank: int, n_observed: int, seed: int, dtype: torch.dtype = torch.float64
) -> TensorCompletionProblem:
    """A random tensor of CP rank at most `rank`, seen at `n_observed` places drawn without replacement.

    Parameters
    ----------
    shape
        (n_1, …, n_N).
    rank
        Number of rank-one terms; each is a tensor product of Gaussian vectors.
    n_observed
        Between 1 and the number of entries.
    seed
        Of terms and places; dtype does not change the draws.
    dtype
        Of the values, double precision by default.

    Returns
    -------
    TensorCompletionProblem
        With a truth of Frobenius norm √(n_1 ⋯ n_N), so that its entries have mean square 1.

    Raises
    ------
    TypeError, ValueError
        An argument out of its range.

    Examples
    --------
    >>> problem = tensor_completion((4, 4, 4), rank=1, n_observed=20, seed=0)
    >>> problem.n_observed, round(float(problem.truth.square().mean()), 12)
    (20, 1.0)
    """
    rank, n_observed = check_count(rank, "rank"), check_count(n_observed, "n_observed")
    generator = torch.Generator().manual_seed(check_integer(seed, "seed"))
    with torch.no_grad():
        truth = CPTensor(shape, rank, 1.0, generator=generator, dtype=torch.float64).product()
        truth = truth / truth.square().mean().sqrt()
    if n_observed > truth.numel():
        raise ValueError(f"n_observed must be at most the {truth.numel()} entries, got {n_observed}")
    flat = torch.randperm(truth.numel(), generator=generator)[:n_observed]
    places = torch.stack(torch.unravel_index(flat, truth.shape), dim=1)
    truth = truth.to(check_dtype(dtype))
    return TensorCompletionProblem(
        places, truth.reshape(-1)[flat], tuple(truth.shape), truth=truth, true_rank=rank
    )


def _check_indices(indices: object, y: Tensor, shape: tuple[int, ...]) -> None:
    if not isinstance(indices, Tensor) or indices.dtype not in (torch.int32, torch.int64):
        raise TypeError("indices must be an integer torch.Tensor (int32 or int64)")
    if indices.shape != (y.numel(), len(shape)):
        raise ValueError(
            f"indices must have shape {(y.numel(), len(shape))}: a row for each value and a column for each "
            f"mode, got {tuple(indices.shape)}"
        )
    if indices.device != y.device:
        raise ValueError(f"indices are on {indices.device} but y is on {y.device}; move one of them")
    sizes = torch.tensor(shape, device=indices.device)
    if bool(((indices < 0) | (indices >= sizes)).any()):
        raise ValueError(f"indices must lie in 0 … n − 1 of each mode of {shape}")

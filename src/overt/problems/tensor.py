"""Tensor completion: find a tensor from some of its entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overt._utils.checks import check_integer, message
from overt._utils.seeds import seeded
from overt._utils.tensors import check_dtype, check_index
from overt.models.cp import CPTensor
from overt.problems.base import EntriesProblem, set_field


@dataclass(frozen=True, eq=False, repr=False)
class TensorCompletionProblem(EntriesProblem):
    """Observed entries of an unknown tensor of any order N ≥ 1.

    Parameters
    ----------
    indices
        Integer matrix (k, N): places of the entries, in any order, each row at most once.
    y
        Observed values (k,), real floating, finite. Its dtype and device are the problem's.
    shape
        (n_1, …, n_N).
    truth
        The whole tensor, if it is known.
    true_rank
        Number of rank-one terms of the truth, if a generator knows it.
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
        super().__post_init__()
        order, k = len(self.shape), self.n_observed
        if not isinstance(self.indices, Tensor):
            raise TypeError(message("indices", "a torch.Tensor of integers", self.indices))
        if self.indices.shape != (k, order):
            raise ValueError(
                f"indices must have shape {(k, order)}, a row for each value and a column for each mode, "
                f"got {tuple(self.indices.shape)}"
            )
        columns = zip(self.indices.unbind(1), self.shape, strict=True)
        checked = [check_index(c, f"indices[:, {i}]", n, self.y) for i, (c, n) in enumerate(columns)]
        set_field(self, "indices", torch.stack(checked, 1))
        self._refuse_repeats()

    def places(self) -> tuple[Tensor, ...]:
        """The columns of `indices`."""
        return self.indices.unbind(1)


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
        Of terms and places; the draws do not depend on dtype.
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
    rank = check_integer(rank, "rank", least=1)
    generator = seeded(seed)
    with torch.no_grad():
        truth = CPTensor(shape, rank, 1.0, generator=generator, dtype=torch.float64).product()
        truth = truth / truth.square().mean().sqrt()
    n_observed = check_integer(n_observed, "n_observed", least=1, most=truth.numel())
    flat = torch.randperm(truth.numel(), generator=generator)[:n_observed]
    places = torch.stack(torch.unravel_index(flat, truth.shape), dim=1)
    truth = truth.to(check_dtype(dtype))
    return TensorCompletionProblem(
        places, truth.reshape(-1)[flat], tuple(truth.shape), truth=truth, true_rank=rank
    )

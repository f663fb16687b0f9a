"""How far a map is from being linear: the Jacobian at each point against all of them pooled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from overt import functional as F
from overt.linalg import RowStack, singular_values
from overt.measures.exact import append_rows, row_limit
from overt.measures.spectrum import Spectrum
from overt.networks.batches import Inputs
from overt.networks.passes import wide_dtype
from overt.networks.pointwise import Model, jacobians, pointwise_passes
from overt.networks.target import OutputMap

__all__ = ["Nonlinearity", "nonlinearity"]


@dataclass(frozen=True, eq=False)
class Nonlinearity:
    """How much the Jacobian J(x) of a model varies over the data; see `nonlinearity`.

    Attributes
    ----------
    gap : float
        1 − mean ‖J(x)‖_* / tr √M, in [0, 1).
    variation : float
        The part of mean ‖J(x)‖_F² that the mean Jacobian does not explain, in [0, 1] up to sampling.
    pooled : Spectrum
        √eig(M), M = mean J(x)ᵀJ(x).
    pointwise : Spectrum
        The mean over the points of the i-th singular value of J(x), with its standard error.
    effective_rank_gap : float
        Effective rank of the pooled spectrum minus the mean effective rank of J(x).
    """

    gap: float
    variation: float
    pooled: Spectrum
    pointwise: Spectrum
    effective_rank_gap: float


def nonlinearity(
    model: Model,
    inputs: Inputs,
    *,
    outputs: OutputMap = "logits",
    layer: str | None = None,
    forward: Callable[[Any, Tensor], Any] | None = None,
    memory_budget: int = 2**30,
) -> Nonlinearity:
    """The gap between the pooled and the pointwise spectra of the Jacobian, a measure of non-linearity.

    With M = mean_x J(x)ᵀJ(x) over the data,

        gap = 1 − mean_x ‖J(x)‖_* / tr √M,        0 ≤ gap < 1.

    A ↦ tr √A is strictly concave on positive semidefinite matrices, so (Jensen) the gap is 0 exactly when
    J(x)ᵀJ(x) is the same at all points: for linear and affine maps, but also for maps that turn the same
    sensitivity into different output directions, such as an isometric embedding. It is scale-invariant. What
    the gap cannot see, the second number does:

        variation = Σ‖J(x_i) − J̄‖_F² / (N − 1) / mean ‖J(x)‖_F²,

    which is 0 exactly when J is constant on the data, and 1 when the mean Jacobian vanishes (its numerator is
    unbiased over samples of the data). Both describe the given points, not all of the input space.

    Parameters
    ----------
    model, inputs, outputs, layer, forward
        As for `local_ranks`; at least two points.
    memory_budget
        Bytes for one pass, and for the rows that the pooled spectrum is computed from.

    Raises
    ------
    TypeError, ValueError
        As for `overt.measure`; fewer than two points, or a Jacobian that is zero at all of them; a pooled
        spectrum beyond the memory budget.

    Examples
    --------
    >>> import torch
    >>> from overt.measures import nonlinearity
    >>> x = torch.randn(20, 3, dtype=torch.float64)
    >>> linear = torch.nn.Linear(3, 3).double()
    >>> abs(nonlinearity(linear, x).gap) < 1e-12
    True
    >>> nonlinearity(torch.nn.Sequential(linear, torch.nn.ReLU()), x).gap > 0.01
    True
    """
    with pointwise_passes(model, inputs, outputs, layer, forward, memory_budget) as passes:
        size = passes.input_size
        pool = _Pool(RowStack(size, row_limit(size, passes.dtype, memory_budget), lossless=True))
        for J in jacobians(passes):
            pool.add(J)
    return pool.result(passes.shape)


class _Pool:
    """What is summed up over the points."""

    def __init__(self, stack: RowStack) -> None:
        self.count = 0
        self._stack = stack  # rows whose Gram matrix is Σ J(x)ᵀJ(x)
        self._mean: Tensor | None = None
        self._scatter = 0.0
        self._energy = 0.0
        self._spectra: list[Tensor] = []

    def add(self, J: Tensor) -> None:
        self._spectra.append(singular_values(J))
        append_rows(self._stack, J.flatten(0, 1))
        J = J.to(wide_dtype(J.device))
        self._energy += float(J.square().sum())
        self._add_mean(J)

    def _add_mean(self, J: Tensor) -> None:
        """Mean and scatter, updated without cancellation (Chan, Golub & LeVeque 1983)."""
        b, mean = len(J), J.mean(0)
        self._scatter += float((J - mean).square().sum())
        if self._mean is None:
            self._mean = mean
        else:
            step = mean - self._mean
            self._scatter += float(step.square().sum()) * self.count * b / (self.count + b)
            self._mean = self._mean + step * (b / (self.count + b))
        self.count += b

    def result(self, shape: tuple[int, ...]) -> Nonlinearity:
        n = self.count
        if n < 2:
            raise ValueError(f"inputs: variation over the data needs at least two points, got {n}")
        if self._energy == 0:
            raise ValueError("model: its Jacobian is zero at all points, so there is nothing to compare")
        factor = self._stack.rows() / n**0.5
        pooled = Spectrum(
            singular_values(factor), n_samples=n, method="exact", factor=factor, input_shape=shape
        )
        values = torch.cat(self._spectra)
        stderr = values.std(0) / n**0.5
        mean_rank = float(F.effective_rank(singular_values=values).mean())
        return Nonlinearity(
            gap=1 - float(values.double().sum(1).mean()) / float(pooled.values.double().sum()),
            variation=self._scatter / (n - 1) / (self._energy / n),
            pooled=pooled,
            pointwise=Spectrum(values.mean(0), stderr=stderr, n_samples=n, method="exact", covers="data"),
            effective_rank_gap=pooled.effective_rank - mean_rank,
        )

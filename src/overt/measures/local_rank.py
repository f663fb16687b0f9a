"""The Jacobian at each point: its rank, and how far the map is from being linear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from overt import functional as F
from overt.linalg import qr, singular_values
from overt.measures._guard import check_module, untouched
from overt.measures._matrices import weights_of
from overt.measures._streams import home_of
from overt.measures.data import Inputs, batches
from overt.measures.jacobian import jacobian_rows, leaf, require_finite_rows, verify
from overt.measures.spectrum import Spectrum
from overt.measures.target import OutputMap, Target

__all__ = ["LocalRanks", "Nonlinearity", "local_ranks", "nonlinearity"]

_BYTES = 2**28  # for the Jacobians of one chunk of points


@dataclass(frozen=True, eq=False)
class LocalRanks:
    """Ranks of the Jacobians J(x_i) of a model at N points.

    Attributes
    ----------
    ranks : Tensor, shape (N,)
        Number of singular values above ``rtol``·σ₁ at each point; 0 where J is zero.
    values : Tensor, shape (N, k)
        The singular values, descending.
    rtol : float
        The relative tolerance used.
    margins : Tensor, shape (N,)
        Smallest singular value that counts over the largest that does not; infinite where none is left out or
        what is left out is exactly 0. Where it is large, the rank does not depend on the tolerance.
    """

    ranks: Tensor
    values: Tensor
    rtol: float
    margins: Tensor

    @property
    def mean(self) -> float:
        """Mean rank over the points."""
        return float(self.ranks.double().mean())

    @property
    def std(self) -> float:
        """Standard deviation of the rank over the points: 0 for a linear map."""
        return float(self.ranks.double().std(correction=0))

    @property
    def counts(self) -> dict[int, int]:
        """Number of points of each rank, by rank."""
        return dict(sorted(Counter(self.ranks.tolist()).items()))

    @property
    def effective_ranks(self) -> Tensor:
        """Effective rank of each Jacobian, shape (N,)."""
        return F.effective_rank(singular_values=self.values)

    def __repr__(self) -> str:
        spread = f"mean={self.mean:.4g}, std={self.std:.4g}, counts={self.counts}"
        return f"LocalRanks({spread}, rtol={self.rtol:.3g})"


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


def local_ranks(
    model: nn.Module,
    inputs: Inputs,
    *,
    rtol: float | None = None,
    outputs: OutputMap = "logits",
    layer: str | None = None,
) -> LocalRanks:
    """Rank of the model's input–output Jacobian at each point, and its spread over the data.

    By the implicit function theorem, the rank at x is the number of directions that the output can move in,
    or the dimension of the output manifold near f(x). For a piecewise linear network it is the rank of the
    linear piece that x lies in.

    **Tolerance.** A singular value counts if it is above rtol·σ₁. The default rtol is L·max(m, n)·eps for an
    (m, n) Jacobian, eps the rounding unit of the dtype and L the number of the model's weights: a
    decomposition resolves max(m, n)·eps·σ₁, and the Jacobian is itself a product of some L matrices, each
    rounded once. This is the rank in floating point. A larger rtol, such as 1e-3, asks for the rank at that
    resolution. Whether the answer depends on the choice is told by ``margins``; in single precision small
    margins are common, and a model and data in double precision settle the question.

    Parameters
    ----------
    model
        In evaluation mode for the time of the call. K backward passes for K outputs.
    inputs
        A tensor (N, …), or a DataLoader of such tensors or of tuples that begin with one.
    rtol
        Relative tolerance, in [0, 1).
    outputs, layer
        What is differentiated, as for `overt.measure`.

    Raises
    ------
    TypeError, ValueError
        As for `overt.measure`; a bad `rtol`.

    References
    ----------
    Feng, R., Zheng, K., Huang, Y., Zhao, D., Jordan, M., Zha, Z.-J. (2022). Rank diminishing in deep neural
    networks. NeurIPS.

    Examples
    --------
    >>> import torch
    >>> from overt.measures import local_ranks
    >>> model = torch.nn.Sequential(torch.nn.Linear(5, 2), torch.nn.Linear(2, 4)).double()
    >>> local_ranks(model, torch.randn(3, 5, dtype=torch.float64)).counts
    {2: 3}
    """
    model = check_module(model)
    if rtol is not None and not 0 <= float(rtol) < 1:
        raise ValueError(f"rtol must lie in [0, 1), got {rtol!r}")
    spectra, shape = [], (0, 0)
    with untouched(model):
        for J in _jacobians(model, inputs, outputs, layer):
            spectra.append(singular_values(J))
            shape = (J.shape[1], J.shape[2])
    values = torch.cat(spectra)
    depth = max(1, sum(1 for _ in weights_of(model)))
    tolerance = depth * max(shape) * torch.finfo(values.dtype).eps if rtol is None else float(rtol)
    counted = values > tolerance * values[:, :1]
    ranks = counted.sum(1)
    kept = values.masked_fill(~counted, torch.inf).amin(1)
    dropped = values.masked_fill(counted, 0).amax(1)
    margins = torch.where(dropped > 0, kept / dropped, torch.inf)
    return LocalRanks(ranks, values, tolerance, margins)


def nonlinearity(
    model: nn.Module, inputs: Inputs, *, outputs: OutputMap = "logits", layer: str | None = None
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
    model, inputs, outputs, layer
        As for `local_ranks`; at least two points.

    Raises
    ------
    TypeError, ValueError
        As for `overt.measure`; fewer than two points, or a Jacobian that is zero at all of them.

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
    model = check_module(model)
    pool = _Pool()
    with untouched(model):
        for J in _jacobians(model, inputs, outputs, layer):
            pool.add(J)
    return pool.result()


def _jacobians(model: nn.Module, inputs: Inputs, outputs: OutputMap, layer: str | None) -> Iterator[Tensor]:
    """Jacobians (B, K, D) of points, in chunks that fit the memory budget."""
    target = Target(model, outputs, layer)
    size: int | None = None
    count = 0
    for batch in batches(inputs, device=home_of(model)):
        if size is None:
            size = max(1, _BYTES // (verify(target, batch) * batch[0].numel() * batch.element_size()))
        for chunk in torch.split(batch, size):
            x = leaf(chunk)
            J = torch.stack([row.flatten(1) for row in jacobian_rows(target(x), x)], dim=1)
            require_finite_rows(J)
            count += len(J)
            yield J
    if count == 0:
        raise ValueError("inputs hold no example; give at least one")


class _Pool:
    """What is summed up over the points."""

    def __init__(self) -> None:
        self.count = 0
        self._stack: Tensor | None = None  # rows whose Gram matrix is Σ J(x)ᵀJ(x)
        self._mean: Tensor | None = None
        self._scatter = 0.0
        self._energy = 0.0
        self._spectra: list[Tensor] = []

    def add(self, J: Tensor) -> None:
        self._spectra.append(singular_values(J))
        self._energy += float(J.double().square().sum())
        self._add_mean(J.double())
        rows = J.flatten(0, 1)
        stack = rows if self._stack is None else torch.cat([self._stack, rows])
        # The triangular factor has the same Gram matrix, without the squares that cost half of the digits.
        self._stack = qr(stack)[1] if len(stack) > 2 * stack.shape[1] else stack

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

    def result(self) -> Nonlinearity:
        n = self.count
        if n < 2 or self._stack is None:
            raise ValueError(f"inputs: variation over the data needs at least two points, got {n}")
        if self._energy == 0:
            raise ValueError("model: its Jacobian is zero at all points, so there is nothing to compare")
        factor = self._stack / n**0.5
        pooled = Spectrum(singular_values(factor), n_samples=n, method="exact", factor=factor)
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

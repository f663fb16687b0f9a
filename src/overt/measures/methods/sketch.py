"""M from random vector–Jacobian products: unbiased in a fixed basis, cross-fitted in the eigenbasis."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from overt.linalg import Basis, RowStack
from overt.linalg.row_stack import LARGEST_SQUARE
from overt.measures.methods.cross_fit import CrossFit, cross_fit
from overt.measures.methods.exact import row_limit
from overt.measures.methods.moments import Moments, values_with_errors
from overt.networks.jacobian import require_finite_rows
from overt.networks.passes import Passes, wide_dtype
from overt.networks.probes import Probing

ErrorsOver = Literal["data", "probes"]

_FOLDS = 4
# Rows that are kept if a square matrix of all columns would not fit; the size of their Gram matrix.
_THIN_ROWS = 2048


def sketch_diagonal(
    passes: Passes, basis: Basis, probing: Probing, errors_over: ErrorsOver
) -> dict[str, Any]:
    """√diag(U M U*) with its standard errors.

    For each input the mean of |U v|² over its draws is an unbiased estimate of diag(U JᵀJ U*). The estimates
    of different inputs are independent, so their variance covers data and probes; the variance among the
    draws of one input covers the probes.
    """
    over_inputs = Moments()
    probe_variance = torch.zeros((), dtype=wide_dtype(passes.device), device=passes.device)
    for x, y, _ in passes:
        within = Moments()
        for v in probing.draws(x, y):
            within.add(basis.power(v).to(wide_dtype(x.device))[None])
        require_finite_rows(within.mean)
        over_inputs.add(within.mean * (probing.count * probing.weight))
        variance = within.variance_of_mean()
        probe_variance = probe_variance + (torch.nan if variance is None else variance.sum(0))
    n = over_inputs.count
    covers = _covered(n, probing, errors_over)
    variance = over_inputs.variance_of_mean() if "data" in covers else probe_variance / n**2
    if not covers or bool(torch.as_tensor(variance).isnan().any()):
        variance, covers = None, ""
    values, stderr = values_with_errors(over_inputs.mean, variance)
    return {
        "values": values,
        "stderr": stderr,
        "covers": covers,
        "n_samples": n,
        "n_probes": 0 if probing.all_outputs else probing.count,
    }


def sketch_eigen(
    passes: Passes, probing: Probing, errors_over: ErrorsOver, memory_budget: int
) -> dict[str, Any]:
    """Corrected singular values, the two biased estimates around them, and unbiased moments."""
    draws = _Draws(passes.input_size, passes.dtype, probing, errors_over, memory_budget)
    for x, y, _ in passes:
        draws.add(x, y)
    folds, samples, shares = draws.dealt()
    fit = cross_fit(folds, shares)
    factor = fit.upper.sqrt()[:, None] * fit.vectors
    found: dict[str, Any] = {
        "factor": factor,
        "n_samples": draws.count,
        "n_probes": 0 if probing.all_outputs else probing.count,
        "trace_squared": draws.trace_squared(float(fit.upper.square().sum())),
    }
    if len(folds) == 1:
        return found | {"values": fit.upper.sqrt()}
    variance = None if samples is None else _variance(fit, samples, draws)
    values, stderr = values_with_errors(fit.corrected.clamp_min(0), variance)
    return found | {
        "values": values,
        "stderr": stderr,
        "covers": "" if stderr is None else _covered(draws.count, probing, errors_over),
        "lower": fit.lower.sqrt(),
        "upper": (fit.upper[: len(values)] + draws.dropped()).sqrt(),
        "tail": max(0.0, draws.trace() - float(values.square().sum())),
    }


class _Draws:
    """The draws v of all inputs in folds, and the sums that one pass gives."""

    def __init__(
        self, size: int, dtype: torch.dtype, probing: Probing, errors_over: ErrorsOver, memory_budget: int
    ) -> None:
        limit = row_limit(size, dtype, memory_budget)
        if size > LARGEST_SQUARE or 32 * size**2 > memory_budget:
            limit = min(limit, _THIN_ROWS)
        self.stacks = [RowStack(size, max(2, limit // _FOLDS)) for _ in range(_FOLDS)]
        self.samples: list[list[Tensor]] = [[] for _ in range(_FOLDS)]
        self.probing = probing
        self.by_input = errors_over == "data"
        self.count = 0
        self._squared_norms = 0.0
        self._own = 0.0
        self._own_unbiased = 0.0

    def add(self, x: Tensor, y: Tensor) -> None:
        """Draw for a chunk of inputs."""
        ids = torch.arange(self.count, self.count + len(x), device=x.device)
        self.count += len(x)
        drawn = []
        for k, v in enumerate(self.probing.draws(x, y)):
            require_finite_rows(v)
            drawn.append(v.flatten(1))
            for fold in range(_FOLDS):
                mine = (ids if self.by_input else torch.full_like(ids, k)) % _FOLDS == fold
                self.stacks[fold].append(drawn[-1][mine])
                self.samples[fold].append(ids[mine])
        self._add_moments(torch.stack(drawn, 1))

    def _add_moments(self, V: Tensor) -> None:
        gram = (V @ V.mT).double()
        weight, k = self.probing.weight, self.probing.count
        own = gram.diagonal(dim1=-2, dim2=-1)
        self._squared_norms += weight * float(own.sum())
        self._own += weight**2 * float(gram.square().sum())
        if k > 1:
            pairs = float(gram.square().sum() - own.square().sum())
            self._own_unbiased += pairs / (k * (k - 1)) if not self.probing.all_outputs else math.nan

    def trace(self) -> float:
        """Unbiased estimate of tr M."""
        return self._squared_norms / self.count

    def trace_squared(self, of_average: float) -> float | None:
        """Unbiased estimate of tr M² from tr M̂², by leaving out pairs that are not independent.

        If the inputs are a sample, pairs of different inputs count (Kong & Valiant 2017, section 2, for the
        moments of a covariance); if they are the whole population, pairs of different draws too.
        """
        n = self.count
        different = n**2 * of_average - self._own
        if any(stack.dropped_norm for stack in self.stacks):
            return None
        if self.by_input and n > 1:
            return different / (n * (n - 1))
        if self.probing.all_outputs:
            return of_average
        return (different + self._own_unbiased) / n**2 if self.probing.count > 1 else None

    def dropped(self) -> float:
        """Bound on how much dropped rows lowered an eigenvalue of the average."""
        scale = self.probing.weight / self.count
        return scale * sum(stack.dropped_norm for stack in self.stacks)

    def dealt(self) -> tuple[list[Tensor], list[Tensor] | None, list[float]]:
        """Scaled rows of the folds, the inputs of these rows (None after compression), the folds' shares."""
        samples = [torch.cat(ids) for ids in self.samples]
        used = [fold for fold in range(_FOLDS) if len(samples[fold])]
        rows = [self.stacks[fold].rows() for fold in used]
        samples = [samples[fold] for fold in used]
        whole = all(len(A) == len(ids) for A, ids in zip(rows, samples, strict=True))
        if len(used) == 1 and whole and not self.probing.all_outputs and len(rows[0]) > 1:
            # A single input: its draws are dealt out instead.
            parts = min(_FOLDS, len(rows[0]))
            rows, samples = [[one[0][f::parts] for f in range(parts)] for one in (rows, samples)]
        sizes = [len(ids) for ids in samples]
        total = self.probing.count * self.probing.weight
        scaled = [A * math.sqrt(total / size) for A, size in zip(rows, sizes, strict=True)]
        return scaled, samples if whole else None, [size / sum(sizes) for size in sizes]


def _variance(fit: CrossFit, samples: list[Tensor], draws: _Draws) -> Tensor | None:
    """Variance of the mean of v̂ᵀM̂′v̂, over inputs or over the draws of each input.

    To first order it is also the variance of the eigenvalue, and of the corrected one.
    """
    n, k = draws.count, fit.lower.shape[0]
    ids = torch.cat(samples)
    # Undo the scaling of a fold: count · weight · (v·v̂)², whose mean over an input's draws is v̂ᵀS_x v̂.
    squares = torch.cat([p * len(p) for p in fit.projections])
    per_input = squares.new_zeros(n, k).index_add_(0, ids, squares) / draws.probing.count
    if draws.by_input and n > 1:
        moments = Moments()
        moments.add(per_input)
        return moments.variance_of_mean()
    if draws.probing.all_outputs or draws.probing.count < 2:
        return None
    deviations = (squares - per_input[ids]).square()
    degrees = draws.probing.count * (draws.probing.count - 1)
    return deviations.sum(0) / degrees / n**2


def _covered(n: int, probing: Probing, errors_over: ErrorsOver) -> str:
    """Sources of error that the variance of the estimates covers; see ``Spectrum.covers``."""
    over_data = errors_over == "data" and n > 1
    if probing.all_outputs:
        return "data" if over_data else ""
    return "data and probes" if over_data else "probes"

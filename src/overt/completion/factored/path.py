"""The path over ranks of ridge-regularized factors, judged on held-out entries; see
:mod:`overt.completion.factored`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from overt.completion.convex.proximal_steps import BlockSteps
from overt.completion.problem import largest_rank
from overt.completion.refit import Limits, refit_entries
from overt.completion.result import Completion, HistoryRow, Triplet, entries_at, joined
from overt.completion.tangent import Entries

MULTIPLES = (0.05, 0.3, 1.0)  # of the noise's spectral norm; each has its own path over the ranks
_WORTHWHILE = 0.999  # a larger rank must lower the held-out error below this share of the best
_PATIENCE = 3  # ranks in a row that are not worthwhile
_REFINE = 1.8  # factor between neighbouring weights when the best one is refined
_EXACT = 1e-7  # held-out error, as a share of the observations' RMS, that counts as none


@dataclass(frozen=True)
class FactoredPoint:
    """A point of the path: the factors and how they were found."""

    point: Triplet
    multiple: float
    ridge: float
    heldout_rmse: float

    @property
    def rank(self) -> int:
        """Number of singular values."""
        return int(self.point[1].numel())


@dataclass
class _Path:
    """The data of a path and what it has found so far."""

    entries: Entries
    y: Tensor
    out: tuple[Tensor, Tensor, Tensor]
    max_rank: int
    seed: int
    on_point: Callable[[FactoredPoint], None] | None
    rms: float = 0.0
    best: FactoredPoint = field(init=False)
    zero: Triplet = field(init=False)
    history: list[HistoryRow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rms = float(self.y.square().mean().sqrt())
        self.zero = Completion.zero(self.y, self.entries.shape).triplet
        self.best = FactoredPoint(self.zero, MULTIPLES[0], math.inf, self.error(self.zero))

    @property
    def exact(self) -> bool:
        """Whether the held-out entries are predicted to rounding."""
        return self.best.heldout_rmse <= _EXACT * self.rms

    def error(self, point: Triplet) -> float:
        """Held-out root mean square error."""
        rows, cols, values = self.out
        return float((entries_at(point, rows, cols) - values).square().mean().sqrt())

    def fit(self, point: Triplet, ridge: float, max_iter: int = 4) -> Triplet:
        """Refit the factors and drop the directions that the ridge has driven to zero."""
        if not point[1].numel():
            return point
        found = refit_entries(self.entries, self.y, point, Limits(1e-12, max_iter, ridge, patience=3))
        s = found.singular_values
        return found.cut(int((s > 1e-6 * s[0]).sum()) if float(s[0]) > 0 else 0).triplet

    def directions(self, point: Triplet, count: int) -> Triplet:
        """Leading singular triplets of the misfit."""
        misfit = self.y
        if point[1].numel():
            misfit = misfit - self.entries.predict(point[0] * point[1], point[2].mT.contiguous())
        U, s, Vt = leading(self.entries, misfit, count + 4, self.seed)
        return U[:, :count], s[:count], Vt[:count]

    def accept(self, current: FactoredPoint) -> bool:
        """Record a point; True if it is worth its rank."""
        row = {name: getattr(current, name) for name in ("multiple", "ridge", "rank", "heldout_rmse")}
        self.history.append(row)
        share = 1.0 if current.rank <= self.best.rank else _WORTHWHILE
        better = current.heldout_rmse < share * self.best.heldout_rmse
        if better:
            self.best = current
            if self.on_point is not None:
                self.on_point(current)
        return better


def noise_norm(entries: Entries, noise: float) -> float:
    """``noise · (√(k/m) + √(k/n))``."""
    m, n = entries.shape
    return noise * (math.sqrt(entries.k / m) + math.sqrt(entries.k / n))


def leading(entries: Entries, z: Tensor, count: int, seed: int, passes: int = 3) -> Triplet:
    """Approximately the leading singular triplets of ``P*(z)``, z in row order."""
    steps = BlockSteps(entries, z, max_rank=count, seed=seed)
    for _ in range(passes):
        point = steps.shrink_sorted(z, [], 0.0)
    return point


def factored_path(
    entries: Entries,
    y: Tensor,
    out: tuple[Tensor, Tensor, Tensor],
    *,
    multiples: Sequence[float] = MULTIPLES,
    max_rank: int | None = None,
    seed: int = 0,
    on_point: Callable[[FactoredPoint], None] | None = None,
) -> tuple[FactoredPoint, list[HistoryRow]]:
    """Best point of the path by the error on held-out entries, and the history of the path.

    Parameters
    ----------
    entries, y : Entries, Tensor (k,)
        Training positions and values, in row order.
    out : (rows, cols, values)
        Held-out entries.
    multiples, max_rank, seed
        As for :func:`overt.completion.factored`.
    on_point : callable, optional
        Receives each improvement.
    """
    limit = largest_rank(entries.shape, entries.k) if max_rank is None else min(max_rank, *entries.shape)
    path = _Path(entries, y, out, limit, seed, on_point)
    for multiple in multiples:
        before = path.best.heldout_rmse
        _grow(path, multiple)
        if path.exact or (path.best.rank and path.best.heldout_rmse == before):
            break
    if not path.exact and path.best.rank:
        _refine(path)
    return path.best, path.history


def _grow(path: _Path, multiple: float) -> None:
    """The path over the ranks at one multiple, until three ranks in a row are not worthwhile."""
    point = path.zero
    error, best, misses = path.error(point), math.inf, 0
    while misses < _PATIENCE and not path.exact:
        rank = int(point[1].numel())
        more = path.directions(point, min(1 + rank // 8, path.max_rank - rank))
        if not more[1].numel():
            break
        current = _settle(path, joined(point, more), multiple, error)
        point, error = current.point, min(error, current.heldout_rmse)
        if current.heldout_rmse < _WORTHWHILE * best:
            best, misses = current.heldout_rmse, 0
        else:
            misses += 1
        if current.rank <= rank:
            break


def _settle(path: _Path, point: Triplet, multiple: float, error: float) -> FactoredPoint:
    """Refit at one rank, with the weight following the held-out error down."""
    for _ in range(30):
        ridge = multiple * noise_norm(path.entries, error)
        point = path.fit(point, ridge)
        current = FactoredPoint(point, multiple, ridge, path.error(point))
        path.accept(current)
        if path.exact or current.heldout_rmse > 0.9 * error:
            break
        error = current.heldout_rmse
    return current


def _refine(path: _Path) -> None:
    """Walk the weight up or down from the best point, at its rank, as long as the held-out error falls."""
    for factor in (1 / _REFINE, _REFINE):
        for _ in range(6):
            start = path.best
            ridge = start.ridge * factor
            point = path.fit(start.point, ridge)
            if not path.accept(FactoredPoint(point, start.multiple * factor, ridge, path.error(point))):
                break


def split_observations(k: int, share: float, seed: int) -> tuple[Tensor, Tensor] | None:
    """Indices kept and held out; None where too few observations exist to hold one out."""
    n_out = min(max(1, round(share * k)), k - 1)
    if n_out < 1:
        return None
    order = torch.randperm(k, generator=torch.Generator().manual_seed(seed))
    return order[n_out:], order[:n_out]


def finish(entries: Entries, y: Tensor, start: FactoredPoint, max_iter: int = 60) -> Completion:
    """Fit all observations from a point of the path; without ridge where the held-out error was none."""
    size = float(torch.linalg.vector_norm(y))
    if not start.rank:
        return Completion(*start.point, True, 0, 1.0, message="no direction lowers the held-out error")
    exact = start.heldout_rmse <= 100 * _EXACT * size / math.sqrt(max(entries.k, 1))
    ridge = 0.0 if exact else start.ridge
    found = refit_entries(entries, y, start.point, Limits(1e-14, max_iter, ridge))
    if exact:  # to rounding of the observations, which may have been single precision
        met = found.residual <= 1e-5
        return replace(found, converged=met, message=f"rank {found.rank} at residual {found.residual:.1e}")
    return replace(found, message=f"rank {found.rank} with ridge {ridge:.2e}, chosen on held-out entries")

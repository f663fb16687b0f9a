"""Rank-blind iteratively reweighted least squares for completion and sensing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from overt._utils.checks import check_callable, check_integer, check_number, check_seed, optional
from overt.completion.certificate import certificate
from overt.completion.irls.engine import Engine, EntriesEngine, Iterate, SensingEngine
from overt.completion.irls.proxy import check_proxy
from overt.completion.peeling import Peeled, peel
from overt.completion.problem import ZERO_MESSAGE, check_problem, largest_rank, widest_gap
from overt.completion.result import Completion, degrees_of_freedom

_GAP = 30.0  # a fall by this factor between neighbouring singular values is worth an exact refit
_ZERO = 1e-12  # singular values below this share of the largest count as zero
_SPECTRAL = 40  # singular values of the data looked at before the first step
_SPECTRAL_GAP = 1.7  # a fall by this factor among them is worth an exact refit …
_PLENTY = 5  # … where there are this many times more entries than degrees of freedom
_SPARSE = 0.2  # limit rank over the number of lines up to which observations are sparse
_EXPONENTS = (0.5, 0.65, 0.35, 0.8)  # Schatten exponents p of the weights, in the order tried
Callback = Callable[[Completion], Any]


def irls(
    problem: Any,
    *,
    rank_proxy: str | int = "participation_ratio",
    noise_std: float | None = None,
    max_rank: int | None = None,
    max_iter: int = 60,
    tolerance: float | None = None,
    attempts: int = 8,
    seed: int = 0,
    callback: Callback | None = None,
) -> Completion:
    """Complete a matrix of unknown rank by harmonic-mean iteratively reweighted least squares.

    Each step minimizes ``‖W_k^{1/2} X‖²`` subject to the data, where ``W_k⁻¹`` averages ``U max(σ, ε_k)² Uᵀ``
    from the left and ``V max(σ, ε_k)² Vᵀ`` from the right, and the smoothing follows
    ``ε_k = min(ε_{k−1}, σ_{q_k+1})``. The rank is unknown: ``q_k`` is a continuous rank of the iterate, but
    at least the *limit rank* of the data, the largest r with ``r(m+n−r) < |Ω|``. Near the information limit
    the limit rank is nearly the true one; far above it the continuous rank falls early and the solver
    converges in a few steps. As soon as the spectrum shows a gap, an exact refit at that rank
    (:func:`overt.completion.refit`) is tried: if its residual reaches machine precision with fewer degrees
    of freedom than data, that is the answer. A run ends where ε has stalled. Where one continuous rank ends
    in a spurious minimum the next is tried, then randomly perturbed starts. Sparse observations are also
    peeled: lines with at most as many entries as the limit rank are taken off in a cascade, the core is
    solved, and they are put back (:mod:`overt.completion.peeling`).

    Parameters
    ----------
    problem : CompletionProblem or SensingProblem
        Anything with ``y`` (k,), ``shape`` and either ``rows``/``cols`` or ``A`` (k, m·n).
    rank_proxy : str or int
        ``"participation_ratio"`` (the squared normalized nuclear norm), ``"effective_rank"``,
        ``"stable_rank"``, ``"log_det"``, ``"schatten"``: the first rule tried. An integer gives the rank
        and replaces all rules.
    noise_std : float, optional
        Standard deviation of additive noise on ``y``, in its units. The data is then fitted to within the
        noise: the step minimizes ``‖P(X) − y‖² + λ ‖W_k^{1/2} X‖²`` with ``λ = noise_std² (√m + √n)²/4``,
        the weight at which singular values made of noise alone vanish; the last step is a least-squares
        refit on the rank found. ``None`` or 0: the data is exact.
    max_rank : int, optional
        Upper bound on the rank; the limit rank by default.
    max_iter : int
        Steps per attempt.
    tolerance : float, optional
        Relative residual that counts as exact; ``100 eps`` by default.
    attempts : int
        Rules and perturbed starts tried, at most, on exact data.
    seed : int
        Seed of the perturbations.
    callback : callable, optional
        Receives a :class:`Completion`, marked unconverged, after every step: the iterate cut where its
        spectrum falls most. (Exact refits that failed are not passed on; they may be far off.) If it returns
        True, the search ends with a refit.

    Returns
    -------
    Completion
        ``converged`` says that an exact fit (or, with noise, a stationary point) was found.

    Raises
    ------
    TypeError
        If ``problem`` is neither a completion nor a sensing problem, or an option is of the wrong kind.
    ValueError
        If an option is out of range, the data is not finite, or all measurement matrices are zero.

    References
    ----------
    C. Kümmerle, J. Sigl (2018), *Harmonic mean iteratively reweighted least squares for low-rank matrix
    recovery*, JMLR 19; C. Kümmerle, C. M. Verdun (2021), *A scalable second order method for ill-conditioned
    matrix completion from few samples*, ICML (smoothing rule, known rank).

    Examples
    --------
    >>> import torch
    >>> from types import SimpleNamespace
    >>> from overt.completion.irls import irls
    >>> g = torch.Generator().manual_seed(0)
    >>> W = torch.randn(20, 2, generator=g).double() @ torch.randn(2, 15, generator=g).double()
    >>> kept = torch.randperm(300, generator=g)[:130]
    >>> rows, cols = kept // 15, kept % 15
    >>> found = irls(SimpleNamespace(rows=rows, cols=cols, y=W[rows, cols], shape=(20, 15)))
    >>> found.rank, bool((found.W - W).norm() < 1e-10 * W.norm())
    (2, True)
    """
    began = time.perf_counter()
    check_problem(problem)
    rank_proxy = check_proxy(rank_proxy)
    noise_std = optional(check_number, noise_std, "noise_std", least=0)
    max_rank = optional(check_integer, max_rank, "max_rank", least=1)
    max_iter = check_integer(max_iter, "max_iter", least=1)
    tolerance = optional(check_number, tolerance, "tolerance", least=0)
    attempts = check_integer(attempts, "attempts", least=1)
    check_seed(seed)
    optional(check_callable, callback, "callback")
    engine: Engine = SensingEngine(problem) if hasattr(problem, "A") else EntriesEngine(problem)
    if not engine.scale > 0:
        zero = Completion.zero(engine.y, engine.shape, residual=0.0)
        return engine.finish(zero, began, message=ZERO_MESSAGE)
    limit = min(largest_rank(engine.shape, engine.k), max_rank or engine.k)
    tolerance = 100 * engine.eps if tolerance is None else tolerance
    search = _Search(problem, engine, rank_proxy, limit, max_iter, tolerance, began, callback)
    return search.noisy(noise_std / engine.scale) if noise_std else search.exact(attempts, seed)


def sparse(shape: tuple[int, int], limit: int) -> bool:
    """Whether observations whose limit rank this is are few: then runs end in spurious minima."""
    return limit <= _SPARSE * min(shape)


class _Core:
    """The core of observations that were peeled, and how a fit of it becomes one of all."""

    def __init__(self, peeled: Peeled, limit: int) -> None:
        self._peeled = peeled
        self.engine = EntriesEngine(peeled.core)
        self.limit = min(limit, largest_rank(self.engine.shape, self.engine.k))

    def finished(self, fit: Completion, engine: Engine, tolerance: float) -> Completion:
        """A fit of the core, extended and polished on all observations."""
        U, s, Vt = self._peeled.extended(fit.scaled(self.engine.scale))
        return engine.refit((U, s / engine.scale, Vt), fit.rank, tolerance)


@dataclass
class _Search:
    """A search for the matrix behind the data of an engine, with its history."""

    problem: Any
    engine: Engine
    rule: str | int
    limit: int
    max_iter: int
    tolerance: float
    began: float
    callback: Callback | None
    history: list[dict[str, Any]] = field(default_factory=list)
    stopped: bool = False

    def exact(self, attempts: int, seed: int) -> Completion:
        """The exact fit that some rule leads to, or else the best fit, tamed."""
        fit = self._spectral()
        if fit is not None:
            return self._found(fit)
        core = self._core()
        best: Completion | None = None
        for attempt, (rule, p, start) in enumerate(_rules(self.rule, attempts)):
            perturbed = seed + start if start else None
            for part in _parts(core, attempt):
                fit = self._attempt(part, perturbed, attempt=attempt, rule=rule, p=p)
                if fit.converged:
                    return self._found(self._lowest(fit))
                if best is None or fit.residual < best.residual:
                    best = fit
                if self.stopped:
                    break
            if self.stopped:
                break
        assert best is not None
        message = (
            f"no exact fit of rank ≤ {self.limit} found in {attempt + 1} attempts (best residual "
            f"{best.residual:.1e}); if the data is noisy give noise_std, otherwise observe more entries or "
            "raise attempts"
        )
        return self._finish(self.engine.tame(best), converged=False, message=message)

    def _attempt(self, core: _Core | None, seed: int | None, **how: Any) -> Completion:
        """The best fit of one run, on all observations or on their core."""
        tried: set[int] = set()
        best: Completion | None = None
        engine, limit = (self.engine, self.limit) if core is None else (core.engine, core.limit)
        for iterate in engine.iterate(how["rule"], limit, self.max_iter, p=how["p"], seed=seed):
            self._record(iterate, **how, peeled=core is not None)
            iterate.last = iterate.last or self.stopped
            ranks = _worth_refit(iterate, limit, how["rule"], tried, engine.shape)
            for rank in ranks[:1] if self.stopped else ranks:
                thorough = iterate.last and not self.stopped and sparse(engine.shape, limit)
                fit = engine.refit(iterate.triplet, rank, self.tolerance, thorough=thorough)
                if core is not None:
                    fit = core.finished(fit, self.engine, self.tolerance)
                if best is None or fit.residual < best.residual:
                    best = fit
                if fit.converged:
                    return fit
            if self.stopped:
                break
        assert best is not None  # a refit is tried where a run ends
        return best

    def noisy(self, noise: float) -> Completion:
        """The stationary point at a noise level, refitted at the rank that stands out of the noise."""
        engine = self.engine
        weight = noise * noise * sum(math.sqrt(size) for size in engine.shape) ** 2 / 4
        for iterate in engine.iterate(self.rule, self.limit, self.max_iter, nugget=weight):
            self._record(iterate)
        floor = math.sqrt(weight / engine.share)
        rank = self.rule if isinstance(self.rule, int) else int((iterate.s > floor).sum())
        rank = max(1, min(rank, self.limit))
        fit = engine.refit(iterate.triplet, rank, tolerance=noise * 1e-3, ridge=noise * noise)
        message = f"rank {rank} at noise level {noise * engine.scale:.3g}"
        return self._finish(fit, converged=len(self.history) < self.max_iter, message=message)

    def _record(self, iterate: Iterate, **how: Any) -> None:
        """Note an iterate, and pass on the matrix of low rank that it is on the way to."""
        step = len(self.history) + 1
        self.history.append({"step": step, **how, **iterate.row()})
        if self.callback is None or how.get("peeled"):
            return
        found = Completion(*iterate.triplet, False, step, history=self.history, message="running")
        told = self.callback(found.cut(widest_gap(iterate.s, self.limit)[0]).scaled(self.engine.scale))
        self.stopped = told is True

    def _finish(self, fit: Completion, **fields: Any) -> Completion:
        steps, history = len(self.history), self.history or fit.history
        return self.engine.finish(fit, self.began, n_iter=steps, history=history, **fields)

    def _found(self, fit: Completion) -> Completion:
        return self._finish(fit, converged=True, message=f"exact at rank {fit.rank}")

    def _core(self) -> _Core | None:
        """What peeling leaves of sparse observations."""
        rank = self.rule if isinstance(self.rule, int) else self.limit
        if not isinstance(self.engine, EntriesEngine) or not sparse(self.engine.shape, rank):
            return None
        peeled = peel(self.problem, rank)
        return None if peeled is None else _Core(peeled, self.limit)

    def _spectral(self) -> Completion | None:
        """Exact refit from the spectrum of the data alone, where it shows a gap and data is plentiful."""
        engine = self.engine
        start = engine.start(None, min(*engine.shape, self.limit + 1, _SPECTRAL))
        s = start[1]
        ratios = s[:-1] / s[1:].clamp_min(_ZERO * float(s[0]))
        if not ratios.numel() or float(ratios.max()) < _SPECTRAL_GAP:
            return None
        rank = int(ratios.argmax()) + 1
        if engine.k < _PLENTY * degrees_of_freedom(engine.shape, rank):
            return None
        fit = engine.refit(start, rank, self.tolerance)
        return fit if fit.converged else None

    def _lowest(self, fit: Completion) -> Completion:
        """The lowest rank that still fits exactly, looked for where little data is left over to exclude it.

        A matrix of one rank more than the truth can also fit exactly: the truth plus something unobserved.
        Such a fit is not determined by the data.
        """
        while fit.rank > 1 and self.engine.k - fit.freedom < sum(self.engine.shape):
            if certificate(self.problem, fit).identifiable is not False:
                break
            lower = self.engine.refit(fit.triplet, fit.rank - 1, self.tolerance)
            if not lower.converged:
                break
            fit = lower
        return fit


def _rules(proxy: str | int, attempts: int) -> Iterator[tuple[str | int, float, int]]:
    """Attempts in order: smoothing rule, Schatten exponent p, number of the perturbed start (0: none)."""
    if isinstance(proxy, int):
        plan: list[tuple[str | int, float]] = [(proxy, p) for p in _EXPONENTS]
    else:
        # Near the limit the square roots' participation ratio solves most in its first attempt; the
        # participation ratio takes less time on the rest (benchmarks/phase_transition.py --solvers irls:…).
        second = "schatten" if proxy != "schatten" else "participation_ratio"
        plan = [(rule, p) for p in _EXPONENTS for rule in (proxy, "limit")]
        plan.insert(1, (second, _EXPONENTS[0]))
    for attempt in range(attempts):
        rule, p = plan[attempt % len(plan)]
        yield rule, p, attempt // len(plan)


def _parts(core: _Core | None, attempt: int) -> list[_Core | None]:
    """What an attempt runs on: all observations (None) and their core at first, then either in turn."""
    if core is None:
        return [None]
    return [None, core] if attempt == 0 else [None] if attempt % 2 else [core]


def _worth_refit(
    iterate: Iterate, limit: int, rule: str | int, tried: set[int], shape: tuple[int, int]
) -> list[int]:
    """The ranks to refit at, if the spectrum shows a gap or the run ends; each only once.

    Sparse observations are refitted at the limit rank, too, where a run ends.
    """
    s = iterate.s
    if isinstance(rule, int):
        rank = min(rule, len(s))
        gap = float(s[rank - 1] / s[rank].clamp_min(1e-300)) if rank < len(s) else math.inf
    else:
        rank, gap = widest_gap(s, limit)
    if not iterate.last and gap < _GAP:
        return []
    key = rank * 100 + (99 if iterate.last else int(math.log10(max(gap, 1.0)) / 2))
    ranks = [] if key in tried else [rank]
    tried.add(key)
    if iterate.last and not isinstance(rule, int) and limit not in (rank, 0) and sparse(shape, limit):
        ranks.append(min(limit, len(s)))
    return ranks

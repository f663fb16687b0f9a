"""Rank-blind iteratively reweighted least squares for completion and sensing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from overt.completion.certificate import certificate
from overt.completion.irls.engine import Engine, EntriesEngine, Iterate
from overt.completion.irls.proxy import largest_rank, rank_proxy, widest_gap
from overt.completion.irls.sensing import SensingEngine
from overt.completion.measurements import check_matrix_problem
from overt.completion.result import Completion

_GAP = 30.0  # a fall by this factor between neighbouring singular values is worth an exact refit
_ZERO = 1e-12  # singular values below this share of the largest count as zero
_SPECTRAL = 40  # singular values of the data looked at before the first step
_SPECTRAL_GAP = 1.7  # a fall by this factor among them is worth an exact refit …
_PLENTY = 5  # … where there are this many times more entries than degrees of freedom
Callback = Callable[[Completion], None]
_EXPONENTS = (0.5, 0.65, 0.35, 0.8)  # Schatten exponents p of the weights, in the order tried


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
    ``ε_k = min(ε_{k−1}, σ_{q_k+1})``. No rank is told: ``q_k`` is a continuous rank of the iterate, but at
    least the *limit rank* of the data, the largest r with ``r(m+n−r) ≤ |Ω|``. Near the information limit the
    limit rank is nearly the true one; far above it the continuous rank falls early and the solver converges
    in a few steps. As soon as the spectrum shows a gap, an exact refit at that rank
    (:func:`overt.completion.refit`) is tried: if its residual reaches machine precision with fewer degrees
    of freedom than data, that is the answer. Where one continuous rank ends in a spurious minimum the next
    is tried, then randomly perturbed starts.

    Parameters
    ----------
    problem : CompletionProblem or SensingProblem
        Anything with ``y`` (k,), ``shape`` and either ``rows``/``cols`` or ``A`` (k, m·n).
    rank_proxy : str or int
        ``"participation_ratio"`` (the squared normalized nuclear norm), ``"effective_rank"``,
        ``"stable_rank"``, ``"log_det"``, ``"schatten"``: the first rule tried. A whole number tells the rank
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
        spectrum falls most. (Exact refits that failed are not handed out; they may be far off.)

    Returns
    -------
    Completion
        ``converged`` says that an exact fit (or, with noise, a stationary point) was found.

    Raises
    ------
    TypeError
        If ``problem`` is neither a completion nor a sensing problem.
    ValueError
        If an option is out of range, the data is not finite, or all measurement matrices are zero.

    References
    ----------
    C. Kümmerle, J. Sigl (2018), *Harmonic mean iteratively reweighted least squares for low-rank matrix
    recovery*, JMLR 19; C. Kümmerle, C. M. Verdun (2021), *A scalable second order method for ill-conditioned
    matrix completion from few samples*, ICML (smoothing rule, told rank).

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
    _check(problem, rank_proxy, noise_std, max_iter, attempts)
    engine: Engine = SensingEngine(problem) if hasattr(problem, "A") else EntriesEngine(problem)
    if not engine.scale > 0:
        return engine.zero("all observations are zero: completed by zero", began)
    if noise_std:
        return _noisy(engine, rank_proxy, noise_std / engine.scale, max_rank, max_iter, began, callback)
    return _exact(problem, engine, rank_proxy, max_rank, max_iter, tolerance, attempts, seed, began, callback)


def _check(problem: Any, proxy: str | int, noise_std: float | None, max_iter: int, attempts: int) -> None:
    check_matrix_problem(problem)
    rank_proxy(problem.y.new_ones(1), proxy)
    if noise_std is not None and not (noise_std >= 0 and math.isfinite(noise_std)):
        raise ValueError(f"noise_std must be None or finite and not negative; got {noise_std!r}")
    if max_iter < 1 or attempts < 1:
        raise ValueError(f"max_iter and attempts must be at least 1; got {max_iter} and {attempts}")
    if not bool(problem.y.isfinite().all()):
        raise ValueError("problem.y must be finite; it holds NaN or infinity")


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


def _exact(
    problem: Any,
    engine: Engine,
    proxy: str | int,
    max_rank: int | None,
    max_iter: int,
    tolerance: float | None,
    attempts: int,
    seed: int,
    began: float,
    callback: Callback | None,
) -> Completion:
    limit = min(largest_rank(engine.shape, engine.k), max_rank or 10**9)
    tolerance = 100 * engine.eps if tolerance is None else tolerance
    fit = _spectral(engine, limit, tolerance)
    if fit is not None:
        return engine.finish(fit, True, 0, fit.history, f"exact at rank {fit.rank}", began)
    best: Completion | None = None
    history: list[dict[str, Any]] = []
    steps = 0
    for attempt, (rule, p, start) in enumerate(_rules(proxy, attempts)):
        tried: set[int] = set()
        for iterate in engine.iterate(rule, limit, max_iter, p=p, seed=seed + start if start else None):
            steps += 1
            history.append({"step": steps, "attempt": attempt, "rule": rule, "p": p, **iterate.row()})
            _report(engine, iterate, limit, steps, callback)
            rank = _worth_refit(iterate, limit, rule, tried)
            if rank is None:
                continue
            fit = engine.refit(iterate, rank, tolerance)
            if best is None or fit.residual < best.residual:
                best = fit
            if fit.converged:
                fit = _lowest(engine, fit, tolerance, problem)
                return engine.finish(fit, True, steps, history, f"exact at rank {fit.rank}", began)
    assert best is not None
    best = engine.tame(best)
    message = (
        f"no exact fit of rank ≤ {limit} found in {attempts} attempts (best residual {best.residual:.1e}); "
        "if the data is noisy give noise_std, otherwise observe more entries or raise attempts"
    )
    return engine.finish(best, False, steps, history, message, began)


def _report(engine: Engine, iterate: Iterate, limit: int, steps: int, callback: Callback | None) -> None:
    """Hand an iterate out, as the matrix of low rank that it is on the way to."""
    if callback is not None:
        found = Completion(iterate.U, iterate.s, iterate.Vt, False, steps, message="running")
        callback(found.cut(widest_gap(iterate.s, limit)[0]).scaled(engine.scale))


def _spectral(engine: Engine, limit: int, tolerance: float) -> Completion | None:
    """Exact refit from the spectrum of the data alone, where that shows a gap and there is data in plenty."""
    m, n = engine.shape
    _, s, _ = start = engine.start(None, min(m, n, limit + 1, _SPECTRAL))
    ratios = s[:-1] / s[1:].clamp_min(_ZERO * float(s[0]))
    if not ratios.numel() or float(ratios.max()) < _SPECTRAL_GAP:
        return None
    rank = int(ratios.argmax()) + 1
    if engine.k < _PLENTY * rank * (m + n - rank):
        return None
    fit = engine.refit(Iterate(*start, 0.0, rank, 1.0), rank, tolerance)
    return fit if fit.converged else None


def _lowest(engine: Engine, fit: Completion, tolerance: float, problem: Any) -> Completion:
    """The lowest rank that still fits exactly, looked for where little data is left over to exclude it.

    A matrix of one rank more than the truth can also fit exactly: the truth plus something unobserved. Such
    a fit is not determined by the data.
    """
    m, n = engine.shape
    while fit.rank > 1 and engine.k - fit.rank * (m + n - fit.rank) < m + n:
        if certificate(problem, fit).identifiable is not False:
            break
        start = Iterate(fit.U, fit.singular_values, fit.Vt, 0.0, 0, 0.0)
        lower = engine.refit(start, fit.rank - 1, tolerance)
        if not lower.converged:
            break
        fit = lower
    return fit


def _worth_refit(iterate: Iterate, limit: int, rule: str | int, tried: set[int]) -> int | None:
    """The rank to refit at, if the spectrum shows a gap there or the run ends; each only once."""
    s = iterate.s
    if isinstance(rule, int):
        rank = min(rule, len(s))
        gap = float(s[rank - 1] / s[rank].clamp_min(1e-300)) if rank < len(s) else math.inf
    else:
        rank, gap = widest_gap(s, limit)
    if not iterate.last and gap < _GAP:
        return None
    key = rank * 100 + (99 if iterate.last else int(math.log10(max(gap, 1.0)) / 2))
    if key in tried:
        return None
    tried.add(key)
    return rank


def _noisy(
    engine: Engine,
    proxy: str | int,
    noise: float,
    max_rank: int | None,
    max_iter: int,
    began: float,
    callback: Callback | None,
) -> Completion:
    m, n = engine.shape
    limit = min(largest_rank(engine.shape, engine.k), max_rank or 10**9)
    weight = noise * noise * (math.sqrt(m) + math.sqrt(n)) ** 2 / 4
    history: list[dict[str, Any]] = []
    last: Iterate | None = None
    for step, iterate in enumerate(engine.iterate(proxy, limit, max_iter, nugget=weight), 1):
        history.append({"step": step, **iterate.row()})
        _report(engine, iterate, limit, step, callback)
        last = iterate
    assert last is not None
    floor = math.sqrt(weight / engine.share)
    rank = int((last.s > floor).sum()) if not isinstance(proxy, int) else proxy
    rank = max(1, min(rank, limit))
    fit = engine.refit(last, rank, tolerance=noise * 1e-3, ridge=noise * noise)
    settled = len(history) < max_iter
    message = f"rank {rank} at noise level {noise * engine.scale:.3g}"
    return engine.finish(fit, settled, len(history), history, message, began)

"""The solvers by name, behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from overt._utils.checks import message
from overt.completion.convex.nuclear import nuclear_norm_minimization
from overt.completion.convex.soft_impute import soft_impute
from overt.completion.explicit import explicit
from overt.completion.irls import irls
from overt.completion.problem import ZERO_MESSAGE, Matrices, largest_rank, normalized_problem, widest_gap
from overt.completion.result import Completion
from overt.models import DeepLinear
from overt.penalties import SpectralPenalty
from overt.problems import CompletionProblem
from overt.training import State, train

SOLVERS = ("auto", "irls", "bayes", "explicit", "nuclear", "soft_impute")
DEFAULT_PENALTY = "normalized_nuclear_norm"
# The functions of ``overt.functional`` that need no further argument.
PENALTIES = (
    "effective_rank",
    "frobenius_norm",
    DEFAULT_PENALTY,
    "nuclear_norm",
    "participation_ratio",
    "spectral_norm",
    "stable_rank",
)
_NETWORK_STEPS, _NETWORK_SECONDS = 10_000, 60.0  # budget of one training of a deep network
_NETWORK_LOSS = 1e-6  # loss over mean square at which its training ends: a misfit of 0.1 %
_NETWORK_GAP = 0.02  # σ_{k+1} / σ_k at which its spectrum is cut
_TOLD_EVERY = 100  # steps of a training between the matrices handed out
Callback = Callable[[Completion], None]


@dataclass(frozen=True)
class SolverOptions:
    """What a user may say about a solve; None stands for each solver's own default.

    Parameters
    ----------
    solver, rank_proxy, penalty, depth, max_rank, max_iter, tolerance
        As for :class:`~overt.completion.MatrixCompletion`; the caller resolves ``"auto"``.
    noise_std : float or None
        Noise level of the problem's y; 0 for exact data; None where it is unknown.
    attempts, seed
        As for :func:`overt.completion.irls`.
    effort : {"normal", "high"}
        How long to look for an exact matrix.
    rounding : float
        Relative residual that counts as exact: the precision of the observations.
    """

    solver: str = "irls"
    rank_proxy: str = "participation_ratio"
    penalty: str | None = DEFAULT_PENALTY
    depth: int = 1
    noise_std: float | None = None
    max_rank: int | None = None
    max_iter: int | None = None
    tolerance: float | None = None
    attempts: int | None = None
    seed: int = 0
    rounding: float = 1e-8
    effort: str = "normal"

    def given(self, *names: str) -> dict[str, Any]:
        """The named options that are not None, as keywords."""
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def solve(problem: Matrices, options: SolverOptions, callback: Callback | None = None) -> Completion:
    """Run the solver that ``options`` name.

    Raises
    ------
    ValueError
        If there is no solver of that name for this kind of problem.
    """
    if options.solver == "irls":
        return _irls(problem, options, callback)
    if options.solver == "explicit":
        if options.penalty is None or options.depth > 1:
            return deep_linear(problem, options, callback)
        steps = {} if options.max_iter is None else {"max_steps": options.max_iter}
        tell = _telling(problem, callback)
        return explicit(problem, functional=options.penalty, seed=options.seed, callback=tell, **steps)
    if options.solver == "nuclear":
        return _nuclear(problem, options, callback)
    entries = isinstance(problem, CompletionProblem)
    if options.solver == "soft_impute" and isinstance(problem, CompletionProblem):
        given = options.given("max_rank", "max_iter", "tolerance")
        return soft_impute(problem, seed=options.seed, callback=callback, **given)
    allowed = ("irls", "explicit", "nuclear", "soft_impute")[: 4 if entries else 3]
    raise ValueError(message("solver", ", ".join(allowed), options.solver))


def _irls(problem: Matrices, options: SolverOptions, callback: Callback | None) -> Completion:
    given = options.given("max_rank", "max_iter", "tolerance", "noise_std", "attempts")
    if options.rounding > 1e-8:
        given.setdefault("tolerance", options.rounding)
    return irls(problem, rank_proxy=options.rank_proxy, seed=options.seed, callback=callback, **given)


def _nuclear(problem: Matrices, options: SolverOptions, callback: Callback | None) -> Completion:
    given = options.given("max_iter", "tolerance")
    if options.noise_std is None and isinstance(problem, CompletionProblem):
        path = soft_impute(problem, seed=options.seed, callback=callback, tolerance=1e-3)
        if path.history:
            given["weight"] = path.history[-1]["weight"]
    elif options.noise_std:
        given["noise_level"] = options.noise_std * problem.n_observed**0.5
    return nuclear_norm_minimization(problem, callback=callback, **given)


def _telling(problem: Matrices, callback: Callback | None) -> Callable[[State], None] | None:
    """Hand out a training's matrix every now and then, cut where its spectrum falls most."""
    if callback is None or not bool(problem.y.any()):
        return None
    unit = normalized_problem(problem)[1]
    limit = largest_rank(problem.shape, problem.n_observed)

    def tell(state: State) -> None:
        if state.step and state.step % _TOLD_EVERY == 0 and bool(state.W.isfinite().all()):
            found = Completion.from_dense(state.W.clone(), converged=False, n_iter=state.step)
            if found.rank:
                callback(found.cut(widest_gap(found.singular_values, limit)[0]).scaled(unit))

    return tell


def deep_linear(problem: Matrices, options: SolverOptions, callback: Callback | None = None) -> Completion:
    """Implicit reference: a deep linear network trained by Adam from a small initialization.

    With ``options.penalty`` the penalty is added to the loss (on the product), with None depth acts alone
    (Arora, Cohen, Hu & Luo 2019). The training ends once the observations are met to 0.1 %, or after
    ``options.max_iter`` steps (10 000 steps or a minute by default). Training never brings singular values to
    zero: they are cut where the spectrum falls by a factor of 50, among the first half, or else at the misfit
    asked for, 1e-3 of the largest.
    """
    if not bool(problem.y.any()):
        return Completion.zero(problem.y, problem.shape, residual=0.0, message=ZERO_MESSAGE)
    scaled, unit = normalized_problem(problem)
    m, n = scaled.shape
    widths = [n, *[min(m, n)] * (options.depth - 1), m]
    model = DeepLinear(widths, init="gaussian", scale=1e-3, seed=options.seed, dtype=scaled.y.dtype)
    model = model.to(scaled.y.device)
    penalty = None
    if options.penalty is not None:
        penalty = SpectralPenalty(model, options.penalty, of="product", weight=1e-3)
    result = train(
        model,
        scaled,
        lr=1e-3,
        penalty=penalty,
        max_steps=options.max_iter or _NETWORK_STEPS,
        max_seconds=None if options.max_iter else _NETWORK_SECONDS,
        tolerance=_NETWORK_LOSS,
        callback=_telling(problem, callback),
    )
    found = _cut(result.W)
    return replace(
        found.scaled(unit),
        converged=result.status == "converged",
        n_iter=result.steps,
        residual=float((scaled.measure(found.W) - scaled.y).norm() / torch.linalg.vector_norm(scaled.y)),
        seconds=result.seconds,
        history=list(result.trace),
        message=f"deep linear network of depth {options.depth}: {result.message}",
    )


def _cut(W: Tensor) -> Completion:
    """What a trained network holds, without the tail that training leaves behind."""
    found = Completion.from_dense(W, rank_tolerance=_NETWORK_LOSS**0.5)
    s = found.singular_values
    half = s[: min(W.shape) // 2 + 1]
    gaps = (half[1:] <= _NETWORK_GAP * half[:-1]).nonzero()
    return found.cut(int(gaps[0]) + 1) if gaps.numel() else found

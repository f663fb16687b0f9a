"""The explicit route: depth 1, a normalized penalty and Adam; hold the weight, release it, refit exactly.

Three things are added to Zhao (2022), whose loss :func:`explicit` states:

* the weight is held until the spectrum has collapsed and released then (annealing from step 0 on fails);
* one huge unobserved entry cannot cheat the penalty: above a cap on the Frobenius norm, which the data
  suggest, growth costs again (see ``SpectralPenalty``);
* a refit at the found rank removes the penalty's bias. Where the data are exact it need not wait for the
  collapse: at log-spaced steps a refit is tried at the rank where the spectrum drops most, and accepted only
  if it meets every observation to machine precision with fewer degrees of freedom than observations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from overt._utils.checks import check_callable, check_flag, check_number, check_seed, message, optional
from overt.completion.problem import (
    MATRICES,
    ZERO_MESSAGE,
    Matrices,
    check_problem,
    largest_rank,
    normalized_problem,
    widest_gap,
    within_bounds,
)
from overt.completion.refit import refit
from overt.completion.result import Completion, Triplet
from overt.linalg import svd
from overt.models import DeepLinear
from overt.penalties import SpectralPenalty
from overt.penalties.spectral import SCALE_INVARIANT
from overt.training import HoldUntilCollapse, State, Trace, TrainResult, train

_CAP = 1.2  # times the Frobenius norm that the observations suggest
# In the same unit. Below it the penalty is ‖W‖_*/floor, whose gradient stays bounded as W → 0. The ratio's
# gradient grows like 1/‖W‖_F and, from a tiny initialization, fills the second moment of Adam.
_FLOOR = 0.1
_FIRST, _SPACING = 100, 1.25  # the first early refit, and the factor between the steps of two
_GAP = 1.25  # fall between neighbouring singular values that is worth one
_ZERO = 1e-9  # singular values of a refit at or below this share of the largest are dropped


@dataclass(frozen=True)
class ExplicitRun:
    """An explicit run in all its parts.

    Attributes
    ----------
    completion : Completion
        The answer, in the units of the data.
    training : TrainResult
        The penalized training, in units in which the observations have mean square 1.
    penalized : Tensor, shape (m, n)
        What the penalized training ended with, before any refit, in the units of the data.
    collapsed_at : int or None
        The step at which the spectrum had collapsed.
    accepted_at : int or None
        The step at which an early refit was accepted.
    """

    completion: Completion
    training: TrainResult
    penalized: Tensor
    collapsed_at: int | None
    accepted_at: int | None


@dataclass
class _EarlyRefit:
    """Try a refit at the rank where the spectrum drops most, at log-spaced steps."""

    problem: Matrices
    enabled: bool
    tell: Callable[[State], bool | None] | None
    next_step: int = _FIRST
    found: Completion | None = None
    step: int | None = None
    tried: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, state: State) -> bool:
        stop = bool(self.tell(state)) if self.tell is not None else False
        if not self.enabled or state.step < self.next_step:
            return stop
        self.next_step = math.ceil(state.step * _SPACING)
        rank = self._gap_rank(state.singular_values())
        if rank is not None:
            self.found = self._smallest_exact(state, rank)
            self.step = state.step if self.found is not None else None
        return stop or self.found is not None

    def _gap_rank(self, s: Tensor) -> int | None:
        top = min(largest_rank(self.problem.shape, self.problem.n_observed), s.shape[0] - 1)
        if top < 1 or not bool(torch.isfinite(s).all()) or float(s[0]) == 0.0:
            return None
        rank, gap = widest_gap(s, top)
        return rank if gap > _GAP else None

    def _smallest_exact(self, state: State, rank: int) -> Completion | None:
        """The exact fit of the smallest rank that is reached by going down from ``rank``."""
        start: Triplet = svd(state.W)
        exact = None
        while rank >= 1:
            fit = refit(self.problem, *start, rank=rank, max_iter=30)
            self.tried.append({"step": state.step, "rank": rank, "residual": fit.residual})
            if not (fit.converged and within_bounds(self.problem, fit)):
                break
            exact = _without_zeros(fit)
            start, rank = exact.triplet, exact.rank - 1
        return exact


def explicit_run(
    problem: Matrices,
    *,
    functional: str = "normalized_nuclear_norm",
    functional_options: Mapping[str, Any] | None = None,
    weight: float = 1e-2,
    optimizer: str = "adam",
    lr: float = 1e-2,
    optimizer_options: Mapping[str, Any] | None = None,
    init_scale: float = 1e-3,
    norm_cap: float | None = _CAP,
    norm_floor: float | None = _FLOOR,
    seed: int = 0,
    max_steps: int = 20_000,
    max_seconds: float | None = None,
    early_refit: bool = True,
    final_refit: bool = True,
    schedule: HoldUntilCollapse | None = None,
    callback: Callable[[State], bool | None] | None = None,
    **training: Any,
) -> ExplicitRun:
    """Run :func:`explicit` and return all its parts; see there for the parameters."""
    if not isinstance(problem, Matrices):
        raise TypeError(message("problem", MATRICES, problem))
    m, n = check_problem(problem)
    schedule = HoldUntilCollapse(release_steps=100) if schedule is None else schedule
    if not isinstance(schedule, HoldUntilCollapse):
        raise TypeError(message("schedule", "a HoldUntilCollapse", schedule))
    for flag, name in ((early_refit, "early_refit"), (final_refit, "final_refit")):
        check_flag(flag, name)
    cap = optional(check_number, norm_cap, "norm_cap", above=0)
    floor = optional(check_number, norm_floor, "norm_floor", above=0)
    scale = check_number(init_scale, "init_scale", above=0)
    seed = check_seed(seed)
    optional(check_callable, callback, "callback")
    if not bool(problem.y.any()):
        return _zero_run(problem)
    scaled, unit = normalized_problem(problem)
    model = DeepLinear((n, m), init="gaussian", scale=scale, seed=seed, dtype=scaled.y.dtype)
    model = model.to(scaled.y.device)
    unit_norm = math.sqrt(m * n) if functional in SCALE_INVARIANT else None
    penalty = SpectralPenalty(
        model,
        functional,
        of="product",
        weight=weight,
        norm_cap=None if cap is None or unit_norm is None else cap * unit_norm,
        norm_floor=None if floor is None or unit_norm is None else floor * unit_norm,
        options=functional_options,
    )
    early = _EarlyRefit(scaled, early_refit, callback)
    result = train(
        model,
        scaled,
        optimizer=optimizer,
        lr=lr,
        optimizer_options=optimizer_options,
        penalty=penalty,
        schedule=schedule,
        max_steps=max_steps,
        max_seconds=max_seconds,
        callback=early,
        **training,
    )
    fit = _finish(scaled, result, schedule, final_refit) if early.found is None else early.found
    history = [*result.trace, *({"early_refit": tried} for tried in early.tried)]
    answer = replace(fit.scaled(unit), n_iter=result.steps, seconds=result.seconds, history=history)
    return ExplicitRun(answer, result, result.W * unit, schedule.collapsed_at, early.step)


def _without_zeros(fit: Completion) -> Completion:
    s = fit.singular_values
    return fit.cut(int((s > _ZERO * s[0]).sum()) if s.numel() else 0)


def _zero_run(problem: Matrices) -> ExplicitRun:
    """Data without a scale: nothing is trained, the zero matrix meets them."""
    zero = problem.y.new_zeros(problem.shape)
    training = TrainResult(zero, Trace(), "converged", ZERO_MESSAGE, 0, 0.0, {})
    found = Completion.zero(zero, problem.shape, residual=0.0, message=ZERO_MESSAGE)
    return ExplicitRun(found, training, zero, None, None)


def _finish(
    problem: Matrices, result: TrainResult, schedule: HoldUntilCollapse, refit_allowed: bool
) -> Completion:
    """After the training: the refit at the rank of the collapse, or the penalized matrix as it is."""
    k = schedule.rank
    plain = Completion.from_dense(
        result.W,
        converged=k is not None and result.status == "converged",
        residual=_residual(problem, result.W),
        message=f"penalized training: {result.message}",
    )
    if k is None and min(problem.shape) == 1:
        missing = problem.shape[0] * problem.shape[1] - problem.n_observed
        message = "a single row or column has rank 1 whatever its entries"
        if missing > 0:
            message += f": {missing} missing one(s) are not determined"
        return replace(plain, converged=missing <= 0 and plain.residual <= 1e-5, message=message)
    if k is None:
        advice = "no rank stood out; raise max_steps or the weight, or observe more"
        return replace(plain, message=f"{plain.message}; {advice}")
    if not refit_allowed:
        return plain
    U, s, Vt = svd(result.W)
    fit = refit(problem, U, s, Vt, rank=k)
    # Not compared with W itself: once released, its small singular values have begun to fit the noise.
    if not within_bounds(problem, fit) or fit.residual > _residual(problem, (U[:, :k] * s[:k]) @ Vt[:k]):
        message = f"{plain.message}; the refit at rank {k} was refused (it blew up or fits worse)"
        return replace(plain, converged=False, message=message)
    message = f"the spectrum collapsed to rank {k} at step {schedule.collapsed_at}, then refit"
    return replace(_without_zeros(fit), converged=True, message=message)


def _residual(problem: Matrices, W: Tensor) -> float:
    return float((problem.measure(W) - problem.y).norm() / problem.y.norm())


def explicit(problem: Matrices, **options: Any) -> Completion:
    """Complete by training one full matrix on the loss plus an explicit low-rank penalty.

    Minimizes ``mean((A(W) − y)²) + weight · f(W)`` over a full m×n matrix W, with observations scaled to mean
    square 1, so that the weight has no unit; f is the normalized nuclear norm ``‖W‖_* / ‖W‖_F`` (Zhao 2022,
    "Combining explicit and implicit regularization for efficient learning in deep networks"). The weight is
    held until the spectrum has collapsed and released then; a refit at the found rank ends the run.

    Parameters
    ----------
    problem : CompletionProblem or SensingProblem
    functional : str
        Name of a function of ``overt.functional``; ``functional_options`` are its further arguments.
    weight : float
        Of the penalty.
    optimizer, lr, optimizer_options
        See ``overt.training.make_optimizer``.
    init_scale : float
        Standard deviation of the initial entries, in units of the observations' root mean square.
    norm_cap : float or None
        Cap on the Frobenius norm for scale-invariant functionals, in units of the norm that the observations
        suggest, ``√(m n / k) ‖y‖`` for completion. None leaves the penalty as published, which can blow up.
    norm_floor : float or None
        Floor of the Frobenius norm in the same unit, so that the penalty's gradient stays bounded near W = 0.
        None leaves the penalty as published, which does not recover from a tiny initialization.
    seed : int
        Of the initialization.
    max_steps, max_seconds
        Budget of the training.
    early_refit : bool
        Try refits before the collapse. Only an exact fit with fewer degrees of freedom than observations and
        no entry above 100 times the largest observed one is ever accepted.
    final_refit : bool
        Refit at the rank of the collapse.
    schedule : HoldUntilCollapse, optional
    callback
        As in ``overt.training.train``; further keywords go there too.

    Returns
    -------
    Completion
        ``converged`` says whether a rank stood out, ``message`` how the run ended; ``history`` is the trace
        of the training, with relative errors and singular values in units of the data's scale.

    Raises
    ------
    TypeError
        If ``problem`` is neither a completion nor a sensing problem.
    ValueError
        If all measurement matrices are zero, or an argument is out of its range.

    Notes
    -----
    Observations that are all zero give the zero matrix without any training. A matrix of one row or column
    has rank one whatever its entries, so a penalty on the rank says nothing about the missing ones: they stay
    near zero, and the answer counts as converged only where nothing is missing.

    Examples
    --------
    >>> from overt.completion import explicit
    >>> from overt.problems import matrix_completion
    >>> problem = matrix_completion((30, 30), rank=1, n_observed=300, seed=0)
    >>> found = explicit(problem)
    >>> found.rank, problem.error(found.W) < 1e-10
    (1, True)
    """
    return explicit_run(problem, **options).completion

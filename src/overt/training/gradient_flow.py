"""Gradient flow: training with infinitely small steps, and what theory says of its singular values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from torch import Tensor, nn

from overt.linalg import Factored, svd
from overt.training.flow_state import FlowRecord, FlowState

if TYPE_CHECKING:
    from overt.training.loop import Trainable

__all__ = ["Flow", "gradient_flow", "singular_value_velocity"]

Method = Literal["DOP853", "RK45", "LSODA", "Radau", "BDF"]
Status = Literal["end", "loss", "budget", "failed"]


@dataclass(frozen=True)
class Flow:
    """A trajectory of gradient flow.

    Attributes
    ----------
    times
        Where it was recorded, in units of time: n steps of gradient descent of rate η cover the time n η.
    losses
        Training loss at these times.
    records
        What `record` gave at these times; the end-to-end tensors by default.
    status
        ``"end"``: the last time was reached; ``"loss"``: the loss fell to `until_loss` before; ``"budget"``:
        neither within `max_steps`; ``"failed"``: the solver gave up. `message` says it in words.
    n_steps, n_evaluations
        Steps of the solver, and evaluations of the gradient.
    """

    times: list[float]
    losses: list[float]
    records: list[Any]
    status: Status
    message: str
    n_steps: int
    n_evaluations: int


def gradient_flow(
    model: nn.Module,
    problem: Trainable,
    times: float | Sequence[float],
    *,
    fractions: Sequence[float] = (1.0,),
    record: Callable[[float, nn.Module], Any] | None = None,
    until_loss: float = 0.0,
    method: Method = "DOP853",
    rtol: float = 1e-8,
    atol: float | None = None,
    max_steps: int = 100_000,
) -> Flow:
    """Integrate dθ/dt = −∇L(θ), the limit of gradient descent for small steps, by an adaptive solver.

    The solvers are those of ``scipy.integrate.solve_ivp``, taken step by step so that nothing but what is
    recorded is kept.

    Parameters
    ----------
    model
        With an end-to-end tensor, see ``overt.penalties.product_of``, and parameters in float64. It starts
        from its present parameters and is left at the last state.
    problem
        Anything with ``loss``, such as the problems of ``overt.problems``.
    times
        A sequence of increasing times ≥ 0: there the flow is recorded, interpolated within steps. A number:
        the end; then the flow is recorded at 0 and in each step of the solver, which follow the dynamics.
    fractions
        Where within each step, as shares in (0, 1] of its length; for `times` as a number. Several of them
        close to each other give finite differences.
    record
        Called with the time and the model at that time; what it returns is kept.
    until_loss
        The flow ends once the loss at the end of a step is at most this.
    method
        Name of the solver. Explicit ``"DOP853"`` suits smooth flows at high accuracy; ``"LSODA"`` and
        ``"Radau"`` are for stiff ones with few parameters.
    rtol, atol
        Tolerances of the solver on the parameters. Without `atol`: 1e-3 × `rtol` × the largest initial
        parameter, so that directions that start small are followed as well.
    max_steps
        Budget of solver steps.

    Raises
    ------
    TypeError
        The parameters are not in float64, or no ``nn.Module`` is given.
    ValueError
        Times that do not increase, an option out of its range, or a model without parameters to train.

    Examples
    --------
    One scalar, L = (w − 1)², from w = 0: w(t) = 1 − exp(−2t).

    >>> import math, torch
    >>> from overt.models import DeepLinear
    >>> from overt.problems import CompletionProblem
    >>> from overt.training.gradient_flow import gradient_flow
    >>> problem = CompletionProblem.from_dense(torch.ones(1, 1, dtype=torch.float64))
    >>> model = DeepLinear((1, 1), dtype=torch.float64)
    >>> with torch.no_grad():
    ...     _ = model.weights[0].zero_()
    >>> flow = gradient_flow(model, problem, [0.0, 0.5, 1.0])
    >>> abs(float(flow.records[1]) - (1 - math.exp(-1))) < 1e-7
    True
    """
    ends = _check(model, times, fractions, until_loss, method, rtol, max_steps)
    state = FlowState(model, problem)
    start = state.read()
    if atol is None:
        atol = 1e-3 * rtol * max(float(np.abs(start).max()), float(np.finfo(np.float64).tiny) ** 0.5)
    with np.errstate(over="ignore", invalid="ignore"):
        solver = _solver(method)(state.velocity, 0.0, start, ends[-1], rtol=rtol, atol=atol)
    keep = FlowRecord(state, record)
    asked = None if isinstance(times, (int, float)) else ends
    if asked is None or asked[0] == 0.0:
        keep(0.0, start)
    steps, said, low = 0, None, False
    while steps < max_steps and solver.status == "running" and not low:
        with np.errstate(over="ignore", invalid="ignore"):  # of trial steps that are then refused
            said = solver.step()
        steps += 1
        if solver.status == "failed":
            break
        inside = list(_inside(solver.t_old, solver.t, asked, fractions))
        interpolant = solver.dense_output() if any(t != solver.t for t in inside) else None
        for t in inside:
            keep(t, solver.y if interpolant is None or t == solver.t else interpolant(t))
        low = until_loss > 0 and state.loss(solver.y) <= until_loss
    state.write(solver.y)
    status, words = _how_it_ended(solver.status, low)
    message = f"{words} at the time {solver.t:.3g} of {ends[-1]:.3g}{f': {said}' if said else ''}"
    return Flow(keep.times, keep.losses, keep.records, status, message, steps, int(solver.nfev))


def _how_it_ended(solver: str, low: bool) -> tuple[Status, str]:
    if low:
        return "loss", "the loss fell to until_loss"
    if solver == "failed":
        return "failed", "the solver gave up"
    if solver == "finished":
        return "end", "the last time was reached"
    return "budget", "max_steps were made; raise it or rtol: stopped"


def singular_value_velocity(
    W: Tensor | Factored, gradient: Tensor, depth: int, *, leading: int | None = None
) -> Tensor:
    """Velocity of the singular values of a depth-N linear network under gradient flow, by theory.

    σ̇_r = −N (σ_r²)^{1−1/N} ⟨∇ℓ(W), u_r v_rᵀ⟩ for balanced layers, W_{j+1}ᵀ W_{j+1} = W_j W_jᵀ (Arora, Cohen,
    Hu & Luo 2019, Theorem 3). The small ones move slowly and the large ones fast, the more so the deeper.

    Parameters
    ----------
    W
        End-to-end matrix (m, n).
    gradient
        ∇ℓ(W), the gradient of the loss with respect to W (m, n).
    depth
        Number N of layers; 1 is no factorization.
    leading
        How many velocities, of the largest singular values; all where it is not given.

    Returns
    -------
    Tensor, shape (leading,)
        In the order of the singular values, descending. At ties the singular vectors are not unique, and
        only the sum over the tie has a meaning.

    Raises
    ------
    TypeError, ValueError
        `depth` is not a positive int, `leading` out of its range, or the shapes differ.

    Examples
    --------
    >>> import torch
    >>> from overt.training.gradient_flow import singular_value_velocity
    >>> W, gradient = torch.diag(torch.tensor([4.0, 1.0])), torch.diag(torch.tensor([-0.5, 2.0]))
    >>> singular_value_velocity(W, gradient, depth=2)
    tensor([ 4., -4.])
    """
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        raise ValueError(f"depth must be an int ≥ 1, got {depth!r}")
    if tuple(W.shape) != tuple(gradient.shape):
        raise ValueError(f"gradient must have the shape {tuple(W.shape)} of W, got {tuple(gradient.shape)}")
    U, s, Vt = svd(W)
    count = s.numel() if leading is None else leading
    if not 1 <= count <= s.numel():
        raise ValueError(f"leading must lie in 1 … {s.numel()}, got {leading}")
    U, s, Vt = U[:, :count], s[:count], Vt[:count]
    slope = (U * (gradient @ Vt.mT)).sum(0)
    return -depth * s ** (2 - 2 / depth) * slope


def _inside(
    low: float, high: float, asked: Sequence[float] | None, fractions: Sequence[float]
) -> Iterator[float]:
    """The times to record in the step from `low` (exclusive) to `high`."""
    if asked is not None:
        yield from (t for t in asked if low < t <= high)
    else:
        yield from (high if share == 1.0 else low + share * (high - low) for share in fractions)


def _solver(method: str) -> Any:
    import scipy.integrate

    return getattr(scipy.integrate, method)


def _check(
    model: nn.Module,
    times: float | Sequence[float],
    fractions: Sequence[float],
    until_loss: float,
    method: str,
    rtol: float,
    max_steps: int,
) -> list[float]:
    """Refuse what is out of range; the times as a list."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    ends = [float(times)] if isinstance(times, (int, float)) else [float(t) for t in times]
    increase = all(a < b for a, b in itertools.pairwise(ends))
    if not ends or not all(map(math.isfinite, ends)) or ends[0] < 0 or ends[-1] <= 0 or not increase:
        raise ValueError(f"times must be finite, increasing, ≥ 0 and end after 0, got {times!r}")
    if not fractions or not all(0 < share <= 1 for share in fractions):
        raise ValueError(f"fractions must lie in (0, 1], got {fractions!r}")
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
    if not until_loss >= 0:
        raise ValueError(f"until_loss must be ≥ 0, got {until_loss}")
    if not 0 < rtol < 1:
        raise ValueError(f"rtol must lie in (0, 1), got {rtol}")
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise ValueError(f"max_steps must be an int ≥ 1, got {max_steps!r}")
    return ends

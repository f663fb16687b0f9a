"""Gradient flow: training with infinitely small steps, and the theory of its singular values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from overt._utils.checks import (
    check_callable,
    check_choice,
    check_integer,
    check_number,
    check_numbers,
    is_number,
    message,
    optional,
)
from overt.linalg import Factored, svd
from overt.networks.modules import check_module
from overt.penalties import product_of
from overt.training.trainable import Trainable, trainable_parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

Method = Literal["DOP853", "RK45", "LSODA", "Radau", "BDF"]
Status = Literal["end", "loss", "budget", "failed"]

# By the status of scipy's solver, and "low".
_ENDS: dict[str, tuple[Status, str]] = {
    "low": ("loss", "the loss fell to until_loss"),
    "failed": ("failed", "the solver gave up"),
    "finished": ("end", "the last time was reached"),
    "running": ("budget", "max_steps were made; raise it or rtol: stopped"),
}


@dataclass(frozen=True)
class Flow:
    """A trajectory of gradient flow.

    Attributes
    ----------
    times
        Times of the records: n steps of gradient descent of rate η cover the time n η.
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

    The solvers are from ``scipy.integrate``; only what is recorded is kept of their steps.

    Parameters
    ----------
    model
        With an end-to-end tensor, see ``overt.penalties.product_of``, and parameters in float64, which are
        the start; they are left at the last state.
    problem
        Anything with ``loss``, such as the problems of ``overt.problems``.
    times
        A sequence of increasing times ≥ 0, at which the flow is recorded, interpolated within steps; or the
        last time, and the flow is recorded at 0 and in each step of the solver.
    fractions
        The places within each step at which to record, as shares in (0, 1] of its length, if `times` is a
        number. Several close to each other give finite differences.
    record
        Called with each time and the model at that time; its result is kept.
    until_loss
        The flow ends once the loss at the end of a step is at most this.
    method
        Name of the solver. Explicit ``"DOP853"`` suits smooth flows at high accuracy; ``"LSODA"`` and
        ``"Radau"`` suit stiff flows with few parameters.
    rtol, atol
        Tolerances of the solver on the parameters; `atol` is by default 1e-3 × `rtol` × the largest initial
        parameter, so that directions that start small are followed as well.
    max_steps
        Budget of solver steps.

    Returns
    -------
    Flow

    Raises
    ------
    TypeError
        The parameters are not in float64, no ``nn.Module`` is given, or an option of another kind.
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
    check_module(model)
    every_step, ends = is_number(times), _check_times(times)
    shares = check_numbers(fractions, "fractions", above=0, most=1)
    if not shares:
        raise ValueError(message("fractions", "one number or several in (0, 1]", fractions))
    until_loss = check_number(until_loss, "until_loss", least=0, finite=False)
    check_choice(method, "method", Method)
    rtol = check_number(rtol, "rtol", above=0, below=1)
    max_steps = check_integer(max_steps, "max_steps", least=1)
    optional(check_callable, record, "record")
    atol = optional(check_number, atol, "atol", least=0)
    path = _Path(model, problem, record)
    start = path.read()
    if atol is None:
        atol = 1e-3 * rtol * max(float(np.abs(start).max()), float(np.finfo(np.float64).tiny) ** 0.5)
    import scipy.integrate

    with np.errstate(over="ignore", invalid="ignore"):
        solver = getattr(scipy.integrate, method)(path.velocity, 0.0, start, ends[-1], rtol=rtol, atol=atol)
    if every_step or ends[0] == 0.0:
        path.keep(0.0, start)
    steps, said, low = 0, None, False
    while steps < max_steps and solver.status == "running" and not low:
        with np.errstate(over="ignore", invalid="ignore"):  # of trial steps that are then refused
            said = solver.step()
        steps += 1
        if solver.status == "failed":
            break
        inside = [t for t in ends if solver.t_old < t <= solver.t]
        if every_step:
            length = solver.t - solver.t_old
            inside = [solver.t if share == 1.0 else solver.t_old + share * length for share in shares]
        interpolant = solver.dense_output() if any(t != solver.t for t in inside) else None
        for t in inside:
            path.keep(t, solver.y if interpolant is None or t == solver.t else interpolant(t))
        low = until_loss > 0 and path.loss(solver.y) <= until_loss
    path.write(solver.y)
    status, words = _ENDS["low" if low else solver.status]
    said = f": {said}" if said else ""
    words = f"{words} at the time {solver.t:.3g} of {ends[-1]:.3g}{said}"
    return Flow(path.times, path.losses, path.records, status, words, steps, int(solver.nfev))


class _Path:
    """The parameters of a model as one vector, their velocity, and the records on the way."""

    def __init__(
        self, model: nn.Module, problem: Trainable, record: Callable[[float, nn.Module], Any] | None
    ) -> None:
        self._model, self._problem, self._record = model, problem, record
        self._product, self._params = product_of(model), trainable_parameters(model)
        for p in self._params:
            if p.dtype != torch.float64:
                raise TypeError(f"model must have float64 parameters, got {p.dtype}; use model.double()")
        self.times: list[float] = []
        self.losses: list[float] = []
        self.records: list[Any] = []

    def read(self) -> Vector:
        """The present parameters."""
        vector: Vector = torch.cat([p.detach().reshape(-1).cpu() for p in self._params]).numpy().copy()
        return vector

    @torch.no_grad()
    def write(self, vector: Vector) -> None:
        """Put the parameters into the model."""
        whole, start = torch.from_numpy(np.ascontiguousarray(vector)), 0
        for p in self._params:
            p.copy_(whole[start : start + p.numel()].view_as(p))
            start += p.numel()

    def velocity(self, t: float, vector: Vector) -> Vector:  # noqa: ARG002  (the flow is autonomous)
        """−∇L(θ)."""
        self.write(vector)
        with torch.enable_grad():
            grads = torch.autograd.grad(self._problem.loss(self._product()), self._params)
        rate: Vector = torch.cat([g.reshape(-1).cpu() for g in grads]).numpy()
        return -rate

    @torch.no_grad()
    def loss(self, vector: Vector) -> float:
        """L(θ)."""
        self.write(vector)
        return float(self._problem.loss(self._product()))

    def keep(self, t: float, vector: Vector) -> None:
        """Record a time."""
        self.losses.append(self.loss(vector))
        self.times.append(float(t))
        if self._record is not None:
            self.records.append(self._record(float(t), self._model))
            return
        with torch.no_grad():
            self.records.append(self._product().detach().clone())


def _check_times(times: float | Sequence[float]) -> tuple[float, ...]:
    """The times to record, or the last one, checked."""
    ends = check_numbers(times, "times", least=0)
    if not ends or ends[-1] == 0 or not all(a < b for a, b in pairwise(ends)):
        raise ValueError(message("times", "increasing and end after 0", times))
    return ends


def singular_value_velocity(
    W: Tensor | Factored, gradient: Tensor, depth: int, *, leading: int | None = None
) -> Tensor:
    """Velocity of the singular values of a depth-N linear network under gradient flow, by theory.

    σ̇_r = −N (σ_r²)^{1−1/N} ⟨∇ℓ(W), u_r v_rᵀ⟩ for balanced layers, W_{j+1}ᵀ W_{j+1} = W_j W_jᵀ (Arora, Cohen,
    Hu & Luo 2019, Theorem 3).

    Parameters
    ----------
    W
        End-to-end matrix (m, n).
    gradient
        ∇ℓ(W), the gradient of the loss with respect to W (m, n).
    depth
        Number N of layers; 1 is no factorization.
    leading
        Number of singular values, the largest ones; all by default.

    Returns
    -------
    Tensor, shape (leading,)
        In the order of the singular values, descending. At ties only the sum over the tie has a meaning.

    Raises
    ------
    TypeError, ValueError
        `depth` or `leading` is no integer, or out of its range; the shapes differ.

    Examples
    --------
    >>> import torch
    >>> from overt.training.gradient_flow import singular_value_velocity
    >>> W, gradient = torch.diag(torch.tensor([4.0, 1.0])), torch.diag(torch.tensor([-0.5, 2.0]))
    >>> singular_value_velocity(W, gradient, depth=2)
    tensor([ 4., -4.])
    """
    depth = check_integer(depth, "depth", least=1)
    if tuple(W.shape) != tuple(gradient.shape):
        raise ValueError(f"gradient must have the shape {tuple(W.shape)} of W, got {tuple(gradient.shape)}")
    U, s, Vt = svd(W)
    count = s.numel() if leading is None else check_integer(leading, "leading", least=1, most=s.numel())
    U, s, Vt = U[:, :count], s[:count], Vt[:count]
    slope = (U * (gradient @ Vt.mT)).sum(0)
    return -depth * s ** (2 - 2 / depth) * slope

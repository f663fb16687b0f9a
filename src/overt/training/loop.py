"""The one training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor, nn

from overt.training.run import Run
from overt.training.schedules import Schedule
from overt.training.settings import Settings, targets_of
from overt.training.state import State
from overt.training.trace import Trace

__all__ = ["TrainResult", "Trainable", "train"]

Status = Literal["converged", "diverged", "budget", "stopped"]


class Trainable(Protocol):
    """What a problem must offer to be trained on.

    More is used where it is there: ``y`` (its mean square is the unit of the loss, its dtype and device are
    checked) and ``max_abs_observed`` (the unit of `blow_up`).
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the end-to-end tensor."""
        ...

    def loss(self, W: Tensor, /) -> Tensor:
        """Training loss, a differentiable 0-d tensor ≥ 0."""
        ...

    def error(self, W: Tensor, /) -> float:
        """Distance from the truth or from held-out values."""
        ...


@dataclass(frozen=True)
class TrainResult:
    """What became of a run.

    Attributes
    ----------
    W
        The end-to-end tensor at the end, detached; after a divergence the last finite one.
    trace
        The recorded rows, see `Trace`.
    status
        ``"converged"``: the training loss is within the tolerance; or, with a penalty, the objective no
        longer falls or the schedule is through; or no parameter moves any more. ``"diverged"``, ``"budget"``,
        ``"stopped"`` (by the callback). `message` says it in words.
    steps
        Updates made.
    seconds
        Of training, without recording, evaluation, callbacks and checkpoints.
    hits
        For each error target that was reached, the step and the seconds of the first check at which it was.
    """

    W: Tensor
    trace: Trace
    status: Status
    message: str
    steps: int
    seconds: float
    hits: dict[float, tuple[int, float]]

    @property
    def converged(self) -> bool:
        """Whether `status` is ``"converged"``."""
        return self.status == "converged"


def train(
    model: nn.Module,
    problem: Trainable,
    *,
    optimizer: str = "adam",
    lr: float | None = 1e-3,
    optimizer_options: Mapping[str, Any] | None = None,
    penalty: Any = None,
    schedule: Schedule | None = None,
    lr_schedule: Callable[[int], float] | None = None,
    max_steps: int = 10_000,
    max_seconds: float | None = None,
    tolerance: float = 1e-12,
    stall_tolerance: float = 1e-6,
    stall_steps: int = 5000,
    blow_up: float = 100.0,
    record_per_decade: int = 10,
    leading: int = 20,
    error_targets: float | Sequence[float] = (1e-2, 1e-4),
    check_every: int = 25,
    callback: Callable[[State], bool | None] | None = None,
    progress: bool = False,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 30.0,
) -> TrainResult:
    """Train `model` on the whole of `problem`, full batch, and say what happened.

    Parameters
    ----------
    model
        With an end-to-end tensor, see ``overt.penalties.product_of``. Trained in place.
    problem
        Anything with ``shape``, ``loss`` and ``error``, such as the problems of ``overt.problems``.
    optimizer, lr, optimizer_options
        See `make_optimizer`. ``lr=None`` takes the optimizer's own default.
    penalty
        A ``SpectralPenalty``, a ``VectorPenalty`` or anything with ``weight`` and ``penalty(W)``, over this
        model. What it keeps from one call to the next is of one run: its ``refresh()``, if there is one, is
        called at the start, and the ``state_dict()`` of a module goes into the checkpoint.
    schedule
        Of the penalty's weight, which has its old value again after the run. A schedule is reset by a run and
        then holds its outcome.
    lr_schedule
        Factor of the learning rate as a function of the step, such as `Warmup`.
    max_steps, max_seconds
        The budget. Seconds are those of training, see `TrainResult`.
    tolerance
        Converged at a training loss ≤ tolerance × mean(y²), while no penalty is at work.
    stall_tolerance, stall_steps
        With a penalty of constant weight: converged once the objective has not fallen by this part of itself
        for so many steps.
    blow_up
        Diverged if an entry is larger than this many times the largest observed one (for problems that
        observe entries). A training loss that is not finite, or a million times the first one, is a
        divergence always.
    record_per_decade, leading
        Density of the log-spaced steps that are recorded, and number of singular values in a row.
    error_targets
        One or several, for `TrainResult.hits`; looked at every `check_every` steps.
    check_every
        Steps between two checks: of the entries, the targets, the schedule, the callback.
    callback
        Called at each check and at the end with the `State`; True ends the run.
    progress
        Show a live line with step, loss and effective rank on stderr.
    checkpoint, checkpoint_seconds
        File to which the run is saved, at most every so many seconds and at the end. If the file exists, the
        run is taken up where it was: with a deterministic optimizer its trace (without seconds) ends the same
        bit for bit. A finished run is returned as it was.

    Raises
    ------
    TypeError, ValueError
        Arguments out of their range; a model that does not fit the problem in shape, dtype or device; an
        unknown optimizer or option; a checkpoint that is damaged or of a run with other arguments; a learning
        rate's factor that is negative or not finite.
    RuntimeError
        Called under ``torch.inference_mode``.
    OSError
        The checkpoint cannot be read or written.

    Notes
    -----
    A divergence is no exception: `status` says so, and model and `W` are put back to the last finite state.

    Examples
    --------
    >>> from overt.models import DeepLinear
    >>> from overt.problems import matrix_completion
    >>> from overt.training import train
    >>> problem = matrix_completion((12, 10), rank=1, n_observed=80, seed=0)
    >>> model = DeepLinear((10, 12, 12, 12), scale=1e-2, seed=0, dtype=problem.y.dtype)
    >>> result = train(model, problem, optimizer="gd", lr=0.5, tolerance=1e-4)
    >>> result.status, problem.error(result.W) < 0.05
    ('converged', True)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    settings = Settings(
        optimizer=optimizer,
        lr=lr,
        optimizer_options=dict(optimizer_options or {}),
        penalty=penalty,
        schedule=schedule,
        lr_schedule=lr_schedule,
        max_steps=max_steps,
        max_seconds=max_seconds,
        tolerance=tolerance,
        stall_tolerance=stall_tolerance,
        stall_steps=stall_steps,
        blow_up=blow_up,
        record_per_decade=record_per_decade,
        leading=leading,
        error_targets=targets_of(error_targets),
        check_every=check_every,
        callback=callback,
        progress=progress,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        checkpoint_seconds=checkpoint_seconds,
    )
    if torch.is_inference_mode_enabled():
        raise RuntimeError("train() needs gradients, which torch.inference_mode rules out; call it outside")
    weight = getattr(penalty, "weight", None)
    try:
        with torch.enable_grad():
            run = Run(model, problem, settings)
            run.go()
            run.finish()
    finally:
        if penalty is not None:
            penalty.weight = weight
    with torch.no_grad():
        W = run.product().detach().clone()
    return TrainResult(
        W, run.trace, cast(Status, run.status), run.message, run.step, run.clock.seconds, dict(run.hits)
    )

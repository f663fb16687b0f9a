"""The one training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from overt.networks.modules import check_module
from overt.training.run import Run
from overt.training.schedules import Schedule
from overt.training.settings import Recording, Settings, Stopping, check_file
from overt.training.state import State, Status
from overt.training.trace import Trace
from overt.training.trainable import Trainable

_STOPPING, _RECORDING = Stopping(), Recording()


@dataclass(frozen=True)
class TrainResult:
    """The outcome of a run.

    Attributes
    ----------
    W
        The end-to-end tensor at the end, detached; after a divergence the last finite one.
    trace
        The recorded rows, see `Trace`.
    status
        ``"converged"``: the training loss is within the tolerance; or, with a penalty, the objective no
        longer falls or the schedule has ended; or no parameter moves any more. ``"diverged"``, ``"budget"``,
        ``"stopped"`` (by the callback). `message` says it in words.
    steps
        Updates made.
    seconds
        Of training, without recording, evaluation, callbacks and checkpoints.
    hits
        Step and seconds of the first check at which each error target was met.
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
    stopping: Stopping = _STOPPING,
    recording: Recording = _RECORDING,
    callback: Callable[[State], bool | None] | None = None,
    progress: bool = False,
    checkpoint: str | Path | None = None,
) -> TrainResult:
    """Train `model` on the whole of `problem`, full batch.

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
        model. A ``SpectralPenalty`` is reset by each run; the ``state_dict()`` of a module goes into the
        checkpoint.
    schedule
        Sets the penalty's weight, which is restored after the run. A run resets it; then it holds the
        outcome.
    lr_schedule
        Factor of the learning rate as a function of the step, such as `Warmup`.
    max_steps, max_seconds
        The budget. Seconds are those of training, see `TrainResult`.
    tolerance
        Converged at a training loss ≤ tolerance × mean(y²), while no penalty is at work.
    stopping, recording
        Further ends of the run; what is recorded and how often.
    callback
        Called with the `State` at each check, every `Recording.check_every` steps, and at the end; True ends
        the run.
    progress
        Show a live line with step, loss and effective rank on stderr.
    checkpoint
        File to which the run is saved, every `Recording.checkpoint_seconds` and at the end. If the file
        exists, the run resumes from it: with a deterministic optimizer the trace (without seconds) ends the
        same bit for bit. A finished run is returned as it was.

    Returns
    -------
    TrainResult

    Raises
    ------
    TypeError, ValueError
        Arguments out of their range; a model that does not fit the problem in shape, dtype or device; an
        unknown optimizer or option; a checkpoint that is damaged or of a run with other arguments; a factor
        of the learning rate that is negative or not finite.
    RuntimeError
        Called under ``torch.inference_mode``.
    OSError
        The checkpoint cannot be read or written.

    Notes
    -----
    A divergence raises nothing: `status` says so, and model and `W` are put back to the last finite state.

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
    check_module(model)
    settings = Settings(
        optimizer=optimizer,
        lr=lr,
        optimizer_options={} if optimizer_options is None else optimizer_options,
        penalty=penalty,
        schedule=schedule,
        lr_schedule=lr_schedule,
        max_steps=max_steps,
        max_seconds=max_seconds,
        tolerance=tolerance,
        stopping=stopping,
        recording=recording,
        callback=callback,
        progress=progress,
        checkpoint=check_file(checkpoint),
    )
    if torch.is_inference_mode_enabled():
        raise RuntimeError("train() needs gradients, which torch.inference_mode rules out; call it outside")
    weight = None if penalty is None else penalty.weight
    try:
        with torch.enable_grad():
            run = Run(model, problem, settings)
            run.go()
    finally:
        if penalty is not None:
            penalty.weight = weight
    with torch.no_grad():
        W = run.product().detach().clone()
    end = run.state
    return TrainResult(
        W, end.trace, cast(Status, end.status), end.message, end.step, end.seconds, dict(end.hits)
    )

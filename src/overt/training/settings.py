"""The arguments of a run: their checks, and the fingerprint that ties a checkpoint to them."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from overt._utils.checks import (
    check_callable,
    check_flag,
    check_integer,
    check_number,
    check_numbers,
    message,
    optional,
)
from overt.penalties import Penalty
from overt.training.checkpoint import feed_tensor
from overt.training.schedules import Schedule
from overt.training.state import State


@dataclass(frozen=True)
class Stopping:
    """When a run ends, apart from its budget and its tolerance.

    Parameters
    ----------
    stall_tolerance, stall_steps
        With a penalty of constant weight: converged once the objective has not fallen by this share of itself
        for so many steps.
    blow_up
        Diverged if an entry is larger than this many times the largest observed one (for problems that
        observe entries). A training loss that is not finite, or a million times the first one, is always a
        divergence.

    Raises
    ------
    TypeError, ValueError
        An argument of another kind, or out of its range.
    """

    stall_tolerance: float = 1e-6
    stall_steps: int = 5000
    blow_up: float = 100.0

    def __post_init__(self) -> None:
        _keep(
            self,
            stall_tolerance=check_number(self.stall_tolerance, "stall_tolerance", least=0, finite=False),
            stall_steps=check_integer(self.stall_steps, "stall_steps", least=1),
            blow_up=check_number(self.blow_up, "blow_up", above=0, finite=False),
        )


@dataclass(frozen=True)
class Recording:
    """What is recorded of a run, and how often it is checked.

    Parameters
    ----------
    per_decade, leading
        Density of the log-spaced steps that are recorded (see `log_spaced`), and number of singular values in
        a row of the trace.
    error_targets
        One or several, for `TrainResult.hits`. Kept as a tuple of floats, largest first, each once.
    check_every
        Steps between two checks: of the entries, the targets, the schedule, the callback.
    checkpoint_seconds
        Least time from one checkpoint to the next.

    Raises
    ------
    TypeError, ValueError
        An argument of another kind, or out of its range.
    """

    per_decade: int = 10
    leading: int = 20
    error_targets: float | Iterable[float] = (1e-2, 1e-4)
    check_every: int = 25
    checkpoint_seconds: float = 30.0

    def __post_init__(self) -> None:
        targets = check_numbers(self.error_targets, "error_targets", above=0)
        seconds = check_number(self.checkpoint_seconds, "checkpoint_seconds", least=0, finite=False)
        _keep(
            self,
            per_decade=check_integer(self.per_decade, "per_decade", least=1),
            leading=check_integer(self.leading, "leading", least=1),
            error_targets=tuple(sorted(set(targets), reverse=True)),
            check_every=check_integer(self.check_every, "check_every", least=1),
            checkpoint_seconds=seconds,
        )


@dataclass(frozen=True)
class Settings:
    """Everything that `train` takes besides the model and the problem, checked."""

    optimizer: str
    lr: float | None
    optimizer_options: Mapping[str, Any]
    penalty: Any
    schedule: Schedule | None
    lr_schedule: Callable[[int], float] | None
    max_steps: int
    max_seconds: float | None
    tolerance: float
    stopping: Stopping
    recording: Recording
    callback: Callable[[State], bool | None] | None
    progress: bool
    checkpoint: Path | None

    def __post_init__(self) -> None:
        optional(check_callable, self.lr_schedule, "lr_schedule")
        optional(check_callable, self.callback, "callback")
        check_flag(self.progress, "progress")
        for name, kind in (("stopping", Stopping), ("recording", Recording)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(message(name, f"an overt.training.{kind.__name__}", getattr(self, name)))
        _keep(
            self,
            lr=optional(check_number, self.lr, "lr", above=0),
            optimizer_options=_check_options(self.optimizer_options),
            max_steps=check_integer(self.max_steps, "max_steps", least=0),
            max_seconds=optional(check_number, self.max_seconds, "max_seconds", least=0, finite=False),
            tolerance=check_number(self.tolerance, "tolerance", least=0, finite=False),
        )
        _check_penalty(self.penalty, self.schedule)


def _keep(record: object, **values: Any) -> None:
    """Give a frozen record its checked values, with Python's numbers for the fingerprint."""
    for name, value in values.items():
        object.__setattr__(record, name, value)


def _check_options(options: object) -> dict[str, Any]:
    if not isinstance(options, Mapping):
        raise TypeError(message("optimizer_options", "a mapping of names to values", options))
    if "lr" in options:
        raise ValueError("optimizer_options must not hold the learning rate; give it as lr=")
    return dict(options)


def check_file(path: object) -> Path | None:
    """The file of a checkpoint: a path that is no folder, in a folder that exists."""
    if path is None:
        return None
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(message("checkpoint", "the path of a file", path))
    file = Path(path)
    if file.is_dir():
        raise ValueError(message("checkpoint", "the path of a file", str(file), "that is a folder"))
    if file.exists() and not file.is_file():
        raise ValueError(message("checkpoint", "the path of a file", str(file), "that is a pipe or a device"))
    if not file.parent.is_dir():
        raise ValueError(f"checkpoint: the folder {file.parent} does not exist; create it first")
    return file


def _check_penalty(penalty: object, schedule: object) -> None:
    if penalty is not None:
        if not callable(getattr(penalty, "penalty", None)):
            raise TypeError(message("penalty", "an object with a weight and a method penalty(W)", penalty))
        check_number(getattr(penalty, "weight", None), "penalty.weight", least=0)
    if schedule is None:
        return
    if not isinstance(schedule, Schedule):
        raise TypeError(message("schedule", "a Schedule such as HoldUntilCollapse()", schedule))
    if penalty is None:
        raise ValueError("schedule sets the weight of a penalty, but there is no penalty; give one")


def fingerprint(settings: Settings, model: nn.Module, problem: Any) -> dict[str, Any]:
    """The run's identity as flat JSON-able data; two runs with the same one have the same trace."""
    recording = dataclasses.asdict(settings.recording)
    del recording["checkpoint_seconds"]  # of no consequence for the trace, as max_seconds and progress
    recording["record_per_decade"] = recording.pop("per_decade")  # as checkpoints call it
    recording["error_targets"] = list(recording["error_targets"])
    plain = {
        "lr": settings.lr,
        "max_steps": settings.max_steps,
        "tolerance": settings.tolerance,
        **dataclasses.asdict(settings.stopping),
        **recording,
    }
    return {
        # JSON has no infinity.
        **{name: repr(value) if value == math.inf else value for name, value in plain.items()},
        "optimizer": settings.optimizer.lower(),
        "optimizer_options": {key: repr(value) for key, value in sorted(settings.optimizer_options.items())},
        "penalty": _words_for_penalty(settings.penalty),
        "schedule": _word_for(settings.schedule),
        "lr_schedule": _word_for(settings.lr_schedule),
        "model": f"{type(model).__name__}, initial values {_digest_of(model.state_dict())}",
        "problem": f"{type(problem).__name__} {tuple(problem.shape)}, {_digest_of(_contents(problem))}",
    }


def _words_for_penalty(penalty: Any) -> dict[str, Any] | None:
    if penalty is None:
        return None
    if isinstance(penalty, Penalty):
        return penalty.describe()
    return {"penalty": _word_for(penalty), "weight": float(penalty.weight)}


def _contents(problem: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(problem):
        return {f.name: getattr(problem, f.name) for f in dataclasses.fields(problem)}
    return dict(vars(problem))


def _digest_of(values: Mapping[str, Any]) -> str:
    """Checksum of all tensors, numbers and words among `values`."""
    digest = hashlib.sha256()
    for name in sorted(values):
        _feed(digest, name, values[name])
    return digest.hexdigest()[:16]


def _feed(digest: Any, name: str, value: Any) -> None:
    if isinstance(value, Tensor):
        feed_tensor(digest, name, value)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            _feed(digest, f"{name}.{i}", item)
    elif value is None or isinstance(value, (bool, int, float, str)):
        digest.update(f"\0{name}\0{value!r}\0".encode())


def _word_for(thing: object) -> str | None:
    """A description that is the same in another process: no memory addresses."""
    if thing is None:
        return None
    if type(thing).__repr__ is not object.__repr__ and " at 0x" not in repr(thing):
        return repr(thing)
    return f"{getattr(thing, '__module__', '?')}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"

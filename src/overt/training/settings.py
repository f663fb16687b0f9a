"""The arguments of a run: their checks, and the fingerprint that ties a checkpoint to them."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from overt.penalties import Penalty
from overt.training.optimizers import check_lr
from overt.training.schedules import Schedule
from overt.training.state import State

__all__ = ["Settings", "check_fit", "fingerprint"]


@dataclass(frozen=True)
class Settings:
    """Everything that `train` takes besides the model and the problem, checked."""

    optimizer: str
    lr: float | None
    optimizer_options: Mapping[str, Any]
    penalty: Any
    schedule: Any
    lr_schedule: Callable[[int], float] | None
    max_steps: int
    max_seconds: float | None
    tolerance: float
    stall_tolerance: float
    stall_steps: int
    blow_up: float
    record_per_decade: int
    leading: int
    error_targets: tuple[float, ...]
    check_every: int
    callback: Callable[[State], bool | None] | None
    progress: bool
    checkpoint: Path | None
    checkpoint_seconds: float

    def __post_init__(self) -> None:
        if self.lr is not None:
            self._set("lr", check_lr(self.lr))
        for name, least in (("max_steps", 0), ("stall_steps", 1), ("record_per_decade", 1), ("leading", 1)):
            self._set(name, _check_int(getattr(self, name), name, least))
        self._set("check_every", _check_int(self.check_every, "check_every", 1))
        for name in ("tolerance", "stall_tolerance", "checkpoint_seconds"):
            self._set(name, _check_number(getattr(self, name), name, zero=True))
        self._set("blow_up", _check_number(self.blow_up, "blow_up", zero=False))
        if self.max_seconds is not None:
            self._set("max_seconds", _check_number(self.max_seconds, "max_seconds", zero=True))
        self._check_parts()

    def _set(self, name: str, value: float) -> None:
        """Keep a number as Python's own, which the fingerprint of the run is written with."""
        object.__setattr__(self, name, value)

    def _check_parts(self) -> None:
        if self.penalty is not None and not callable(getattr(self.penalty, "penalty", None)):
            raise TypeError(f"penalty must have a method penalty(), got {type(self.penalty).__name__}")
        if self.penalty is not None and not isinstance(getattr(self.penalty, "weight", None), numbers.Real):
            raise TypeError(f"penalty must have a number weight, which {type(self.penalty).__name__} has not")
        if "lr" in self.optimizer_options:
            raise ValueError("optimizer_options must not hold the learning rate; give it as lr=")
        if self.schedule is not None and not isinstance(self.schedule, Schedule):
            raise TypeError(
                f"schedule must be a schedule such as HoldUntilCollapse(), got {type(self.schedule).__name__}"
            )
        if self.schedule is not None and self.penalty is None:
            raise ValueError(
                "schedule sets the weight of a penalty, but there is no penalty; give one or leave it out"
            )
        for name in ("lr_schedule", "callback"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise TypeError(f"{name} must be callable, got {type(value).__name__}")
        if self.checkpoint is not None and self.checkpoint.is_dir():
            raise ValueError(f"checkpoint must name a file, but {str(self.checkpoint)!r} is a folder")
        if self.checkpoint is not None and not self.checkpoint.parent.is_dir():
            raise ValueError(
                f"checkpoint: the folder {self.checkpoint.parent} does not exist; create it first"
            )


def check_fit(model: nn.Module, problem: Any, W: Tensor, penalty: Any) -> None:
    """Refuse a model that does not fit the problem, and a penalty that watches another model.

    Raises
    ------
    TypeError, ValueError
        See above; the message says what came and what to change.
    """
    parts = ("shape", "loss", "error")
    if isinstance(problem, type) or not all(hasattr(problem, name) for name in parts):
        name = problem.__name__ if isinstance(problem, type) else type(problem).__name__
        raise TypeError(f"problem must have {', '.join(parts)}, as those of overt.problems, got {name}")
    shape = tuple(problem.shape)
    if tuple(W.shape) != shape:
        raise ValueError(
            f"the model's end-to-end tensor has shape {tuple(W.shape)} but the problem asks for {shape}; "
            "for DeepLinear the sizes are (n, …, m)"
        )
    y = getattr(problem, "y", None)
    if isinstance(y, Tensor) and y.dtype != W.dtype:
        raise TypeError(
            f"the model computes in {W.dtype} but the problem holds {y.dtype}; "
            f"use problem.to(dtype={W.dtype}) or model.to({y.dtype})"
        )
    if isinstance(y, Tensor) and y.device != W.device:
        raise ValueError(
            f"the model is on {W.device} but the problem is on {y.device}; move one of them with .to()"
        )
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("the model has no parameter that requires a gradient: nothing to train")
    if not bool(torch.isfinite(W.detach()).all()):
        raise ValueError("the model starts with NaN or infinite parameters; initialize it anew")
    if isinstance(penalty, Penalty) and penalty.model is not model:
        raise ValueError("penalty watches another model than the one being trained; build it with this model")


def fingerprint(settings: Settings, model: nn.Module, problem: Any) -> dict[str, Any]:
    """The run's identity as flat JSON-able data; two runs with the same one have the same trace."""
    skipped = {
        "optimizer_options",
        "penalty",
        "schedule",
        "lr_schedule",
        "callback",
        "progress",
        "checkpoint",
    }
    skipped |= {"checkpoint_seconds", "max_seconds"}
    plain = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings) if f.name not in skipped}
    # JSON has no infinity.
    plain = {name: repr(v) if v == math.inf else v for name, v in plain.items()}
    describe = getattr(settings.penalty, "describe", None)
    return {
        **plain,
        "optimizer": settings.optimizer.lower(),
        "error_targets": list(settings.error_targets),
        "optimizer_options": {key: repr(value) for key, value in sorted(settings.optimizer_options.items())},
        "penalty": describe() if callable(describe) else _word_for(settings.penalty),
        "schedule": _word_for(settings.schedule),
        "lr_schedule": _word_for(settings.lr_schedule),
        "model": f"{type(model).__name__}, initial values {_digest_of(model.state_dict())}",
        "problem": f"{type(problem).__name__} {tuple(problem.shape)}, {_digest_of(_contents(problem))}",
    }


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
        digest.update(f"\0{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy())
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


def _check_int(value: object, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer ≥ {least}, got {value!r}")
    number = int(value)
    if number < least:
        raise ValueError(f"{name} must be an integer ≥ {least}, got {value}")
    return number


def _check_number(value: object, name: str, *, zero: bool) -> float:
    least = "≥ 0" if zero else "> 0"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number {least}, got {value!r}")
    number = float(value)
    if math.isnan(number) or number < 0 or (number == 0 and not zero):
        raise ValueError(f"{name} must be a number {least}, got {value}")
    return number


def targets_of(values: float | Iterable[float]) -> tuple[float, ...]:
    """`values`, a number or several, as floats, largest first, each once."""
    several = isinstance(values, Iterable) and not isinstance(values, (str, bytes))
    items = cast("Iterable[float]", values if several else [values])
    targets = {_check_number(value, "error_targets", zero=False) for value in items}
    return tuple(sorted(targets, reverse=True))

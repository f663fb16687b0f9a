"""Saving a run and taking it up again."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from overt.training.checkpoint import load_checkpoint, pack, save_checkpoint, unpack
from overt.training.settings import Settings, fingerprint
from overt.training.trace import Trace

if TYPE_CHECKING:
    from overt.training.run import Run

__all__ = ["Persistence"]

_STATUSES = (None, "converged", "diverged", "budget", "stopped")


class Persistence:
    """The checkpoint file of one run."""

    def __init__(self, path: Path, config: dict[str, Any], every: float) -> None:
        self._path, self._config, self._every = path, config, every
        self._saved_at = time.monotonic()
        self._penalty_state: dict[str, Any] = {}

    @classmethod
    def of(cls, settings: Settings, model: nn.Module, problem: Any) -> Persistence | None:
        """The file that the settings ask for, if any."""
        if settings.checkpoint is None:
            return None
        return cls(settings.checkpoint, fingerprint(settings, model, problem), settings.checkpoint_seconds)

    def due(self) -> bool:
        """Whether the last file is older than asked for."""
        return time.monotonic() - self._saved_at >= self._every

    def keep_penalty(self, run: Run) -> None:
        """Copy what the penalty keeps before it is evaluated at a step that may be stored.

        A resumed run evaluates that step again, and the penalty has to come to it as it came the first time.
        """
        penalty = run.settings.penalty
        if run.step % run.settings.check_every == 0 and isinstance(penalty, nn.Module):
            state = penalty.state_dict()
            self._penalty_state = {n: v.clone() if isinstance(v, Tensor) else v for n, v in state.items()}

    def save(self, run: Run) -> None:
        """Write the run's present state."""
        tensors = {f"model.{name}": value for name, value in run.model.state_dict().items()}
        data = {
            "config": self._config,
            "step": run.step,
            "status": run.status,
            "message": run.message,
            "seconds": run.clock.seconds,
            "weight": run.weight,
            "best": [run.best[0] if math.isfinite(run.best[0]) else None, run.best[1]],
            "first_loss": run.first_loss,
            "hits": [[target, step, seconds] for target, (step, seconds) in run.hits.items()],
            "trace": list(run.trace),
            "schedule": None if run.settings.schedule is None else run.settings.schedule.state_dict(),
            # The groups' settings are not stored: they follow from the arguments, which have to be the same.
            "optimizer": pack(run.optimizer.state_dict()["state"], "optimizer", tensors),
            "penalty": pack(self._penalty_state, "penalty", tensors),
        }
        save_checkpoint(self._path, tensors, data)
        self._saved_at = time.monotonic()

    def resume(self, run: Run) -> bool:
        """Put the run into the stored state; False if there is none.

        Raises
        ------
        ValueError
            The file is damaged, no checkpoint, or of a run with other arguments; the message says which.
        """
        if not self._path.exists():
            return False
        tensors, data = load_checkpoint(self._path)
        self._check_config(data.get("config"))
        try:
            self._put_back(run, tensors, data)
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            IndexError,
            RuntimeError,
            OverflowError,
        ) as error:
            raise ValueError(
                f"cannot resume from {self._path}: its contents are not those of a run ({error}); "
                "delete the file to start anew"
            ) from None
        return True

    def _check_config(self, stored: object) -> None:
        if stored == self._config:
            return
        other = stored if isinstance(stored, dict) else {}
        names = sorted(n for n in {*self._config, *other} if self._config.get(n) != other.get(n))
        first = names[0]
        raise ValueError(
            f"cannot resume from {self._path}: it is of a run with other arguments ({', '.join(names)}; "
            f"{first} was {other.get(first)!r}, is {self._config.get(first)!r}); build model and problem "
            "from the same seeds, choose another file, or delete this one"
        )

    def _put_back(self, run: Run, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        model_state = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
        _check_like(model_state, run.model.state_dict())
        optimizer_state = unpack(data["optimizer"], tensors)
        # Earlier checkpoints have none: the penalty then begins anew.
        penalty_state = unpack(data["penalty"], tensors) if "penalty" in data else None
        _check_optimizer_state(optimizer_state, run.optimizer)
        best, at = data["best"]
        weight, seconds = _finite(data["weight"]), _finite(data["seconds"])
        status, step = data["status"], _integer(data["step"])
        if weight < 0 or status not in _STATUSES or not 0 <= step <= run.settings.max_steps:
            raise ValueError(f"status {status!r} at step {step}, weight {weight}")
        hits = {_finite(t): (_integer(s), _finite(seconds)) for t, s, seconds in data["hits"]}
        trace = Trace.from_rows(data["trace"])
        first_loss = None if data["first_loss"] is None else _finite(data["first_loss"])
        best = (math.inf if best is None else _finite(best), _integer(at))
        # Only now, with everything checked, is the run touched.
        if run.settings.schedule is not None:
            run.settings.schedule.load_state_dict(data["schedule"])
        if isinstance(run.settings.penalty, nn.Module) and penalty_state is not None:
            run.settings.penalty.load_state_dict(penalty_state)
        run.model.load_state_dict(model_state)
        groups = run.optimizer.state_dict()["param_groups"]
        run.optimizer.load_state_dict({"state": optimizer_state, "param_groups": groups})
        run.step, run.status, run.message = step, status, str(data["message"])
        run.weight, run.best, run.first_loss = weight, best, first_loss
        run.hits, run.trace = hits, trace
        run.clock.set(seconds)


def _check_like(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    if set(given) != set(wanted):
        raise ValueError(f"parameters {sorted(set(given) ^ set(wanted))} differ")
    for name, value in wanted.items():
        if given[name].shape != value.shape or given[name].dtype != value.dtype:
            raise ValueError(f"parameter {name} is {tuple(given[name].shape)} {given[name].dtype}")
        if not bool(torch.isfinite(given[name]).all()):
            raise ValueError(f"parameter {name} is not finite")


def _check_optimizer_state(state: object, optimizer: Optimizer) -> None:
    """Refuse what no optimizer over these parameters can have stored."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    if not isinstance(state, dict) or not set(state) <= set(range(len(params))):
        raise ValueError("the optimizer's state is of other parameters")
    total = sum(p.numel() for p in params)
    for index, entries in state.items():
        if not isinstance(entries, dict):
            raise ValueError("the optimizer's state is no record")
        for name, value in entries.items():
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, Tensor) and not _fits(item, params[index], total):
                    raise ValueError(f"the optimizer's {name} has shape {tuple(item.shape)}")


def _fits(value: Tensor, p: Tensor, total: int) -> bool:
    """As the parameter, one number, all parameters in one vector (L-BFGS), or a marginal (Adafactor)."""
    if value.numel() == 1 or value.shape == p.shape or value.shape == (total,):
        return True
    return value.ndim == p.ndim and all(a in {1, b} for a, b in zip(value.shape, p.shape, strict=True))


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is no integer")
    return value

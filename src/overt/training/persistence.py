"""The checkpoint of one run: saving and resuming it."""

from __future__ import annotations

import time
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from overt._utils.reading import brief
from overt._utils.tensors import is_finite
from overt.training.checkpoint import load_checkpoint, pack, save_checkpoint, unpack
from overt.training.settings import Settings, fingerprint
from overt.training.state import RunState

_SMALL, _COPIES = 2**28, 1024


class RunCheckpoint:
    """The file `settings.checkpoint`, if any: the states of run, model, optimizer, schedule and penalty."""

    def __init__(self, settings: Settings, model: nn.Module, problem: Any, optimizer: Optimizer) -> None:
        self._settings, self._model, self._optimizer = settings, model, optimizer
        self._path = settings.checkpoint
        self._config = {} if self._path is None else fingerprint(settings, model, problem)
        self._saved_at = time.monotonic()
        self._penalty_state: dict[str, Any] = {}

    def due(self) -> bool:
        """Whether the last file is older than asked for."""
        waited = time.monotonic() - self._saved_at
        return self._path is not None and waited >= self._settings.recording.checkpoint_seconds

    def keep_penalty(self, step: int) -> None:
        """Copy the penalty's state before a step that may be stored: a resumed run evaluates it again."""
        penalty = self._settings.penalty
        at_check = self._path is not None and step % self._settings.recording.check_every == 0
        if at_check and isinstance(penalty, nn.Module):
            state = penalty.state_dict()
            self._penalty_state = {n: v.clone() if isinstance(v, Tensor) else v for n, v in state.items()}

    def save(self, state: RunState) -> None:
        """Write the run's present state."""
        if self._path is None:
            return
        tensors = {f"model.{name}": value for name, value in self._model.state_dict().items()}
        schedule = self._settings.schedule
        data = {
            "config": self._config,
            **state.plain(),
            "schedule": None if schedule is None else schedule.state_dict(),
            # The groups' settings are not stored: they follow from the arguments, which have to be the same.
            "optimizer": pack(self._optimizer.state_dict()["state"], "optimizer", tensors),
            "penalty": pack(self._penalty_state, "penalty", tensors),
        }
        save_checkpoint(self._path, tensors, data)
        self._saved_at = time.monotonic()

    def resume(self) -> RunState | None:
        """The run's stored state, with the parts put into theirs; None if nothing is stored.

        A ValueError says that the file is damaged, not a checkpoint, or of a run with other arguments.
        """
        if self._path is None or not self._path.exists():
            return None
        tensors, data = load_checkpoint(self._path, self._largest())
        self._check_config(data.get("config"))
        faults = (ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError, OverflowError)
        try:
            return self._put_back(tensors, data)
        except faults as error:
            raise ValueError(
                f"cannot resume from {self._path}: its contents are not those of a run ({brief(error)}); "
                "delete the file to start anew"
            ) from None

    def _check_config(self, stored: object) -> None:
        if stored == self._config:
            return
        other = stored if isinstance(stored, dict) else {}
        names = sorted(n for n in {*self._config, *other} if self._config.get(n) != other.get(n))
        first = names[0]
        was, now = brief(repr(other.get(first))), self._config.get(first)
        raise ValueError(
            f"cannot resume from {self._path}: it is of a run with other arguments "
            f"({brief(', '.join(names))}; {brief(first)} was {was}, is {now!r}); build model and problem "
            "from the same seeds, choose another file, or delete this one"
        )

    def _largest(self) -> int:
        """Bytes that the file may have: optimizers keep at most some hundred copies of the parameters."""
        values = self._model.state_dict().values()
        model = sum(int(value.numel()) * int(value.element_size()) for value in values)
        return _SMALL + _COPIES * model

    def _put_back(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> RunState:
        schedule, penalty = self._settings.schedule, self._settings.penalty
        model_state = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
        _check_like(model_state, self._model.state_dict())
        optimizer_state = unpack(data["optimizer"], tensors)
        # Earlier checkpoints have none: the penalty then begins anew.
        penalty_state = unpack(data["penalty"], tensors) if "penalty" in data else None
        _check_optimizer_state(optimizer_state, self._optimizer)
        state = RunState.from_plain(data, self._settings.max_steps)
        # Only now, with everything checked, is a part touched.
        if schedule is not None:
            schedule.load_state_dict(data["schedule"])
        if isinstance(penalty, nn.Module) and penalty_state is not None:
            penalty.load_state_dict(penalty_state)
        self._model.load_state_dict(model_state)
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": optimizer_state, "param_groups": groups})
        return state


def _check_like(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    if set(given) != set(wanted):
        raise ValueError(f"parameters {sorted(set(given) ^ set(wanted))} differ")
    for name, value in wanted.items():
        if given[name].shape != value.shape or given[name].dtype != value.dtype:
            raise ValueError(f"parameter {name} is {tuple(given[name].shape)} {given[name].dtype}")
        if not is_finite(given[name]):
            raise ValueError(f"parameter {name} is not finite")


def _check_optimizer_state(state: object, optimizer: Optimizer) -> None:
    """Refuse what no optimizer over these parameters can have stored."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    if not isinstance(state, dict) or not set(state) <= set(range(len(params))):
        raise ValueError("the optimizer's state is of other parameters")
    total = sum(p.numel() for p in params)
    for index, entries in state.items():
        if not isinstance(entries, dict):
            raise ValueError("the optimizer's state is not a record")
        for name, value in entries.items():
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, Tensor) and not _fits(item, params[index], total):
                    raise ValueError(f"the optimizer's {name} has shape {tuple(item.shape)}")


def _fits(value: Tensor, p: Tensor, total: int) -> bool:
    """As the parameter, one number, all parameters in one vector (L-BFGS), or a marginal (Adafactor)."""
    if value.numel() == 1 or value.shape == p.shape or value.shape == (total,):
        return True
    return value.ndim == p.ndim and all(a in {1, b} for a, b in zip(value.shape, p.shape, strict=True))

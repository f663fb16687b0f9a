"""The engine of a run: one step after another, with everything that happens between them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from overt.penalties import product_of
from overt.training.clock import Clock
from overt.training.optimizers import make_optimizer, set_lrs, standstill
from overt.training.persistence import Persistence
from overt.training.progress import LiveLine
from overt.training.schedules import Constant
from overt.training.settings import Settings, check_fit
from overt.training.snapshots import Snapshots
from overt.training.state import State
from overt.training.trace import Trace, describe, finite_or_none, log_spaced

__all__ = ["Run"]

# A training loss this many times the first one does not come back.
_LOSS_BLOW_UP = 1e6


class Run:
    """A run from its first step (or from its checkpoint) to its end.

    One iteration evaluates the state after `step` updates, looks at it, and makes the next update. A
    checkpoint holds the state between looking and updating; a resumed run evaluates it again and goes on from
    there.
    """

    def __init__(self, model: nn.Module, problem: Any, settings: Settings) -> None:
        self.model, self.problem, self.settings = model, problem, settings
        self.product = product_of(model)
        with torch.no_grad():
            W = self.product()
        check_fit(model, problem, W, settings.penalty)
        self._store = Persistence.of(settings, model, problem)
        self._params: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(
            settings.optimizer, self._params, settings.lr, **settings.optimizer_options
        )
        self._needs_closure = isinstance(self.optimizer, torch.optim.LBFGS)
        self._lrs = [group["lr"] for group in self.optimizer.param_groups]
        self._loss_scale = _mean_square(getattr(problem, "y", None))
        observed = getattr(problem, "max_abs_observed", None)
        self._entry_limit = math.inf if observed is None else settings.blow_up * float(observed)
        self._record_at = set(log_spaced(settings.max_steps, settings.record_per_decade))
        self._spectrum_needed = settings.schedule is not None and getattr(
            settings.schedule, "needs_spectrum", True
        )
        self._may_stall = settings.schedule is None or isinstance(settings.schedule, Constant)

        self.step = 0
        self.status: str | None = None
        self.message = ""
        self.trace = Trace()
        self.hits: dict[float, tuple[int, float]] = {}
        self.weight = 0.0
        self.best: tuple[float, int] = (math.inf, 0)
        self.first_loss: float | None = None
        self._resumed_at: int | None = None
        self._snapshots = Snapshots(self._params, 0)
        self.clock = Clock(W.device)

    # ---- the hot path --------------------------------------------------------------------------------------

    def go(self) -> None:
        """Run to the end; `status` and `message` then say which."""
        with self.clock.paused():
            self._start()
        with LiveLine(self.settings.progress, self.settings.max_steps) as line:
            while self.status is None:
                self._set_weight()
                if self._store is not None:
                    self._store.keep_penalty(self)
                loss, objective = self._evaluate()
                if self._exploded(loss, objective) or self._ends(loss, objective, line):
                    break
                self._snapshots.keep_finite(self.step)
                self._update()
                self.step += 1

    def _closure(self) -> Tensor:
        """Objective with its gradient; leaves the end-to-end tensor and the loss behind."""
        for p in self._params:
            p.grad = None
        W = self.product()
        loss: Tensor = self.problem.loss(W)
        objective = loss if self.weight == 0.0 else loss + self.settings.penalty.penalty(W)
        objective.backward()
        self._W, self._loss, self._objective = W.detach(), loss.detach(), objective.detach()
        return objective

    def _evaluate(self) -> tuple[float, float]:
        """(loss, objective) as numbers, the only wait for the device in a step; NaN where not finite."""
        try:
            self._closure()
        except (ValueError, RuntimeError):
            # A decomposition refuses NaN. That is a divergence, not a wrong argument.
            if self._is_finite():
                raise
            return math.nan, math.nan
        if self.weight == 0.0:
            loss = self._loss.item()
            return loss, loss
        loss, objective = torch.stack((self._loss, self._objective)).tolist()
        return loss, objective

    def _update(self) -> None:
        schedule = self.settings.lr_schedule
        if schedule is not None:
            set_lrs(self.optimizer, self._lrs, schedule(self.step), self.step)
        if not self._needs_closure:
            self.optimizer.step()
            return
        try:
            self.optimizer.step(self._closure)  # type: ignore[arg-type]
        except (ValueError, RuntimeError):
            if self._is_finite():
                raise

    def _set_weight(self) -> None:
        penalty, schedule = self.settings.penalty, self.settings.schedule
        if penalty is None:
            return
        if self.step == self._resumed_at:
            penalty.weight = self.weight
            return
        weight = None if schedule is None else schedule.weight(self.step)
        if weight is not None:
            penalty.weight = weight
        self.weight = float(penalty.weight)

    # ---- between the steps ---------------------------------------------------------------------------------

    def _ends(self, loss: float, objective: float, line: LiveLine) -> bool:
        """Judge the present state, check it and record it where its turn has come; True if it is over."""
        settings = self.settings
        if self.step == self._resumed_at:  # all of this happened before the checkpoint was written
            return False
        self._judge(loss)
        check = self.status is not None or self.step % settings.check_every == 0
        if not check and self.step not in self._record_at:
            return False
        with self.clock.paused():
            if self._spiked():
                return True
        if check:
            self._check(loss, objective, line)
        with self.clock.paused():
            if self.status is not None or self.step in self._record_at:
                self._record(self.step, self._W, loss, objective)
            if check and self.status is None and self._store is not None and self._store.due():
                self._store.save(self)
        return self.status is not None

    def _judge(self, loss: float) -> None:
        settings = self.settings
        if self.weight == 0.0 and loss <= settings.tolerance * self._loss_scale:
            self._end(
                "converged",
                f"training loss {loss:.3g} ≤ {settings.tolerance:g} × mean(y²) after {self.step} steps",
            )
        elif self.step >= settings.max_steps:
            self._end("budget", f"max_steps={settings.max_steps} used up at training loss {loss:.3g}")
        elif settings.max_seconds is not None and self.clock.seconds >= settings.max_seconds:
            self._end("budget", f"max_seconds={settings.max_seconds:g} used up at training loss {loss:.3g}")

    def _check(self, loss: float, objective: float, line: LiveLine) -> None:
        """Everything that happens every `check_every` steps."""
        with self.clock.paused():
            since = self._snapshots.checked_step
            if not self._snapshots.keep_checked(self.step):
                self._end(*standstill(self.optimizer, since, self.step))
            self._hit_targets()
            state = State(self.step, self.clock.seconds, self._W, loss, objective, self.weight)
            callback = self.settings.callback
            if callback is not None and callback(state) is True:
                self._end("stopped", f"the callback ended the run at step {self.step}")
            if line.due() or self.status is not None:
                line.show(state)
        self._observe(state)
        self._stall(objective)

    def _observe(self, state: State) -> None:
        """Let the schedule look; its spectrum is a part of the method, so the clock runs."""
        schedule = self.settings.schedule
        if schedule is None:
            return
        spectrum = state.singular_values() if self._spectrum_needed else self._W.new_empty(0)
        if schedule.observe(self.step, spectrum, state.loss / self._loss_scale):
            rank = getattr(schedule, "rank", None)
            found = "" if rank is None else f", spectrum collapsed at rank {rank}"
            self._end("converged", f"the schedule ended the run at step {self.step}{found}")

    def _stall(self, objective: float) -> None:
        """Converged where the objective with its penalty no longer falls."""
        if self.weight == 0.0 or not self._may_stall:
            return
        (best, at), part = self.best, self.settings.stall_tolerance
        if not math.isfinite(best) or objective < best - part * abs(best):
            self.best = (objective, self.step)
        elif self.step - at >= self.settings.stall_steps:
            self._end(
                "converged", f"the objective has not fallen by {part:g} of itself in {self.step - at} steps"
            )

    def _hit_targets(self) -> None:
        waiting = [target for target in self.settings.error_targets if target not in self.hits]
        if not waiting:
            return
        error = self.problem.error(self._W)
        self.hits.update({target: (self.step, self.clock.seconds) for target in waiting if error <= target})

    def _record(self, step: int, W: Tensor, loss: float, objective: float) -> None:
        if self.trace and self.trace[-1]["step"] >= step:
            return
        numbers = {
            "seconds": self.clock.seconds,
            "loss": loss,
            "error": float(self.problem.error(W)),
            "objective": objective,
            "weight": self.weight,
        }
        row = {name: finite_or_none(value) for name, value in numbers.items()}
        self.trace.append({"step": step, **row, **describe(W, self.settings.leading)})

    # ---- the ends ------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self.settings.schedule is not None:
            self.settings.schedule.reset()
        if callable(refresh := getattr(self.settings.penalty, "refresh", None)):
            refresh()  # what it kept from one call to the next was of another run
        if self._store is not None and self._store.resume(self):
            self._resumed_at = self.step
            self._snapshots = Snapshots(self._params, self.step)

    def finish(self) -> None:
        """Store the end of the run."""
        if self._store is not None:
            self._store.save(self)

    def _end(self, status: str, message: str) -> None:
        if self.status is None:
            self.status, self.message = status, message

    def _exploded(self, loss: float, objective: float) -> bool:
        """Whether the state just evaluated is beyond repair; if so, an earlier one is put back."""
        if self.first_loss is None and math.isfinite(loss):
            self.first_loss = loss
        limit = _LOSS_BLOW_UP * max(self.first_loss or 0.0, self._loss_scale)
        if not (math.isfinite(loss) and math.isfinite(objective)):
            what = "the training loss" if not math.isfinite(loss) else "the penalty"
            self._diverge(f"{what} became NaN or infinite")
        elif loss > limit:
            self._diverge(f"the training loss grew to {loss:.3g}, from {self.first_loss:.3g}")
        return self.status is not None

    def _spiked(self) -> bool:
        """Whether an entry has outgrown the data."""
        largest = float(self._W.abs().max())
        if math.isfinite(largest) and largest <= self._entry_limit:
            return False
        self.status = None
        limit = f"{self._entry_limit:.3g} = {self.settings.blow_up:g} × the largest observed one (blow_up)"
        what = f"grew to {largest:.3g}, above {limit}" if math.isfinite(largest) else "became NaN or infinite"
        self._diverge(f"the largest entry of the end-to-end tensor {what}", checked=True)
        return True

    def _diverge(self, what: str, *, checked: bool = False) -> None:
        """End the run and put back the newest state that is finite, or that passed every check."""
        remedy = "lower lr" if self.weight == 0.0 else "lower lr or the penalty's weight, or set a norm_cap"
        self._end("diverged", f"diverged at step {self.step}: {what}; {remedy}")
        with self.clock.paused(), torch.no_grad():
            step = self._snapshots.restore(checked=checked)
            if not self._is_finite():
                step = self._snapshots.restore(checked=True)
            W = self.product().detach()
            loss = float(self.problem.loss(W))
            penalty = 0.0 if self.weight == 0.0 else float(self.settings.penalty.penalty(W))
            self._record(step, W, loss, loss + penalty)

    def _is_finite(self) -> bool:
        with torch.no_grad():
            return bool(torch.isfinite(self.product()).all()) and all(
                bool(torch.isfinite(p).all()) for p in self._params
            )


def _mean_square(y: object) -> float:
    """mean(y²), the unit of the training loss; 1 where it is zero or unknown."""
    scale = float(y.detach().square().mean()) if isinstance(y, Tensor) else 0.0
    return scale if scale > 0 else 1.0

"""The engine of a run: its steps, and everything between them."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from overt._utils.console import LiveLine
from overt._utils.tensors import is_finite
from overt.penalties import Penalty, product_of
from overt.training.optimizers import make_optimizer, set_lrs, standstill
from overt.training.persistence import RunCheckpoint
from overt.training.settings import Settings
from overt.training.state import Clock, RunState, Snapshots, State
from overt.training.trace import describe, finite_or_none, log_spaced
from overt.training.trainable import check_fit, loss_unit, trainable_parameters

# A training loss that has grown by this factor is taken for a divergence.
_LOSS_BLOW_UP = 1e6


class Run:
    """A run from its first step (or from its checkpoint) to its end.

    One iteration evaluates the model after `state.step` updates, checks it, and makes the next update. A
    checkpoint is written between the check and the update; a resumed run evaluates that step again.
    """

    def __init__(self, model: nn.Module, problem: Any, settings: Settings) -> None:
        self.problem, self.settings = problem, settings
        self.product = product_of(model)
        self._params = trainable_parameters(model)
        with torch.no_grad():
            W = self.product()
        check_fit(model, problem, W, settings.penalty)
        self._optimizer = make_optimizer(
            settings.optimizer, self._params, settings.lr, **settings.optimizer_options
        )
        self._checkpoint = RunCheckpoint(settings, model, problem, self._optimizer)
        self._needs_closure = isinstance(self._optimizer, torch.optim.LBFGS)
        self._lrs = [group["lr"] for group in self._optimizer.param_groups]
        self._loss_unit = loss_unit(problem)
        observed = getattr(problem, "max_abs_observed", None)
        self._entry_limit = math.inf if observed is None else settings.stopping.blow_up * float(observed)
        self._record_at = set(log_spaced(settings.max_steps, settings.recording.per_decade))
        self._may_stall = settings.schedule is None or settings.schedule.may_stall
        self._line = LiveLine(settings.progress)
        self._snapshots = Snapshots(self._params, 0)
        self._resumed_at: int | None = None
        self.state = RunState()
        self.clock = Clock(W.device)

    # ---- the hot path --------------------------------------------------------------------------------------

    def go(self) -> None:
        """Run to the end and store it; `state` then says how it ended."""
        with self.clock.paused():
            self._start()
        state = self.state
        if state.status is not None:  # it had ended when it was stored
            return
        with self._line:
            while state.status is None:
                self._set_weight()
                self._checkpoint.keep_penalty(state.step)
                loss, objective = self._evaluate()
                if self._exploded(loss, objective) or self._ends(loss, objective):
                    break
                self._snapshots.keep_finite(state.step)
                self._update()
                state.step += 1
        self._save()

    def _closure(self) -> Tensor:
        """The objective, with its gradient; keeps the end-to-end tensor and the loss."""
        for p in self._params:
            p.grad = None
        W = self.product()
        loss: Tensor = self.problem.loss(W)
        objective = loss if self.state.weight == 0.0 else loss + self.settings.penalty.penalty(W)
        objective.backward()
        self._W, self._loss, self._objective = W.detach(), loss.detach(), objective.detach()
        return objective

    def _evaluate(self) -> tuple[float, float]:
        """(loss, objective) as numbers, NaN where not finite; the only wait for the device in a step."""
        try:
            self._closure()
        except (ValueError, RuntimeError):
            # A decomposition refuses NaN. That is a divergence, not a wrong argument.
            if self._is_finite():
                raise
            return math.nan, math.nan
        if self.state.weight == 0.0:
            loss = self._loss.item()
            return loss, loss
        loss, objective = torch.stack((self._loss, self._objective)).tolist()
        return loss, objective

    def _update(self) -> None:
        schedule, step = self.settings.lr_schedule, self.state.step
        if schedule is not None:
            set_lrs(self._optimizer, self._lrs, schedule(step), step)
        if not self._needs_closure:
            self._optimizer.step()
            return
        try:
            self._optimizer.step(self._closure)  # type: ignore[arg-type]
        except (ValueError, RuntimeError):
            if self._is_finite():
                raise

    def _set_weight(self) -> None:
        penalty, schedule, state = self.settings.penalty, self.settings.schedule, self.state
        if penalty is None:
            return
        if state.step == self._resumed_at:
            penalty.weight = state.weight
            return
        weight = None if schedule is None else schedule.weight(state.step)
        if weight is not None:
            penalty.weight = weight
        state.weight = float(penalty.weight)

    # ---- between the steps ---------------------------------------------------------------------------------

    def _ends(self, loss: float, objective: float) -> bool:
        """Judge the present step, check and record it if it is due; True if the run is over."""
        state = self.state
        if state.step == self._resumed_at:  # all of this happened before the checkpoint was written
            return False
        self._judge(loss)
        check = state.status is not None or state.step % self.settings.recording.check_every == 0
        if not check and state.step not in self._record_at:
            return False
        with self.clock.paused():
            if self._spiked():
                return True
        if check:
            self._check(loss, objective)
        with self.clock.paused():
            if state.status is not None or state.step in self._record_at:
                self._record(state.step, self._W, loss, objective)
            if check and state.status is None and self._checkpoint.due():
                self._save()
        return state.status is not None

    def _judge(self, loss: float) -> None:
        settings, state = self.settings, self.state
        if state.weight == 0.0 and loss <= settings.tolerance * self._loss_unit:
            limit = f"{settings.tolerance:g} × mean(y²)"
            state.end("converged", f"training loss {loss:.3g} ≤ {limit} after {state.step} steps")
        elif state.step >= settings.max_steps:
            state.end("budget", f"max_steps={settings.max_steps} used up at training loss {loss:.3g}")
        elif settings.max_seconds is not None and self.clock.seconds >= settings.max_seconds:
            state.end("budget", f"max_seconds={settings.max_seconds:g} used up at training loss {loss:.3g}")

    def _check(self, loss: float, objective: float) -> None:
        """What is due every `check_every` steps."""
        state, settings = self.state, self.settings
        with self.clock.paused():
            since = self._snapshots.checked_step
            if not self._snapshots.keep_checked(state.step):
                state.end(*standstill(self._optimizer, since, state.step))
            self._hit_targets()
            seen = State(state.step, self.clock.seconds, self._W, loss, objective, state.weight)
            if settings.callback is not None and settings.callback(seen) is True:
                state.end("stopped", f"the callback ended the run at step {state.step}")
            if self._line.due() or (settings.progress and state.status is not None):
                self._line.show(seen.summary(settings.max_steps))
        self._observe(seen)
        self._stall(objective)

    def _observe(self, seen: State) -> None:
        """Let the schedule look; the clock runs, because the spectrum is a part of the method."""
        schedule = self.settings.schedule
        if schedule is None:
            return
        spectrum = seen.singular_values() if schedule.needs_spectrum else self._W.new_empty(0)
        if schedule.observe(seen.step, spectrum, seen.loss / self._loss_unit):
            found = "" if schedule.rank is None else f", spectrum collapsed at rank {schedule.rank}"
            self.state.end("converged", f"the schedule ended the run at step {seen.step}{found}")

    def _stall(self, objective: float) -> None:
        """Converged where the objective with its penalty no longer falls."""
        state, stopping = self.state, self.settings.stopping
        if state.weight == 0.0 or not self._may_stall:
            return
        (best, at), part = state.best, stopping.stall_tolerance
        if not math.isfinite(best) or objective < best - part * abs(best):
            state.best = (objective, state.step)
        elif state.step - at >= stopping.stall_steps:
            waited = f"{part:g} of itself in {state.step - at} steps"
            state.end("converged", f"the objective has not fallen by {waited}")

    def _hit_targets(self) -> None:
        targets, hits = cast("tuple[float, ...]", self.settings.recording.error_targets), self.state.hits
        waiting = [target for target in targets if target not in hits]
        if not waiting:
            return
        error = self.problem.error(self._W)
        hits.update({target: (self.state.step, self.clock.seconds) for target in waiting if error <= target})

    def _record(self, step: int, W: Tensor, loss: float, objective: float) -> None:
        trace = self.state.trace
        if trace and trace[-1]["step"] >= step:
            return
        numbers = {
            "seconds": self.clock.seconds,
            "loss": loss,
            "error": float(self.problem.error(W)),
            "objective": objective,
            "weight": self.state.weight,
        }
        row = {name: finite_or_none(value) for name, value in numbers.items()}
        trace.append({"step": step, **row, **describe(W, self.settings.recording.leading)})

    # ---- the ends ------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self.settings.schedule is not None:
            self.settings.schedule.reset()
        if isinstance(self.settings.penalty, Penalty):
            self.settings.penalty.reset()  # what it kept from one call to the next was of another run
        stored = self._checkpoint.resume()
        if stored is not None:
            self.state, self._resumed_at = stored, stored.step
            self._snapshots = Snapshots(self._params, stored.step)
            self.clock.set(stored.seconds)

    def _save(self) -> None:
        self.state.seconds = self.clock.seconds
        self._checkpoint.save(self.state)

    def _exploded(self, loss: float, objective: float) -> bool:
        """Whether the loss or the penalty is beyond repair; if so, an earlier state is put back."""
        state = self.state
        if state.first_loss is None and math.isfinite(loss):
            state.first_loss = loss
        limit = _LOSS_BLOW_UP * max(state.first_loss or 0.0, self._loss_unit)
        if not (math.isfinite(loss) and math.isfinite(objective)):
            what = "the training loss" if not math.isfinite(loss) else "the penalty"
            self._diverge(f"{what} became NaN or infinite")
        elif loss > limit:
            self._diverge(f"the training loss grew to {loss:.3g}, from {state.first_loss:.3g}")
        return state.status is not None

    def _spiked(self) -> bool:
        """Whether an entry has outgrown the data."""
        largest = float(self._W.abs().max())
        if math.isfinite(largest) and largest <= self._entry_limit:
            return False
        self.state.status = None
        factor = self.settings.stopping.blow_up
        limit = f"{self._entry_limit:.3g} = {factor:g} × the largest observed one (blow_up)"
        what = f"grew to {largest:.3g}, above {limit}" if math.isfinite(largest) else "became NaN or infinite"
        self._diverge(f"the largest entry of the end-to-end tensor {what}", checked=True)
        return True

    def _diverge(self, what: str, *, checked: bool = False) -> None:
        """End the run and put back the newest finite state, or the newest that passed every check."""
        state = self.state
        remedy = "lower lr" if state.weight == 0.0 else "lower lr or the penalty's weight, or set a norm_cap"
        state.end("diverged", f"diverged at step {state.step}: {what}; {remedy}")
        with self.clock.paused(), torch.no_grad():
            step = self._snapshots.restore(checked=checked)
            if not self._is_finite():
                step = self._snapshots.restore(checked=True)
            W = self.product().detach()
            loss = float(self.problem.loss(W))
            penalty = 0.0 if state.weight == 0.0 else float(self.settings.penalty.penalty(W))
            self._record(step, W, loss, loss + penalty)

    def _is_finite(self) -> bool:
        with torch.no_grad():
            return is_finite(self.product()) and all(map(is_finite, self._params))

"""A callback for Lightning's Trainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from overt._utils.checks import check_flag
from overt.integrations.spectra import Recorder, missing, scalars_of
from overt.measures import SpectrumTracker

try:
    from lightning.pytorch import Callback
except ImportError as first:
    try:
        from pytorch_lightning import Callback  # type: ignore[assignment,unused-ignore]
    except ImportError:
        raise missing("lightning", "lightning", first) from None


class LightningSpectra(Recorder, Callback):  # type: ignore[misc,unused-ignore]
    """Records spectra after training steps, counted as ``trainer.global_step``; on the first process alone.

    Parameters
    ----------
    tracker
        Its model is set when training starts; its rows are saved with, and restored from, Lightning's
        checkpoints. The loss of a row is the one that ``training_step`` returned for the last batch.
    select
        The part of the LightningModule to record, such as ``lambda module: module.net``; by default all of
        it. The measure calls it with inputs alone.
    log
        Also log each functional to the trainer's logger, as ``spectrum/<name>/<functional>``.
    name
        Distinguishes several of these callbacks in one Trainer, for Lightning's checkpoints.

    Raises
    ------
    TypeError
        `tracker` is no `overt.SpectrumTracker`, or `select` cannot be called.
    ImportError
        Neither lightning nor pytorch_lightning is installed (when this module is imported).

    Examples
    --------
    ``Trainer(callbacks=[LightningSpectra(overt.SpectrumTracker(what="weights"))])``
    """

    def __init__(
        self,
        tracker: SpectrumTracker,
        *,
        select: Callable[[Any], nn.Module] | None = None,
        log: bool = False,
        name: str = "",
    ) -> None:
        super().__init__(tracker, select)
        self._log = check_flag(log, "log")
        self._name = name

    @property
    def state_key(self) -> str:
        """The callback's place in Lightning's checkpoints."""
        return self._generate_state_key(name=self._name) if self._name else type(self).__qualname__

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Attach the model and record its state before the first step."""
        self._attach(pl_module)
        self._record(trainer)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record if the step is due."""
        del pl_module, batch, batch_idx
        self._record(trainer, outputs)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Record the end, whatever the cost."""
        del pl_module
        self._record(trainer, force=True)
        self.tracker.close()

    def state_dict(self) -> dict[str, Any]:
        """For Lightning's checkpoints."""
        return self.tracker.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From Lightning's checkpoints."""
        self.tracker.load_state_dict(state_dict)

    def _record(self, trainer: Any, outputs: Any = None, *, force: bool = False) -> None:
        step = int(trainer.global_step)
        if not trainer.is_global_zero or not (force or self.tracker.due(step)):
            return
        loss = _loss_of(outputs)
        if loss is not None:
            # Lightning divides the loss of accumulated batches by their number (1 in manual optimization).
            loss = loss * trainer.accumulate_grad_batches
        row = self.tracker.step(step, loss=loss, force=force)
        if row is not None and self._log and trainer.logger is not None:
            trainer.logger.log_metrics(scalars_of(row), step=step)


def _loss_of(outputs: Any) -> Tensor | None:
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    return loss if isinstance(loss, Tensor) and loss.numel() == 1 else None

"""A callback for the Trainer of Hugging Face's transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from overt.integrations.spectra import Recorder, missing
from overt.measures import SpectrumTracker

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise missing("transformers", "huggingface", error) from None

# Not the name of the callback: under it, transformers looks for an ExportableState and may make a new one
# from plain data, so that the user's tracker would be lost.
_KEY = "overt.SpectrumTracker"


class _Entry(dict[str, Any]):
    """A callback's entry in the trainer's state; an entry from a checkpoint is a plain dict."""


class HuggingFaceSpectra(Recorder, TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Records spectra after optimizer steps, counted as ``state.global_step``; on the first process alone.

    Parameters
    ----------
    tracker
        Its model is set when training starts. Its rows are kept in the trainer's state
        (``trainer_state.json`` in each checkpoint), and a run resumed from a checkpoint continues them (with
        transformers from 4.42 on); several callbacks resume in their order. The loss of a row is the last one
        that the trainer has logged, a mean over ``logging_steps``; there is none before the first.
    select
        The part of the model to record; by default all of it. A language model takes token ids, which have no
        derivative: record its weights, or select a part that takes embeddings.

    Raises
    ------
    TypeError
        `tracker` is no `overt.SpectrumTracker`, or `select` cannot be called.
    ImportError
        transformers is not installed (when this module is imported).

    Examples
    --------
    ``Trainer(…, callbacks=[HuggingFaceSpectra(overt.SpectrumTracker(what="weights"))])``
    """

    def __init__(self, tracker: SpectrumTracker, *, select: Callable[[Any], nn.Module] | None = None) -> None:
        super().__init__(tracker, select)
        self._entry = _Entry()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Attach the model and record its state before the first step."""
        del args, control
        self._attach(kwargs["model"])
        self._take_up(state)
        self._record(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record if the step is due."""
        del args, kwargs
        self._record(state)
        self._keep(control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Update the entry for a checkpoint."""
        del args, state, kwargs
        self._keep(control)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the end, whatever the cost."""
        del args, control, kwargs
        self._record(state, force=True)
        self.tracker.close()

    def _record(self, state: Any, *, force: bool = False) -> None:
        if not state.is_world_process_zero:
            return
        # The last logged loss: the trainer does not pass on the loss of this step.
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        loss = losses[-1] if losses else None
        if self.tracker.step(int(state.global_step), loss=loss, force=force) is not None:
            self._entry.update(self.tracker.state_dict())

    def _take_up(self, state: Any) -> None:
        """Continue from a checkpoint's entry, and add an entry for the next checkpoints."""
        kept = getattr(state, "stateful_callbacks", None)
        if not state.is_world_process_zero or not isinstance(kept, dict):
            return
        entries: list[dict[str, Any]] = kept.setdefault(_KEY, [])
        i = next((i for i, entry in enumerate(entries) if not isinstance(entry, _Entry)), None)
        if i is not None:
            self.tracker.load_state_dict(entries.pop(i))
        self._entry = _Entry(self.tracker.state_dict())
        entries.append(self._entry)

    def _keep(self, control: Any) -> None:
        """Update the clock before a checkpoint alone, since reading it waits for the device."""
        if getattr(control, "should_save", False):
            self._entry.update(self.tracker.state_dict())

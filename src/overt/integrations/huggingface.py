"""A callback for the Trainer of Hugging Face's transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from overt.integrations._missing import missing
from overt.measures.tracker import SpectrumTracker

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise missing("transformers", "huggingface", error) from None

__all__ = ["HuggingFaceSpectra"]


class HuggingFaceSpectra(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Records spectra after optimizer steps, counted as ``state.global_step``; on the first process alone.

    Parameters
    ----------
    tracker
        What is recorded and when. Its model is set when training starts.
    select
        The part of the model to record; by default all of it. A language model takes token ids, which have no
        derivative: record its weights, or select a part that takes embeddings.

    Raises
    ------
    TypeError
        `tracker` is no `overt.SpectrumTracker`.
    ImportError
        transformers is not installed (when this module is imported).

    Examples
    --------
    ``Trainer(…, callbacks=[HuggingFaceSpectra(overt.SpectrumTracker(what="weights"))])``
    """

    def __init__(self, tracker: SpectrumTracker, *, select: Callable[[Any], nn.Module] | None = None) -> None:
        if not isinstance(tracker, SpectrumTracker):
            raise TypeError(f"tracker must be an overt.SpectrumTracker, got {type(tracker).__name__}")
        self.tracker = tracker
        self._select = select

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Attach the model and record its state before the first step."""
        del args, control
        model = kwargs["model"]
        self.tracker.attach(model if self._select is None else self._select(model))
        self._record(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record if the step is due."""
        del args, control, kwargs
        self._record(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the end, whatever it costs."""
        del args, control, kwargs
        self._record(state, force=True)
        self.tracker.close()

    def _record(self, state: Any, *, force: bool = False) -> None:
        if not state.is_world_process_zero:
            return
        # The loss of the last log entry; the trainer does not hand out that of this step.
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        self.tracker.step(int(state.global_step), loss=losses[-1] if losses else None, force=force)

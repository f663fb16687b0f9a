"""Spectra during training: recorded at log-spaced steps, at a bounded cost."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from overt._utils.checks import check_callable, check_flag, check_integer, message, optional
from overt._utils.console import LiveLine
from overt._utils.files import write_whole
from overt._utils.reading import brief, open_bounded, parse_json
from overt.measures.tracking.pace import DEFAULT_CLOCK, Pace, check_step
from overt.measures.tracking.recorded import fixed_inputs, numbers_of, plain, views_of
from overt.networks.guard import untouched
from overt.networks.modules import check_module

_FORMAT = "overt.SpectrumTracker/1"
_MOST, _LONGEST = 2**30, 2**24  # bytes of a file that is read, and of a line of it


class SpectrumTracker:
    """Records spectra of a model during training.

    Call `step` after each update; it returns at once if nothing is due. Recording leaves no trace in the
    training: modes, gradients, buffers and the states of all random generators are restored bit for bit, so
    a tracked run ends with the same parameters as an untracked one.

    Parameters
    ----------
    model
        The model; may be given later by `attach`, which the callbacks for trainers do.
    inputs
        The fixed batch (or DataLoader) for the measure and the activations. A tensor, or a dict of them, is
        copied.
    what
        ``"measure"`` (`overt.measure` on the inputs), ``"weights"`` (`weight_spectra`), ``"products"``
        (`product_spectra`), ``"activations"`` (`activation_spectra`); a pair of such a name and further
        arguments of its function, as ``("activations", {"features": "channels"})``; a function of the model
        that returns a `Spectrum`, a 1-D tensor of values, a number, or a mapping of these; several of them;
        or a mapping from labels to them. By default the measure if there are inputs, else the weights.
    options
        Further arguments of ``"measure"``, unless it is in a pair, such as ``{"basis": "fourier"}``.
    per_decade
        Step 0 and about so many steps for each factor of ten are due.
    at
        These steps, ints ≥ 0, are due instead.
    budget
        Largest share of recording in the training time; None for no bound. A due step is recorded if the
        seconds of recording so far, plus those of the last recording, are within this share of the seconds of
        training; otherwise it is listed in `skipped`. The first recording is always made, and the second once
        training has taken as long as the first; the time of the first beyond the second is set-up
        (`setup_seconds`) and does not count.
    leading
        Number of leading values in a row; functionals are of all values.
    on_record
        Called with each new row, such as ``overt.integrations.TensorBoard("runs/1")``.
    display
        Show a live line on stderr.
    clock
        Seconds, of any origin.

    Attributes
    ----------
    rows : list of dict
        One for each recorded step, JSON-able: ``step``, ``seconds`` (of training), ``cost`` (seconds of this
        recording), the values given to `step`, such as ``loss``, and ``spectra``: by name ``values``
        (leading), ``count``, ``effective_rank``, ``normalized_nuclear_norm``, ``stable_rank``,
        ``nuclear_norm``, ``frobenius_norm``, ``spectral_norm``, ``stderr`` where known; or a number; or
        ``error`` if there is no spectrum (as after a divergence). Numbers that are not finite become None.
    skipped : list of dict
        ``step``, ``seconds`` and ``reason`` for each due step that was not recorded.

    Raises
    ------
    TypeError, ValueError
        Unknown `what`, inputs that are missing or can be gone through only once, arguments of the wrong kind
        or out of range.

    Examples
    --------
    >>> import torch
    >>> from overt.measures import SpectrumTracker
    >>> model = torch.nn.Linear(4, 3)
    >>> tracker = SpectrumTracker(model, what="weights", budget=None)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> for step in range(12):
    ...     loss = model(torch.ones(2, 4)).square().mean()
    ...     optimizer.zero_grad(); loss.backward(); optimizer.step()
    ...     _ = tracker.step(step, loss=loss)
    >>> [row["step"] for row in tracker.rows], sorted(tracker.rows[0]["spectra"])
    ([0, 1, 2, 3, 4, 5, 6, 8, 10], ['weights.weight'])
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        inputs: Any = None,
        *,
        what: Any = None,
        options: Mapping[str, Any] | None = None,
        per_decade: int = 10,
        at: Iterable[int] | None = None,
        budget: float | None = 0.1,
        leading: int = 20,
        on_record: Callable[[dict[str, Any]], object] | None = None,
        display: bool = False,
        clock: Callable[[], float] = DEFAULT_CLOCK,
    ) -> None:
        if what is None:
            what = "weights" if inputs is None else "measure"
        if not isinstance(options, Mapping | None):
            raise TypeError(message("options", "a mapping of names to values", options))
        self._views = views_of(what, fixed_inputs(inputs), options or {})
        self._model = None if model is None else check_module(model)
        self._leading = check_integer(leading, "leading", least=1)
        self._pace = Pace(per_decade, at, budget, check_callable(clock, "clock"))
        self._on_record = optional(check_callable, on_record, "on_record")
        self._line = LiveLine() if check_flag(display, "display") else None
        self.rows: list[dict[str, Any]] = []
        self.skipped: list[dict[str, Any]] = []

    def attach(self, model: nn.Module) -> SpectrumTracker:
        """Record this model from now on; returns the tracker."""
        self._model = check_module(model)
        return self

    @property
    def share(self) -> float:
        """Seconds of recording, without set-up, for each second of training so far."""
        return self._pace.share

    @property
    def setup_seconds(self) -> float:
        """Seconds of the first recording beyond those of the second: loading and compiling."""
        return self._pace.setup

    def due(self, step: int) -> bool:
        """Whether `step` would record the model at this step, or skip it for its cost."""
        return self._pace.due(step)

    def step(
        self, step: int, loss: Any = None, *, force: bool = False, **values: Any
    ) -> dict[str, Any] | None:
        """Record the model if this step is due and within the budget.

        Parameters
        ----------
        step
            Number of updates made, not falling from call to call.
        loss, values
            Numbers or tensors of one element for the row, read only if the step is recorded.
        force
            Record in any case, as at the end of training.

        Returns
        -------
        dict or None
            The new row, if there is one.

        Raises
        ------
        TypeError, ValueError
            `step` is no int ≥ 0, there is no model, or the first recording fails.
        RuntimeError
            A recorded function changed a parameter.
        """
        number = check_step(step)
        if not force and not self._pace.due(number):
            return None
        if self.rows and self.rows[-1]["step"] == number:
            return None
        reason = None if force else self._pace.refusal()
        self._pace.passed(number)
        if reason is not None:
            self.skipped.append({"step": number, "seconds": self._pace.seconds, "reason": reason})
            return None
        began = self._pace.now()
        row: dict[str, Any] = {"step": number, "seconds": self._pace.seconds, "cost": 0.0}
        row |= numbers_of({"loss": loss, **values})
        row["spectra"] = self._spectra()
        self.rows.append(row)
        row["cost"] = cost = self._pace.charge(began)
        self._pace.settle(cost + self._tell(row))
        return row

    def __call__(self, state: Any) -> None:
        """Record as a callback, ``overt.train(…, callback=tracker)``; `attach` its model first."""
        self.step(state.step, loss=state.loss)

    def to_records(self) -> list[dict[str, Any]]:
        """One flat record for each step and spectrum, as for ``pandas.DataFrame``.

        ``name`` says which spectrum; a recorded number is under ``value``.
        """
        records = []
        for row in self.rows:
            shared = {key: value for key, value in row.items() if key != "spectra"}
            for name, entry in row["spectra"].items():
                own = entry if isinstance(entry, dict) else {"value": entry}
                records.append({**shared, "name": name, **own})
        return records

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all rows and skipped steps as JSON lines, whole or not at all.

        Raises
        ------
        OSError
            The file cannot be written; an earlier file stays as it was.
        """
        lines = [{"format": _FORMAT, **self._pace.state_dict()}]
        lines += [{"kind": "row", **row} for row in self.rows]
        lines += [{"kind": "skipped", **entry} for entry in self.skipped]
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        write_whole(Path(path), text.encode())

    def state_dict(self) -> dict[str, Any]:
        """Rows, skipped steps and the account of time, as plain data for a resumed run."""
        return {"rows": list(self.rows), "skipped": list(self.skipped), "pace": self._pace.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`."""
        rows, skipped = list(state["rows"]), list(state["skipped"])
        self._pace.load_state_dict(dict(state["pace"]))
        self.rows, self.skipped = rows, skipped

    def load(self, path: str | os.PathLike[str]) -> SpectrumTracker:
        """Continue from a file that `save` wrote; returns the tracker.

        Raises
        ------
        ValueError
            The file is something else.
        OSError
            It cannot be read.
        """
        try:
            lines = _lines(Path(path))
            head: dict[str, Any] = next(lines, {})
            if head.pop("format") != _FORMAT:
                raise ValueError("its first line names another format")
            kinds: dict[str, list[dict[str, Any]]] = {"row": [], "skipped": []}
            for line in lines:
                kinds[line.pop("kind")].append(line)
            if not all(isinstance(row["spectra"], dict) for row in kinds["row"]):
                raise ValueError("a row has no spectra")
            if not all(math.isfinite(number) for number in head.values()):
                raise ValueError("its account of time is not finite")
            self.load_state_dict({"rows": kinds["row"], "skipped": kinds["skipped"], "pace": head})
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"{path} is no file of a SpectrumTracker ({brief(error)})") from None
        return self

    def close(self) -> None:
        """End the live line."""
        if self._line is not None:
            self._line.close()

    def __enter__(self) -> SpectrumTracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _spectra(self) -> dict[str, Any]:
        if self._model is None:
            raise ValueError("model: nothing to record; give a model first, or call attach(model)")
        found: dict[str, Any] = {}
        with untouched(self._model):
            for label, view in self._views.items():
                try:
                    found.update(plain(label, view(self._model), self._leading))
                except ValueError as error:
                    if not self.rows:  # a wrong argument; later the model is the cause
                        raise
                    found[label] = {"error": str(error)}
        return found

    def _tell(self, row: dict[str, Any]) -> float:
        """Pass the row on; returns the seconds that this took."""
        began = self._pace.now()
        if self._on_record is not None:
            self._on_record(row)
        if self._line is not None:
            self._line.show(line_of(row, self.share))
        return self._pace.charge(began)


def line_of(row: dict[str, Any], share: float) -> str:
    """The text of the live line: step, loss, effective rank of three spectra, share of recording."""
    parts = [f"step {row['step']}"]
    if isinstance(row.get("loss"), float):
        parts.append(f"loss {row['loss']:.3e}")
    ranks = [
        f"{name} {entry['effective_rank']:.2f}"
        for name, entry in row["spectra"].items()
        if isinstance(entry, dict) and isinstance(entry.get("effective_rank"), float)
    ]
    if ranks:
        more = f" (+{len(ranks) - 3})" if len(ranks) > 3 else ""
        parts.append(f"effective rank {', '.join(ranks[:3])}{more}")
    parts.append(f"{row['seconds']:.1f} s, recording {100 * share:.1f} %")
    return "  ".join(parts)


def _lines(path: Path) -> Iterator[Any]:
    """The JSON of each line of a file."""
    with open_bounded(path, _MOST) as file:
        while line := file.readline(_LONGEST + 1):
            if len(line) > _LONGEST:
                raise ValueError(f"a line is longer than {_LONGEST:,} bytes")
            yield parse_json(line)

"""The record of a run."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from overt import functional as F
from overt._utils.checks import check_integer

Row = dict[str, Any]


class Trace(list[Row]):
    """Rows of plain data, one for each recorded step, in order.

    Every row has ``step``, ``seconds``, ``loss``, ``error``, ``objective`` (loss and penalty), ``weight`` (of
    the penalty) and ``max_abs``. For a matrix: ``singular_values`` (the leading ones), ``effective_rank``,
    ``normalized_nuclear_norm``, ``stable_rank``, ``nuclear_norm``. For a vector: ``l1``, ``l2``,
    ``l1_over_l2``, ``nonzeros`` (entries above 1e-3 of the largest). What is not a finite number is None.

    Examples
    --------
    >>> from overt.training import Trace
    >>> trace = Trace([{"step": 0, "loss": 1.0}, {"step": 1, "loss": 0.5}])
    >>> trace.column("loss")
    [1.0, 0.5]
    """

    def column(self, name: str) -> list[Any]:
        """The values of one field, in order; None in rows without it."""
        return [row.get(name) for row in self]

    @classmethod
    def from_rows(cls, rows: object) -> Trace:
        """The trace in rows that JSON gave back; ValueError if they are not flat records with a step."""
        if not isinstance(rows, list):
            raise ValueError(f"not a trace: expected a list of rows, got {type(rows).__name__}")
        for i, row in enumerate(rows):
            if not isinstance(row, dict) or not isinstance(row.get("step"), int):
                raise ValueError(f"not a trace: row {i} is not a record with an integer step")
            if not all(_is_plain(value) for value in row.values()):
                raise ValueError(
                    f"not a trace: row {i} holds something else than numbers, words and lists of numbers"
                )
        return cls(rows)


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(v is None or isinstance(v, (int, float)) for v in value)
    return value is None or isinstance(value, (int, float, str))


def log_spaced(max_steps: int, per_decade: int = 10) -> list[int]:
    """Steps 0, 1, … `max_steps`, equally spaced in the logarithm: about `per_decade` for each factor of ten.

    Examples
    --------
    >>> from overt.training import log_spaced
    >>> log_spaced(100, per_decade=3)
    [0, 1, 2, 5, 10, 22, 46, 100]
    """
    max_steps = check_integer(max_steps, "max_steps", least=0)
    per_decade = check_integer(per_decade, "per_decade", least=1)
    steps = {0, max_steps}
    count = math.ceil(math.log10(max_steps) * per_decade) if max_steps > 1 else 0
    steps.update(round(10 ** (i / per_decade)) for i in range(count + 1))
    return sorted(step for step in steps if step <= max_steps)


def describe(W: Tensor, leading: int) -> Row:
    """The functionals of an end-to-end matrix or vector, as a part of a row."""
    with torch.no_grad():
        row = _describe_matrix(W, leading) if W.ndim == 2 else _describe_vector(W.reshape(-1))
        row["max_abs"] = float(W.abs().max())
    return {key: finite_or_none(value) for key, value in row.items()}


def _describe_matrix(W: Tensor, leading: int) -> Row:
    s = F.singular_values(W.double())
    row: Row = {"singular_values": s[:leading].tolist()}
    for name in ("effective_rank", "normalized_nuclear_norm", "stable_rank", "nuclear_norm"):
        row[name] = float(getattr(F, name)(singular_values=s))
    return row


def _describe_vector(w: Tensor) -> Row:
    w = w.double()
    l1, l2 = float(w.abs().sum()), float(torch.linalg.vector_norm(w))
    return {
        "l1": l1,
        "l2": l2,
        "l1_over_l2": l1 / l2 if l2 > 0 else 0.0,
        "nonzeros": nonzeros(w),
    }


def nonzeros(W: Tensor) -> int:
    """Entries above 1e-3 of the largest one in magnitude."""
    magnitudes = W.abs()
    return int((magnitudes > 1e-3 * magnitudes.max()).sum())


def finite_or_none(value: Any) -> Any:
    """`value`, or None for NaN and infinities, which JSON cannot hold; elementwise in a list."""
    if isinstance(value, list):
        return [finite_or_none(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

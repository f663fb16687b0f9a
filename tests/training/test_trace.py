"""The trace: when rows are taken, what they hold, and its way through JSON."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from overt import functional as F
from overt.training import Trace, log_spaced
from overt.training.trace import describe

NUMBERS = st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"step": st.integers(0, 10**9), "loss": NUMBERS, "singular_values": st.lists(NUMBERS, max_size=4)}
    ),
    max_size=5,
)


@given(ROWS)
def test_json_restores_every_bit(rows):
    assert Trace.from_rows(json.loads(json.dumps(rows))) == Trace(rows)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[1]",
        "[{}]",
        '[{"step": "1"}]',
        '[{"step": 1, "x": {"deep": 1}}]',
        '[{"step": 1, "x": [[1]]}]',
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="not a trace"):
        Trace.from_rows(json.loads(text))


@given(st.integers(0, 10**7), st.integers(1, 40))
def test_log_spaced_steps(max_steps, per_decade):
    steps = log_spaced(max_steps, per_decade)
    assert steps == sorted(set(steps))
    assert steps[0] == 0
    assert steps[-1] == max_steps
    assert len(steps) <= 3 + math.ceil(per_decade * math.log10(max(max_steps, 1) + 1))
    wide = [b / a for a, b in pairwise(steps[1:])]
    assert all(ratio <= max(2.0, 10 ** (1 / per_decade) * 1.5) for ratio in wide)


@pytest.mark.parametrize("arguments", [(-1,), (1.5,), (10, 0), (True,)])
def test_log_spaced_refuses_nonsense(arguments):
    with pytest.raises((TypeError, ValueError), match="must be an integer"):
        log_spaced(*arguments)


def test_rows_of_a_matrix_and_of_a_vector():
    W = torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]], dtype=torch.float64)
    row = describe(W, leading=1)
    assert row["singular_values"] == [4.0]
    assert row["nuclear_norm"] == pytest.approx(7.0)
    assert row["normalized_nuclear_norm"] == pytest.approx(1.4)
    assert row["stable_rank"] == pytest.approx(25 / 16)
    assert row["effective_rank"] == pytest.approx(float(F.effective_rank(W)))
    assert row["max_abs"] == 4.0
    row = describe(torch.tensor([3.0, -4.0, 1e-3, 0.0]), leading=1)
    assert (row["l1"], row["l2"], row["nonzeros"], row["max_abs"]) == pytest.approx((7.001, 5.0, 2, 4.0))
    assert "singular_values" not in row


@pytest.mark.parametrize("W", [torch.zeros(3, 2), torch.zeros(3)])
def test_rows_of_zero_are_finite(W):
    row = describe(W, leading=5)
    assert all(v is not None for v in row.values())
    assert row["max_abs"] == 0.0


def test_columns():
    trace = Trace([{"step": 0, "seconds": 1.0, "loss": 2.0}, {"step": 3, "seconds": 2.0}])
    assert trace.column("loss") == [2.0, None]
    assert trace[1]["seconds"] == 2.0

"""The ground floor: what each check accepts, what it refuses, and the one style of message."""

from __future__ import annotations

import math
import threading
from typing import Literal

import numpy as np
import pytest
import torch

from overt._utils import checks, tensors
from overt._utils.files import TEMPORARY, whole_file

Word = Literal["one", "two"]
BIG = 10**400

ACCEPTED = [
    (checks.check_integer, (np.int64(3), "n"), {"least": 3, "most": 3}, 3),
    (checks.check_number, (np.float32(0.5), "x"), {}, 0.5),
    (checks.check_number, (1, "x"), {"above": 0, "most": 1}, 1.0),
    (checks.check_number, (math.inf, "x"), {"least": 0, "finite": False}, math.inf),
    (checks.check_numbers, (0.5, "x"), {}, (0.5,)),
    (checks.check_numbers, (np.array([1, 2]), "x"), {}, (1.0, 2.0)),
    (checks.check_numbers, (iter((1, 2)), "x"), {}, (1.0, 2.0)),
    (checks.check_seed, (2**63 - 1,), {}, 2**63 - 1),
    (checks.check_choice, ("two", "word", Word), {}, "two"),
    (checks.check_choice, ("a", "word", {"a": 1}), {}, "a"),
    (checks.check_flag, (np.bool_(True), "flag"), {}, True),
    (checks.check_sizes, (torch.Size((2, 3)), "shape"), {"length": 2}, (2, 3)),
    (checks.check_sizes, (np.array([4]), "shape"), {"shortest": 1}, (4,)),
    (checks.check_sizes, ((), "shape"), {}, ()),
    (checks.optional, (checks.check_integer, None, "n"), {"least": 1}, None),
    (checks.optional, (checks.check_integer, 2, "n"), {"least": 1}, 2),
]


@pytest.mark.parametrize(("check", "arguments", "limits", "expected"), ACCEPTED)
def test_what_is_accepted_becomes_plain(check, arguments, limits, expected):
    found = check(*arguments, **limits)
    assert found == expected
    assert type(found) is type(expected)


REFUSED = [
    (checks.check_integer, (True, "n"), {}, TypeError, "n must be an integer, got True"),
    (checks.check_integer, (1.0, "n"), {"least": 1}, TypeError, "n must be an integer ≥ 1, got 1.0"),
    (
        checks.check_integer,
        (9, "n"),
        {"least": 1, "most": 8},
        ValueError,
        "n must be an integer from 1 to 8, got 9",
    ),
    (checks.check_number, (True, "x"), {}, TypeError, "x must be a finite number, got True"),
    (
        checks.check_number,
        ("1", "x"),
        {"least": 0, "below": 1},
        TypeError,
        "x must be a number in [0, 1), got '1'",
    ),
    (
        checks.check_number,
        (1, "x"),
        {"least": 0, "below": 1},
        ValueError,
        "x must be a number in [0, 1), got 1",
    ),
    (checks.check_number, (0, "x"), {"above": 0}, ValueError, "x must be a finite number > 0, got 0"),
    (checks.check_number, (math.nan, "x"), {"finite": False}, ValueError, "x must be a number, got nan"),
    (checks.check_number, (math.inf, "x"), {}, ValueError, "x must be a finite number, got inf"),
    (checks.check_number, (BIG, "x"), {}, ValueError, "x must be a finite number, got an int"),
    (checks.check_numbers, ("ab", "x"), {}, TypeError, "x must be a finite number, got 'ab'"),
    (
        checks.check_numbers,
        (torch.tensor(1.0), "x"),
        {},
        TypeError,
        "x must be a finite number, got tensor(1.)",
    ),
    (checks.check_numbers, ([1, -1], "x"), {"least": 0}, ValueError, "x must be a finite number ≥ 0, got -1"),
    (checks.check_seed, (None,), {}, TypeError, "seed must be an integer from 0 to"),
    (checks.check_seed, (2**63, "s"), {}, ValueError, "s must be an integer from 0 to"),
    (
        checks.check_choice,
        ("three", "word", Word),
        {},
        ValueError,
        "word must be 'one' or 'two', got 'three'",
    ),
    (checks.check_choice, (3, "word", Word), {}, TypeError, "word must be 'one' or 'two', got 3"),
    (checks.check_choice, (["one"], "word", Word), {}, TypeError, "word must be"),
    (checks.check_callable, (3, "f"), {}, TypeError, "f must be callable, got 3"),
    (checks.check_flag, (1, "flag"), {}, TypeError, "flag must be True or False, got 1"),
    (checks.check_sizes, ("ab", "shape"), {}, TypeError, "shape must be a tuple of integers ≥ 1, got 'ab'"),
    (checks.check_sizes, (torch.tensor(3), "shape"), {}, TypeError, "shape must be a tuple of integers ≥ 1"),
    (checks.check_sizes, (np.array(3), "shape"), {}, TypeError, "shape must be a tuple of integers ≥ 1"),
    (
        checks.check_sizes,
        ((1, 2), "shape"),
        {"length": 3},
        ValueError,
        "shape must be a tuple of 3 integers ≥ 1",
    ),
    (
        checks.check_sizes,
        ((1,), "shape"),
        {"shortest": 2},
        ValueError,
        "shape must be a tuple of 2 or more integers",
    ),
    (
        checks.check_sizes,
        ((0, 1), "shape"),
        {},
        ValueError,
        "shape must be a tuple of integers ≥ 1, got (0, 1)",
    ),
    (checks.optional, (checks.check_integer, "1", "n"), {}, TypeError, "got '1'; None is fine too"),
    (tensors.check_float_tensor, ([1.0], "v"), {}, TypeError, "v must be a torch.Tensor, got [1.0]"),
    (tensors.check_dtype, ("float",), {}, TypeError, "dtype must be a torch.dtype, got 'float'"),
    (
        tensors.check_dtype,
        (torch.int64,),
        {},
        ValueError,
        "dtype must be a real floating type, got torch.int64",
    ),
]


@pytest.mark.parametrize(("check", "arguments", "limits", "kind", "words"), REFUSED)
def test_what_is_refused_is_named(check, arguments, limits, kind, words):
    with pytest.raises((TypeError, ValueError)) as fault:
        check(*arguments, **limits)
    assert fault.type is kind
    assert words in str(fault.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int64, torch.bool, torch.complex64])
def test_finite_entries_of_any_dtype(dtype):
    assert tensors.is_finite(torch.ones(3, dtype=dtype))
    if dtype.is_floating_point or dtype.is_complex:
        assert not tensors.is_finite(torch.tensor([1.0, math.nan], dtype=dtype))
        assert tensors.is_finite(torch.full((9,), torch.finfo(dtype).max, dtype=dtype))


def test_two_threads_that_write_one_file_do_not_mix(tmp_path):
    path, both = tmp_path / "file", threading.Barrier(2)

    def write(content):
        with whole_file(path) as file:
            file.write(content[:500])
            both.wait()
            file.write(content[500:])

    threads = [threading.Thread(target=write, args=(letter * 1000,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in {b"a" * 1000, b"b" * 1000}
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(TEMPORARY)]

"""Records and arrays come back as they were, and nothing else is read."""

from __future__ import annotations

import contextlib
import io
import json
import math
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes

from overt.studies.runs.npz import Arrays, pack, unpack
from overt.studies.runs.records import dump_lines, load_lines, load_object

text = st.text(max_size=8).filter(lambda t: t not in ("NaN", "Infinity", "-Infinity"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@given(st.lists(st.dictionaries(text, values, max_size=3), max_size=3))
def test_records_come_back_and_are_strict_json_lines(rows):
    data = dump_lines(rows)
    assert load_lines(data) == rows
    lines = data.decode("ascii").splitlines()
    assert len(lines) == len(rows)
    for line in lines:
        json.loads(line, parse_constant=pytest.fail)


def test_numpy_numbers_and_non_finite_ones_are_kept():
    row = {
        "a": np.float32(0.5),
        "b": np.int64(3),
        "c": np.bool_(True),
        "d": -math.inf,
        "e": [math.nan],
        "t": (1,),
    }
    (back,) = load_lines(dump_lines([row]))
    assert back["a"] == 0.5
    assert (back["b"], back["c"], back["d"], back["t"]) == (3, True, -math.inf, [1])
    assert math.isnan(back["e"][0])


@pytest.mark.parametrize("value", [torch.zeros(1), np.zeros(2), {1}, b"x", {1: 2}, {"k": object()}])
def test_what_json_lacks_is_refused_with_its_place(value):
    with pytest.raises(TypeError, match=r"records\[0\]\['x'\]"):
        dump_lines([{"x": value}])


def test_rows_are_dicts_and_the_texts_that_stand_for_numbers_are_refused():
    with pytest.raises(TypeError, match=r"records\[1\] must be a dict"):
        dump_lines([{}, [1]])
    with pytest.raises(ValueError, match="stands for a number"):
        dump_lines([{"x": "NaN"}])


@pytest.mark.parametrize("data", [b"{", b"[1]", b'{"a": NaN}', b"\xff", b"[" * 100_000])
def test_damaged_json_is_a_value_error(data):
    with pytest.raises(ValueError, match=r"."):
        load_object(data)


@pytest.mark.slow
@given(arrays(scalar_dtypes(), array_shapes(min_dims=0, min_side=0, max_side=4)))
def test_arrays_come_back_and_equal_ones_give_equal_bytes(array):
    data = pack({"x": array})
    back = unpack(data)["x"]
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    assert pack({"x": np.asfortranarray(array).reshape(array.shape)}) == data
    np.testing.assert_array_equal(np.load(io.BytesIO(data), allow_pickle=False)["x"], array)


def test_arrays_are_read_when_first_asked_for():
    reads = []
    lazy = Arrays(lambda: reads.append(1) or pack({"a": np.arange(3), "b": np.ones(())}))
    assert not reads
    assert sorted(lazy) == ["a", "b"]
    assert lazy["a"][2] == 2
    assert len(lazy) == 2
    assert len(reads) == 1
    assert not unpack(pack({}))


ODD = [("../a", np.ones(1)), ("", np.ones(1)), ("a/b", np.ones(1)), ("o", np.array([object()]))]


@pytest.mark.parametrize(("name", "array"), ODD)
def test_names_with_paths_and_objects_are_not_packed(name, array):
    with pytest.raises((ValueError, TypeError), match="array"):
        pack({name: array})


class Bomb:
    """Fails the test when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def archive(content: bytes, *, name: str = "x.npy", compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as z:
        z.writestr(name, content)
    return buffer.getvalue()


def npy(
    shape: str = "(2,)", descr: str = "'<f8'", body: bytes = b"\0" * 16, version: bytes = b"\1\0"
) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + body


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([1, None]), allow_pickle=True)
    return buffer.getvalue()


HOSTILE = {
    "a pickle": pickle.dumps(Bomb()),
    "objects": archive(npy("(1,)", "'|O'", pickle.dumps(Bomb()))),
    "numpy's objects": pickled(),
    "compressed": archive(npy(body=b"\0" * 10_000), compression=zipfile.ZIP_DEFLATED),
    "a huge claim": archive(npy("(1000000000000,)")),
    "negative": archive(npy("(-2,)")),
    "code for a header": archive(npy("__import__('os').getpid()")),
    "a path": archive(npy(), name="../x.npy"),
    "another file": archive(b"hello", name="x.txt"),
    "no array": archive(b"hello"),
    "unknown version": archive(npy(version=b"\7\0")),
    "cut short": archive(npy())[:-30],
    "empty": b"",
}


def test_the_honest_archive_of_these_helpers_is_read():
    np.testing.assert_array_equal(unpack(archive(npy()))["x"], [0.0, 0.0])


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archives_are_value_errors(kind):
    with pytest.raises(ValueError, match=r"archive|member"):
        unpack(HOSTILE[kind])


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_changed_byte_never_raises_anything_but_value_error(position, change):
    data = bytearray(pack({"x": np.arange(6.0)}))
    data[position % len(data)] ^= change
    with contextlib.suppress(ValueError):
        unpack(bytes(data))

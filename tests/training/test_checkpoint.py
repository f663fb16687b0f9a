"""The checkpoint file: what goes in comes out, and nothing else gets in."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from overt._utils.errors import StoreError
from overt._utils.files import is_full
from overt.training.checkpoint import load_checkpoint, pack, save_checkpoint, unpack

TENSORS = {
    "model.weight": torch.arange(6, dtype=torch.float64).reshape(2, 3),
    "optimizer.0.step": torch.tensor(3.0),
    "empty": torch.zeros(0, 2),
    "half": torch.ones(3, dtype=torch.bfloat16),
}
DATA = {"step": 3, "trace": [{"step": 0, "loss": 0.1}], "status": None}


def valid(path: Path) -> bytes:
    save_checkpoint(path, TENSORS, DATA)
    return path.read_bytes()


def test_what_goes_in_comes_out(tmp_path):
    path = tmp_path / "run.safetensors"
    valid(path)
    tensors, data = load_checkpoint(path)
    assert data == DATA
    assert set(tensors) == set(TENSORS)
    for name, t in TENSORS.items():
        assert tensors[name].dtype == t.dtype
        assert torch.equal(tensors[name], t)
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


def test_tensors_that_share_memory_or_are_transposed(tmp_path):
    base = torch.arange(6.0).reshape(2, 3)
    save_checkpoint(tmp_path / "c", {"a": base, "b": base.T, "c": base[0]}, {})
    tensors, _ = load_checkpoint(tmp_path / "c")
    assert torch.equal(tensors["b"], base.T)
    assert torch.equal(tensors["c"], base[0])


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_truncated_file_is_refused(tmp_path, data):
    path = tmp_path / "c"
    content = valid(path)
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValueError, match="cannot resume from"):
        load_checkpoint(path)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_a_changed_byte_is_noticed(tmp_path, data):
    path = tmp_path / "c"
    content = bytearray(valid(path))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    try:
        tensors, loaded = load_checkpoint(path)
    except ValueError:
        return
    # A byte that means nothing, such as one blank for another in the header.
    assert loaded == DATA
    assert all(torch.equal(tensors[name], t) for name, t in TENSORS.items())


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("something was unpickled",))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 64,
        b"not a checkpoint at all, but a longer text than eight bytes",
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        pickle.dumps(Bomb()),
    ],
)
def test_another_kind_of_file_is_refused(tmp_path, content):
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(ValueError, match="cannot resume from"):
        load_checkpoint(tmp_path / "c")


def test_a_pickle_of_torch_is_not_unpickled(tmp_path):
    torch.save(Bomb(), tmp_path / "c")
    with pytest.raises(ValueError, match="cannot resume from"):
        load_checkpoint(tmp_path / "c")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "not a checkpoint of this library"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a record"),
        ("{", "not JSON"),
        ('{"version": NaN}', "not JSON"),
        (json.dumps({"version": 99, "body": "{}", "digest": ""}), "its version is 99"),
        (json.dumps({"version": 1, "body": 3, "digest": ""}), "checksum"),
        (json.dumps({"version": 1, "body": "{}", "digest": "00"}), "checksum"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path, header, message):
    save_file(
        {"a": torch.zeros(1)},
        tmp_path / "c",
        metadata=None if header is None else {"overt.checkpoint": header},
    )
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path / "c")


def test_a_missing_file_and_a_folder_are_errors_of_the_system(tmp_path):
    with pytest.raises(OSError, match="missing"):
        load_checkpoint(tmp_path / "missing")
    with pytest.raises((OSError, ValueError)):
        load_checkpoint(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "c"
    before = valid(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left on device; free some space") as fault:
        save_checkpoint(path, {}, {})
    assert is_full(fault.value)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_what_has_no_json_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path / "c", {}, {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers(0, 5) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(VALUES)
def test_pack_and_unpack_are_inverse(value):
    tensors: dict[str, torch.Tensor] = {}
    packed = json.loads(json.dumps(pack(value, "v", tensors)))
    assert unpack(packed, tensors) == value
    assert tensors == {}


def test_pack_moves_tensors_aside_and_refuses_what_it_does_not_know():
    tensors: dict[str, torch.Tensor] = {}
    t = torch.ones(2)
    packed = pack({0: {"history": [t, None], "pair": (1, t)}}, "optimizer", tensors)
    assert sorted(tensors) == ["optimizer.0.history.0", "optimizer.0.pair.1"]
    assert unpack(packed, tensors)[0]["history"][0] is t
    with pytest.raises(TypeError, match=r"v holds a set"):
        pack({1}, "v", {})


@pytest.mark.parametrize(
    "packed",
    [
        None,
        {},
        {"tensor": "missing"},
        {"dict": [[1]]},
        {"dict": [[[1], {"plain": 1}]]},
        {"plain": []},
        {"call": "os"},
    ],
)
def test_unpack_refuses_anything_else(packed):
    with pytest.raises(ValueError, match="not a packed state"):
        unpack(packed, {})


@pytest.mark.parametrize("length", range(8))
def test_tensors_are_read_to_aligned_addresses(tmp_path, length):
    """The last bits of products depend on them; in the file they lie at any multiple of their size."""
    path = tmp_path / "state.safetensors"
    tensors = {"a": torch.ones(3), "b": torch.ones(5, 3, dtype=torch.float64), "c": torch.ones(())}
    save_checkpoint(path, tensors, {"text": "x" * length})
    found, _ = load_checkpoint(path)
    assert {name: tensor.data_ptr() % 64 for name, tensor in found.items()} == dict.fromkeys(tensors, 0)

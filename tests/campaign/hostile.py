"""Inputs that are nearly right: valid files with a node, some bytes or a length changed."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

DEEP = "[" * 900 + "]" * 900
NODES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**30), 2**63, -1, 0, 1e308, -0.0, 1e-320, [], {}, "", [[]], {"": {}}]),
    st.floats(),
    st.text(st.characters(codec=None), max_size=8),
    st.sampled_from(["\ud800", "\x1b[2J", "../..", "/etc/passwd", "\n", "x" * 5000, "\u202e", "<script>"]),
    st.recursive(st.integers() | st.text(max_size=2), lambda one: st.lists(one, max_size=3), max_leaves=8),
)


@st.composite
def _changed(draw: st.DrawFn, value: Any) -> Any:
    """JSON with one node replaced, removed, added or put deep inside."""
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        action = draw(st.integers(0, 5))
        changed = dict(value)
        if action == 0:
            del changed[key]
        elif action == 1:
            changed[draw(st.text(max_size=5))] = draw(NODES)
        else:
            changed[key] = draw(_changed(value[key]))
        return changed
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], draw(_changed(value[index])), *value[index + 1 :]]
    return draw(NODES)


@st.composite
def _lines(draw: st.DrawFn, text: str) -> bytes:
    """Lines of JSON of which one is changed."""
    lines = text.splitlines()
    index = draw(st.integers(0, max(0, len(lines) - 1)))
    try:
        value = json.loads(lines[index])
    except (ValueError, IndexError):
        return text.encode()
    lines[index] = json.dumps(draw(_changed(value)))
    if draw(st.integers(0, 9)) == 0:
        lines[index] = lines[index].replace("1", DEEP, 1)
    return "\n".join(lines).encode()


@st.composite
def _document(draw: st.DrawFn, text: str) -> bytes:
    value = draw(_changed(json.loads(text)))
    return json.dumps(value).replace('"seed"', draw(st.sampled_from(['"seed"', DEEP, "1e999"])), 1).encode()


@st.composite
def _archive(draw: st.DrawFn, data: bytes) -> bytes:
    """An archive whose members are renamed, repeated, changed, or of another shape than they say."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            members = [(info.filename, opened.read(info)) for info in opened.infolist()]
    except Exception:
        return data
    index = draw(st.integers(0, len(members) - 1))
    name, content = members[index]
    action = draw(st.integers(0, 6))
    if action == 0:
        name = draw(
            st.sampled_from(["../a.npy", "/a.npy", "meta.npy", "values.npy", "a\\b.npy", "\x00.npy", ".npy"])
        )
    elif action == 1:
        members.append((name, content))
    elif action == 2:
        content = draw(_bytes(content))
    elif action == 3:
        array = np.array(draw(st.lists(st.floats(), max_size=4)))
        array = array.astype(draw(st.sampled_from(["f8", ">f4", "i1", "c8", "?", "M8[s]", "S3"])))
        stream = io.BytesIO()
        np.lib.format.write_array(stream, array.reshape(draw(st.sampled_from([(-1,), (1, -1)]))))
        content = stream.getvalue()
    elif action == 4:
        sizes = draw(st.lists(st.sampled_from([-1, 0, 2, 2**31, 2**62, 2**70]), max_size=4))
        shape = f"({', '.join(map(str, sizes))}{',' if len(sizes) == 1 else ''})".encode()
        content = content.replace(b"(2,), ", shape + b", ")
    elif b"{" in content[128:]:  # text in an array, four bytes a letter
        text = content[128:].replace(b"\0", b"").decode(errors="replace")
        try:
            array = np.array(json.dumps(draw(_changed(json.loads(text)))))
            stream = io.BytesIO()
            np.lib.format.write_array(stream, array)
            content = stream.getvalue()
        except ValueError:
            pass
    members[index] = (name, content)
    stream = io.BytesIO()
    method = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    with zipfile.ZipFile(stream, "w", method) as opened:
        for name, content in members:
            opened.writestr(name, content)
    return stream.getvalue()


@st.composite
def _bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Some bytes changed, cut out, repeated or put in."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(changed)))
        action = draw(st.integers(0, 4))
        if action == 0 and at < len(changed):
            changed[at] = draw(st.integers(0, 255))
        elif action == 1:
            del changed[at : at + draw(st.integers(1, 40))]
        elif action == 2:
            changed[at:at] = changed[at : at + draw(st.integers(1, 200))]
        elif action == 3:
            changed[at : at + 4] = draw(
                st.sampled_from([b"\xff" * 4, bytes(4), b"\0\0\0\x80", b"\xff\xff\xff\x7f"])
            )
        else:
            changed[at:at] = draw(st.binary(max_size=20))
    return bytes(changed)


@st.composite
def _near(draw: st.DrawFn, seed: bytes) -> bytes:
    head, body = (seed[:1], seed[1:]) if seed[:1] < b"\t" else (b"", seed)  # the part of a run folder
    kinds = [_bytes(body)]
    if body[:2] == b"PK":
        kinds += [_archive(body)] * 3
    elif body[:1] in (b"{", b"["):
        text = body.decode()
        try:
            json.loads(text)
            kinds += [_document(text)] * 3
        except ValueError:
            kinds += [_lines(text)] * 3
    return head + draw(st.one_of(kinds))


def inputs(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Files near those given, and a few that are not."""
    near = [_near(seed) for seed in seeds]
    return st.one_of([*near, *near, st.binary(max_size=50)])

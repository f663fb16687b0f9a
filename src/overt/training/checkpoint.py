"""Checkpoint files: tensors in safetensors, all else as JSON in its header; nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from overt._utils.checks import kind_of
from overt._utils.files import write_whole
from overt._utils.reading import brief, open_bounded, parse_json

_KEY = "overt.checkpoint"
_VERSION = 1


def save_checkpoint(path: Path, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
    """Write `tensors` and JSON-able `data` to `path`; StoreError, and the old file kept, if that fails."""
    owned = {name: t.detach().to("cpu").contiguous().clone() for name, t in tensors.items()}
    body = json.dumps(data, allow_nan=False)
    header = {"version": _VERSION, "digest": _digest(owned, body), "body": body}
    write_whole(path, serialize(owned, metadata={_KEY: json.dumps(header)}))


def load_checkpoint(path: Path, most: int = 2**30) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_checkpoint` wrote, on the CPU.

    Raises
    ------
    ValueError
        The file has more than `most` bytes, is truncated, damaged, of another version or not a checkpoint at
        all.
    OSError
        It cannot be read.
    """
    try:
        with open_bounded(path, most), safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copied, for in the file they lie at addresses on which the last bits of products depend.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, ValueError, RuntimeError, TypeError, OverflowError) as error:
        raise _refusal(path, f"it is damaged or not a safetensors file ({brief(error)})") from None
    header = _parse(path, metadata.get(_KEY))
    if header.get("version") != _VERSION:
        version = brief(repr(header.get("version")))
        raise _refusal(path, f"its version is {version}, this release reads {_VERSION}")
    body = header.get("body")
    if not isinstance(body, str) or not _fits(header.get("digest"), tensors, body):
        raise _refusal(path, "its contents do not fit its checksum")
    return tensors, _parse(path, body)


def pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """`value`, nested of dicts, lists, tuples, numbers, words and tensors, as JSON-able data.

    The tensors go to `tensors` under names that begin with `name`; `unpack` is the inverse. A TypeError
    refuses anything else in `value`.
    """
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[key, pack(item, f"{name}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [pack(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"plain": value}
    raise TypeError(f"{name} holds {kind_of(value)}, which has no place in a checkpoint")


def unpack(packed: Any, tensors: dict[str, Tensor]) -> Any:
    """The value that `pack` took apart; ValueError if `packed` is something else."""
    if not isinstance(packed, dict) or len(packed) != 1:
        raise ValueError("not a packed state")
    ((kind, content),) = packed.items()
    if kind == "plain" and (content is None or isinstance(content, (bool, int, float, str))):
        return content
    if kind == "tensor" and isinstance(content, str) and content in tensors:
        return tensors[content]
    if kind == "dict" and isinstance(content, list) and all(_is_pair(pair) for pair in content):
        return {key: unpack(item, tensors) for key, item in content}
    if kind in {"list", "tuple"} and isinstance(content, list):
        items = [unpack(item, tensors) for item in content]
        return tuple(items) if kind == "tuple" else items
    raise ValueError(f"not a packed state: {kind!r}")


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], (int, str))


def _fits(digest: object, tensors: dict[str, Tensor], body: str) -> bool:
    try:
        return digest == _digest(tensors, body)
    except (UnicodeEncodeError, RuntimeError, TypeError):  # half a letter, a dtype without bytes
        return False


def _digest(tensors: dict[str, Tensor], body: str) -> str:
    digest = hashlib.sha256(body.encode())
    for name in sorted(tensors):
        feed_tensor(digest, name, tensors[name])
    return digest.hexdigest()


def feed_tensor(digest: Any, name: str, t: Tensor) -> None:
    """Add a tensor with its name, dtype and shape to a checksum."""
    digest.update(f"\0{name}\0{t.dtype}\0{tuple(t.shape)}\0".encode())
    digest.update(t.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy())


def _parse(path: Path, text: object) -> dict[str, Any]:
    if not isinstance(text, str):
        raise _refusal(path, "it is not a checkpoint of this library")
    try:
        data = parse_json(text)
    except ValueError as error:
        raise _refusal(path, f"its header is not JSON ({brief(error)})") from None
    if not isinstance(data, dict):
        raise _refusal(path, "its header is not a record")
    return data


def _refusal(path: Path, reason: str) -> ValueError:
    return ValueError(f"cannot resume from {path}: {reason}; delete the file to start anew")

"""The fields of a spectrum as a file, ``.npz`` or ``.json``, read without executing code."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from overt._utils.checks import check_integer, check_number, check_sizes, message, optional
from overt._utils.files import whole_file, write_whole
from overt._utils.reading import brief, open_bounded, parse_json, unpack_arrays

FORMAT = 1
_MOST = {"npz": 2**30, "json": 2**26}  # bytes; JSON takes twenty times as many in memory
_TENSORS = ("values", "stderr", "factor", "lower", "upper")
_DTYPES = {"float64": torch.float64, "float32": torch.float32}
_BASIS_DTYPES = _DTYPES | {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "complex128": torch.complex128,
    "complex64": torch.complex64,
}
_COUNTS = {"n_samples", "n_probes"}
_WORDS = {"basis", "method", "covers"}
_Made = TypeVar("_Made")


def write(plain: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write the fields of a spectrum, whole or not at all; see :meth:`overt.Spectrum.save`."""
    target = Path(path)
    kind = _kind(target)
    basis = plain["basis"]
    meta = {"format": FORMAT, "dtype": _name(_portable(plain["values"]).dtype)}
    meta |= {name: value for name, value in plain.items() if name not in _TENSORS}
    if isinstance(basis, Tensor):
        meta["basis"] = "matrix"
    parts = {name: None if plain[name] is None else _portable(plain[name]) for name in _TENSORS}
    if kind == "json":
        del parts["factor"]
        lists = {name: None if part is None else part.tolist() for name, part in parts.items()}
        data = json.dumps(meta | lists, allow_nan=False, indent=1).encode()
        _check_size(target, len(data), "json", "save it as .npz")
        write_whole(target, data)
        return
    arrays: dict[str, Any] = {name: part.numpy() for name, part in parts.items() if part is not None}
    if isinstance(basis, Tensor):
        arrays["basis_matrix"] = _portable(basis).numpy()
        meta["basis_dtype"] = _name(basis.dtype)
    size = sum(array.nbytes for array in arrays.values())
    _check_size(target, size, "npz", "leave out the factor: dataclasses.replace(spectrum, factor=None)")
    header = np.array(json.dumps(meta, allow_nan=False))
    with whole_file(target) as file:
        np.savez(file, meta=header, **arrays)


def read(path: str | os.PathLike[str], make: Callable[..., _Made]) -> _Made:
    """Make a spectrum from the fields in a file; see :meth:`overt.Spectrum.load`."""
    source = Path(path)
    try:
        meta, parts = _read_json(source) if _kind(source) == "json" else _read_npz(source)
        version = check_integer(meta.pop("format"), "format", least=1, most=2**31)
        if version > FORMAT:
            raise ValueError(f"format {version} is newer than {FORMAT}; update overt")
        matrix = parts.pop("basis_matrix", None)
        dtype = meta.pop("basis_dtype", None)
        meta = _checked(meta)
        if matrix is not None and matrix.ndim != 2:
            raise ValueError(f"basis_matrix must be a matrix, got shape {tuple(matrix.shape)}")
        if matrix is not None:  # in its own dtype, which says how far from orthonormal it may be
            meta["basis"] = matrix if dtype is None else matrix.to(_BASIS_DTYPES[dtype])
        return make(**meta, **parts)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(
            f"path: {source} holds no spectrum written by Spectrum.save ({brief(error)})"
        ) from error


def _read_json(source: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with open_bounded(source, _MOST["json"]) as file:
        content = _record(file.read())
    dtype = _DTYPES[content.pop("dtype")]
    lists = {name: content.pop(name, None) for name in _TENSORS}
    return content, {n: torch.tensor(part, dtype=dtype) for n, part in lists.items() if part is not None}


def _read_npz(source: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with open_bounded(source, _MOST["npz"]) as file:
        arrays = unpack_arrays(file, {*_TENSORS, "basis_matrix", "meta"}.__contains__)
    meta = arrays.pop("meta")
    if meta.nbytes > _MOST["json"]:
        raise ValueError("its member meta is too large")
    content = _record(str(meta))
    del content["dtype"]
    return content, {name: torch.from_numpy(array) for name, array in arrays.items()}


def _record(text: str | bytes) -> dict[str, Any]:
    content = parse_json(text)
    if not isinstance(content, dict):
        raise TypeError("its JSON is no record")
    return content


def _checked(meta: dict[str, Any]) -> dict[str, Any]:
    """The fields beside the tensors, if they are of the kinds that a spectrum has."""
    checked: dict[str, Any] = {}
    checked |= {
        name: check_integer(meta.pop(name), name, least=0, most=2**63) for name in _COUNTS & set(meta)
    }
    for name in _WORDS & set(meta):
        if not isinstance(meta[name], str) or len(meta[name]) > 200 or not meta[name].isprintable():
            raise TypeError(message(name, "a word or a few", meta[name]))
        checked[name] = meta.pop(name)
    for name in ("input_shape", "dims"):
        least = 1 if name == "input_shape" else -64
        checked[name] = optional(check_sizes, meta.pop(name, None), name, least=least)
    checked["tail"] = check_number(meta.pop("tail", 0.0), "tail")
    checked["trace_squared"] = optional(check_number, meta.pop("trace_squared", None), "trace_squared")
    if meta:
        raise ValueError(f"it has the unknown field {brief(next(iter(meta)))!r}")
    return checked


def _check_size(target: Path, size: int, kind: str, remedy: str) -> None:
    """Refuse to write what would not be read back."""
    if size > 0.99 * _MOST[kind]:
        raise ValueError(f"path: {target} would have {size:,} bytes, more than are read back; {remedy}")


def _kind(path: Path) -> str:
    if path.suffix not in (".npz", ".json"):
        raise ValueError(f"path must end in .npz or .json, got {path.name!r}")
    return path.suffix[1:]


def _portable(tensor: Tensor) -> Tensor:
    """On the CPU, half precision as float32: neither file format knows bfloat16."""
    tensor = tensor.detach().cpu()
    kept = (torch.float32, torch.float64, torch.complex64, torch.complex128)
    return tensor if tensor.dtype in kept else tensor.float()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

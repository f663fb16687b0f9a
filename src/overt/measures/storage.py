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

from overt._utils.files import whole_file, write_whole

FORMAT = 1
_TENSORS = ("values", "stderr", "factor", "lower", "upper")
_DTYPES = {"float64": torch.float64, "float32": torch.float32}
_BASIS_DTYPES = _DTYPES | {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "complex128": torch.complex128,
    "complex64": torch.complex64,
}
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
        write_whole(target, json.dumps(meta | lists, allow_nan=False, indent=1).encode())
        return
    arrays: dict[str, Any] = {name: part.numpy() for name, part in parts.items() if part is not None}
    if isinstance(basis, Tensor):
        arrays["basis_matrix"] = _portable(basis).numpy()
        meta["basis_dtype"] = _name(basis.dtype)
    header = np.array(json.dumps(meta, allow_nan=False))
    with whole_file(target) as file:
        np.savez(file, meta=header, **arrays)


def read(path: str | os.PathLike[str], make: Callable[..., _Made]) -> _Made:
    """Make a spectrum from the fields in a file; see :meth:`overt.Spectrum.load`."""
    source = Path(path)
    try:
        meta, parts = _read_json(source) if _kind(source) == "json" else _read_npz(source)
        version = meta.pop("format")
        if version > FORMAT:
            raise ValueError(f"format {version} is newer than {FORMAT}; update overt")
        matrix = parts.pop("basis_matrix", None)
        dtype = meta.pop("basis_dtype", None)
        if matrix is not None:  # in its own dtype, which says how far from orthonormal it may be
            meta["basis"] = matrix if dtype is None else matrix.to(_BASIS_DTYPES[dtype])
        meta |= {n: tuple(meta[n]) for n in ("input_shape", "dims") if meta.get(n) is not None}
        return make(**meta, **parts)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"path: {source} holds no spectrum written by Spectrum.save ({error})") from error


def _read_json(source: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    content = json.loads(source.read_text(encoding="utf-8"))
    dtype = _DTYPES[content.pop("dtype")]
    lists = {name: content.pop(name, None) for name in _TENSORS}
    return content, {n: torch.tensor(part, dtype=dtype) for n, part in lists.items() if part is not None}


def _read_npz(source: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with np.load(source, allow_pickle=False) as file:
        meta = json.loads(str(file["meta"]))
        del meta["dtype"]
        return meta, {name: torch.from_numpy(file[name]) for name in file.files if name != "meta"}


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

"""Spectra as files, ``.npz`` or ``.json``, written whole or not at all, and read without executing code."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overt.measures.spectrum import Spectrum

__all__ = ["load", "save"]

FORMAT = 1
_TENSORS = ("values", "stderr", "factor", "lower", "upper")
_DTYPES = {"float64": torch.float64, "float32": torch.float32}
_BASIS_DTYPES = _DTYPES | {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "complex128": torch.complex128,
    "complex64": torch.complex64,
}


def save(spectrum: Spectrum, path: str | os.PathLike[str]) -> None:
    """Write a spectrum.

    Parameters
    ----------
    spectrum : Spectrum
    path
        Ends in ``.npz`` (everything) or ``.json`` (readable; without ``factor`` and a basis matrix, which
        are large).

    Raises
    ------
    ValueError
        If the path ends otherwise.
    """
    target = Path(path)
    if _kind(target) == "json":
        text = json.dumps(_plain(spectrum) | _lists(spectrum), allow_nan=False, indent=1)
        _replace(target, text.encode())
        return
    arrays = {name: _array(part) for name in _TENSORS if (part := getattr(spectrum, name)) is not None}
    meta = _plain(spectrum)
    if isinstance(spectrum.basis, Tensor):
        arrays["basis_matrix"] = _array(spectrum.basis)
        meta["basis_dtype"] = str(spectrum.basis.dtype).removeprefix("torch.")
    _replace(target, {"meta": np.array(json.dumps(meta, allow_nan=False)), **arrays})


def load(path: str | os.PathLike[str]) -> Spectrum:
    """Read a spectrum; tensors are on the CPU, in the dtype that they had, half precision as float32.

    Raises
    ------
    ValueError
        If the file is no spectrum, or of a newer format.
    """
    source = Path(path)
    try:
        if _kind(source) == "json":
            content = json.loads(source.read_text(encoding="utf-8"))
            meta = {name: value for name, value in content.items() if name not in _TENSORS}
            dtype = _DTYPES[meta.pop("dtype")]
            parts = {n: torch.tensor(content[n], dtype=dtype) for n in _TENSORS if content.get(n) is not None}
        else:
            with np.load(source, allow_pickle=False) as file:
                meta = json.loads(str(file["meta"]))
                meta.pop("dtype")
                parts = {name: torch.from_numpy(file[name]) for name in file.files if name != "meta"}
        version = meta.pop("format")
        if version > FORMAT:
            raise ValueError(f"format {version} is newer than {FORMAT}; update overt")
        matrix = parts.pop("basis_matrix", None)
        matrix_dtype = meta.pop("basis_dtype", None)
        if matrix is not None:  # in its own dtype, which says how far from orthonormal it may be
            meta["basis"] = matrix if matrix_dtype is None else matrix.to(_BASIS_DTYPES[matrix_dtype])
        tuples = {name: tuple(meta[name]) for name in ("input_shape", "dims") if meta[name] is not None}
        return Spectrum(**(meta | tuples | parts))
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"path: {source} holds no spectrum written by Spectrum.save ({error})") from error


def _kind(path: Path) -> str:
    if path.suffix not in (".npz", ".json"):
        raise ValueError(f"path: expected a name that ends in .npz or .json, got {path.name!r}")
    return path.suffix[1:]


def _plain(spectrum: Spectrum) -> dict[str, Any]:
    """The fields that are no tensors."""
    plain = {f.name: getattr(spectrum, f.name) for f in fields(spectrum) if f.name not in _TENSORS}
    plain["basis"] = plain["basis"] if isinstance(plain["basis"], str) else "matrix"
    return {"format": FORMAT, "dtype": str(_portable(spectrum.values).dtype).removeprefix("torch."), **plain}


def _portable(tensor: Tensor) -> Tensor:
    """On the CPU, half precision as float32: neither file format knows bfloat16."""
    tensor = tensor.detach().cpu()
    kept = (torch.float32, torch.float64, torch.complex64, torch.complex128)
    return tensor if tensor.dtype in kept else tensor.float()


def _array(tensor: Tensor) -> Any:
    return _portable(tensor).numpy()


def _lists(spectrum: Spectrum) -> dict[str, Any]:
    names = [name for name in _TENSORS if name != "factor"]
    parts = {name: getattr(spectrum, name) for name in names}
    return {name: None if part is None else _portable(part).tolist() for name, part in parts.items()}


def _replace(path: Path, content: bytes | dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                np.savez(file, **content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise

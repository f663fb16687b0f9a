"""Reading idx files (the format of MNIST): an array of bytes with its sizes in front."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_LIMIT = 2**31  # bytes of content; the largest of the MNIST family has 47 million
_UNSIGNED_BYTES = 0x08


def read_idx(path: str | Path, *, limit: int = _LIMIT) -> Tensor:
    """Return the array of an idx file of unsigned bytes, packed by gzip or not.

    Parameters
    ----------
    path
        The file; one whose name ends in ``.gz`` is unpacked on the fly.
    limit
        Largest number of bytes of content.

    Returns
    -------
    Tensor
        uint8, of the shape that the file states.

    Raises
    ------
    ValueError
        The file cannot be read, is of another format or type, is larger than `limit`, or is shorter or
        longer than its header says.
    """
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            start = stream.read(4)
            if len(start) < 4 or start[:2] != b"\0\0":
                raise ValueError(f"{path} is no idx file: it begins with {start.hex() or 'nothing'}")
            if start[2] != _UNSIGNED_BYTES:
                raise ValueError(f"{path} holds type 0x{start[2]:02x}; only unsigned bytes (0x08) are read")
            sizes = np.frombuffer(stream.read(4 * start[3]), dtype=">u4")
            if len(sizes) != start[3]:
                raise ValueError(f"{path} ends within its header")
            shape = tuple(int(size) for size in sizes)
            count = math.prod(shape)
            if count > limit:
                raise ValueError(f"{path} claims {count} bytes, more than the {limit} allowed")
            content = stream.read(count + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if len(content) != count:
        more = "more" if len(content) > count else f"only {len(content)}"
        raise ValueError(f"{path} should hold {count} bytes for shape {shape}, and holds {more}")
    return (
        torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(shape)
        if count
        else torch.empty(shape, dtype=torch.uint8)
    )

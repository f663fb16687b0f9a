"""Inputs and targets as they were given: checked, split, and handed on in the same kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from overt._utils.checks import check_number, is_integer, is_number, message
from overt._utils.readers import as_array, is_frame, read_numbers
from overt._utils.tensors import check_float_tensor, require_finite
from overt.networks.batches import check_inputs

_SMALLEST = 1e-75
Targets = Tensor | NDArray[Any]

_EMBED = "for token ids give their embeddings, as overt.reweighted's documentation shows"
_FILL = "fill in what is missing first, with overt.MatrixCompletion for instance"


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs, always a tensor (n, …), and their targets.

    Attributes
    ----------
    X, y
        y is a tensor or an array.
    arrays : bool
        Whether X was given as an array, which is what learners then get.
    """

    X: Tensor
    y: Targets
    arrays: bool

    def __len__(self) -> int:
        return len(self.X)

    @property
    def kind(self) -> str:
        """In words."""
        return "an array" if self.arrays else "a tensor"

    def copied(self) -> Targets:
        """A copy of y, for code that may overwrite it."""
        return self.y.clone() if isinstance(self.y, Tensor) else self.y.copy()

    def targets(self) -> NDArray[Any]:
        """A copy of y as an array."""
        return np.array(read_numbers(self.y, "y") if isinstance(self.y, Tensor) else self.y)

    def __getitem__(self, index: NDArray[np.int64]) -> Examples:
        where = torch.as_tensor(index)
        y = self.y[where.to(self.y.device)] if isinstance(self.y, Tensor) else self.y[index]
        return Examples(self.X[where.to(self.X.device)], y, self.arrays)


def read_inputs(X: object, name: str = "X") -> tuple[Tensor, bool]:
    """Inputs (n, …) as a tensor, and whether they came as an array.

    Raises
    ------
    TypeError, ValueError
        They are no dense numbers, have no dimension beside the first, are empty, NaN or infinite.
    """
    if isinstance(X, Tensor):
        inputs = check_float_tensor(check_inputs(X, name, _EMBED).detach(), name)
        require_finite(inputs, name, remedy=_FILL)
        return inputs, False
    array = read_numbers(X, name)
    if hasattr(array, "tocoo"):
        raise TypeError(message(name, "a dense array or tensor (n, …)", X, "convert it with .toarray()"))
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"{name} must be a batch (n, …) that is not empty, got shape {array.shape}")
    with np.errstate(over="ignore"):  # of long double, to infinity
        array = np.require(array, np.float32 if array.dtype == np.float32 else np.float64, ["C", "W"])
    inputs = torch.from_numpy(array)
    require_finite(inputs, name, remedy=_FILL)
    return inputs, True


def names_of(X: Any) -> list[str] | None:
    """The names of the columns of a data frame, where all are words."""
    if not is_frame(X):
        return None
    names = list(X.column_names if hasattr(X, "column_names") else X.columns)
    return names if all(isinstance(name, str) for name in names) else None


def examples(X: object, y: object, names: tuple[str, str] = ("X", "y")) -> Examples:
    """Inputs and targets, one for each.

    Raises
    ------
    TypeError, ValueError
        Wrong inputs, targets of another number, missing targets.
    """
    inputs, arrays = read_inputs(X, names[0])
    if y is None:
        raise TypeError(message(names[1], "one target for each input", y))
    targets: Targets = y.detach() if isinstance(y, Tensor) and not arrays else _read_targets(y, names[1])
    if not arrays and not isinstance(targets, Tensor) and targets.dtype.kind in "fiub":
        targets = torch.tensor(targets)
    if targets.ndim == 0 or len(targets) != len(inputs):
        raise ValueError(
            f"{names[1]} must have one entry for each of the {len(inputs)} inputs, got shape "
            f"{tuple(targets.shape)}"
        )
    finite = targets.isfinite() if isinstance(targets, Tensor) else _finite(targets)
    if not bool(finite.all()):
        count = finite.size if isinstance(finite, np.ndarray) else finite.numel()
        bad = count - int(finite.sum())
        raise ValueError(f"{names[1]}: {bad} of {count} targets are NaN or infinite; remove those examples")
    _check_scale(inputs, names[0])
    if targets.dtype in (torch.float64, np.float64):
        _check_scale(torch.as_tensor(targets), names[1])
    return Examples(inputs, targets, arrays)


def split(data: Examples, validation: object, seed: int) -> tuple[Examples, Examples]:
    """Examples to fit and examples held out: a share, stratified by labels where it can be, or a given pair.

    Raises
    ------
    TypeError, ValueError
        ``validation`` is neither, or leaves fewer than two examples on a side.
    """
    if isinstance(validation, (tuple, list)):
        if len(validation) != 2:
            raise ValueError(message("validation", "a share or a pair (X, y)", validation))
        held = examples(validation[0], validation[1], ("validation[0]", "validation[1]"))
        if held.X.shape[1:] != data.X.shape[1:] or held.arrays != data.arrays:
            wanted, came = (f"{one.kind} {tuple(one.X.shape[1:])}" for one in (data, held))
            raise ValueError(f"validation: its inputs must be like X, {wanted} each, got {came}")
        fitted = data
    else:
        share = check_number(validation, "validation", above=0, below=1, remedy="or a pair (X, y)")
        count = max(2, round(share * len(data)))
        if len(data) < count + 2:
            raise ValueError(
                f"validation={share:g} of {len(data)} examples leaves fewer than two to fit; give more"
            )
        fit_on, hold = _positions(data.y, len(data), count, seed % 2**32)
        fitted, held = data[fit_on], data[hold]
    if len(held) < 2:
        raise ValueError("validation: two examples or more are needed to compare rounds, got one")
    return fitted, held


def _check_scale(values: Tensor, name: str) -> None:
    """Refuse columns so large or small that squares of derivatives over- or underflow.

    Raises
    ------
    ValueError
        The largest entry of a column is beyond 1e±75.
    """
    tops = values.detach().abs().flatten(1).amax(0) if values.ndim > 1 else values.detach().abs().max()
    tops = tops[tops > 0]
    if bool(((tops < _SMALLEST) | (tops > 1 / _SMALLEST)).any()):
        low, high = (float(end) for end in tops.aminmax())
        raise ValueError(
            f"{name}: columns have sizes of {low:.2g} … {high:.2g}, so that squares of derivatives over- or "
            "underflow; standardize them"
        )


def _positions(y: Targets, n: int, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions to fit and ``count`` to hold out.

    They are stratified where targets are labels and each class has room. A class of one example is not held
    out then.
    """
    from sklearn.model_selection import train_test_split

    index, strata = np.arange(n), None
    labels = y.cpu().numpy() if isinstance(y, Tensor) else y
    if labels.size == n and labels.dtype.kind != "f":
        _, kind, sizes = np.unique(labels.reshape(-1), return_inverse=True, return_counts=True)
        often = np.flatnonzero(sizes[kind] > 1)
        if (sizes > 1).sum() <= min(count, len(often) - count):
            index, strata = often, kind[often]
    fit_on, hold = train_test_split(index, test_size=count, random_state=seed, stratify=strata)
    return np.append(fit_on, np.setdiff1d(np.arange(n), index)), hold


def _read_targets(y: object, name: str) -> NDArray[Any]:
    """Numbers of a kind that torch knows, with NaN where one is missing, or labels that hold words."""
    found = as_array(y, name)
    words = found.dtype.kind in "US" or (
        found.dtype.kind == "O" and any(isinstance(one, (str, bytes)) for one in found.flat)
    )
    if not words and (found.dtype.kind not in "iub" or isinstance(y, np.ma.MaskedArray)):
        whole = found.dtype.kind == "O" and all(is_integer(one) for one in found.flat)
        found = found.astype(np.int64) if whole else np.asarray(read_numbers(y, name))
    dtype = found.dtype.newbyteorder("=")
    if dtype.kind == "u" and dtype.itemsize > 1:
        dtype = np.dtype(np.int64)
    elif dtype == np.longdouble:
        dtype = np.dtype(np.float64)
    with np.errstate(over="ignore"):  # of long double, to infinity
        return np.array(found, dtype, order="C")


def _finite(y: NDArray[Any]) -> NDArray[np.bool_]:
    """Which targets are there, and finite if they are numbers."""
    if y.dtype.kind == "O":
        return np.array([isinstance(one, (str, bytes)) or (is_number(one) and one == one) for one in y.flat])
    found: NDArray[np.bool_] = np.isfinite(y) if y.dtype.kind == "f" else np.ones(y.shape, dtype=bool)
    return found

"""What all scikit-learn estimators share: their parameters' checks, tables, seeds and devices."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import validate_data

from overt._utils.checks import is_integer, is_number, message
from overt._utils.readers import is_frame, read_numbers

__all__ = ["DEVICE", "RANDOM_STATE", "Estimator", "check_device", "read_table", "seed_of"]

RANDOM_STATE = [
    Interval(numbers.Integral, 0, 2**63 - 1, closed="both"),
    np.random.RandomState,
    np.random.Generator,
    None,
]
DEVICE = [str, torch.device, None]


class Estimator(BaseEstimator):  # type: ignore[misc]
    """Base class of all estimators. Each has a parameter ``device``."""

    device: str | torch.device | None
    _parameter_constraints: dict[str, list[Any]]

    def _validate_params(self) -> None:
        """Check the parameters; True and False are no numbers, and the device must be there."""
        super()._validate_params()
        for name, constraints in self._parameter_constraints.items():
            value = getattr(self, name)
            if "boolean" not in constraints and isinstance(value, numbers.Real) and not is_number(value):
                expected = "a number or None" if None in constraints else "a number"
                raise TypeError(message(name, expected, value))
        if self.device is not None:
            check_device(self.device)


def read_table(
    estimator: BaseEstimator,
    X: Any,
    *,
    reset: bool,
    name: str = "X",
    accept_sparse: bool = False,
    remedy: str = "",
) -> Any:
    """X as an array with NaN where an entry is missing, or as a sparse matrix; float32 or float64.

    Number and names of the columns are compared with the estimator's, or with ``reset``, in a fit, set.

    Raises
    ------
    TypeError
        If X holds something else than numbers, or is sparse and must not be.
    ValueError
        If X is no matrix (then ``remedy`` says more), is empty, holds infinity, or has other columns.
    """
    found = read_numbers(X, name)
    stored = sparse.issparse(found)
    if stored and not accept_sparse:
        raise TypeError(f"{name} must be dense, got a sparse matrix; pass {name}.toarray()")
    if found.ndim != 2:
        more = "Reshape your data to rows and columns" + remedy
        raise ValueError(f"{name} must be a matrix (2D array), got shape {found.shape}; {more}")
    for size, what in zip(found.shape, ("sample", "feature"), strict=True):
        if not size:
            raise ValueError(
                f"{name} has 0 {what}(s) (shape={found.shape}) while a minimum of 1 is required; pass more"
            )
    validate_data(estimator, X if is_frame(X) else found, reset=reset, skip_check_array=True)
    with np.errstate(over="ignore"):  # of long double, to infinity
        found = check_array(
            found,
            accept_sparse=["csr", "csc", "coo"],
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
            input_name=name,
        )
    if np.isinf(found.data if stored else found).any():
        raise ValueError(f"{name} must be finite, got infinity; leave such entries or rows out")
    return found


def seed_of(random_state: Any) -> int:
    """A seed from what scikit-learn takes as ``random_state``, or from a NumPy ``Generator``.

    None and generators give another seed each time, None from NumPy's global state, as in scikit-learn.
    """
    if is_integer(random_state):
        return int(random_state)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    return int(check_random_state(random_state).randint(2**31 - 1))


def check_device(device: Any) -> None:
    """Refuse a device on which torch cannot compute here in double precision."""
    try:
        torch.ones(1, dtype=torch.float64, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        line = str(error).splitlines()[0].split(". ")[0]
        expected = "a device on which torch computes in double precision here, such as 'cpu'"
        raise ValueError(message("device", expected, device, f"torch says: {line:.120}")) from error

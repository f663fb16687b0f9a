"""Linear regression, overdetermined or not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from overt.models.base import check_dtype
from overt.problems.base import check_iterate, check_values, error_against, mean_squared

__all__ = ["RegressionProblem"]


@dataclass(frozen=True, eq=False, repr=False)
class RegressionProblem:
    """y = X w for an unknown vector w.

    Parameters
    ----------
    X
        Design matrix (k, d).
    y
        Targets (k,).
    truth
        The vector (d,), where it is known.
    n_nonzero, noise_std
        What a generator knows of its instance, for oracles.
    name
        For tables and reports.

    Raises
    ------
    TypeError, ValueError
        No sample, shapes that do not fit, NaN or infinite values, unlike dtypes or devices.

    Examples
    --------
    >>> import torch
    >>> from overt.problems import RegressionProblem
    >>> problem = RegressionProblem(torch.tensor([[1.0, 2.0]]), torch.tensor([3.0]))
    >>> float(problem.loss(torch.ones(2)))
    0.0
    """

    X: Tensor
    y: Tensor
    truth: Tensor | None = None
    n_nonzero: int | None = None
    noise_std: float | None = None
    name: str = "regression"

    def __post_init__(self) -> None:
        y = check_values(self.y, "y", ndim=1)
        if y.numel() == 0:
            raise ValueError("there is no sample: y is empty")
        X = check_values(self.X, "X", ndim=2, like=y)
        if X.shape[0] != y.numel():
            raise ValueError(f"X must have one row for each of the {y.numel()} targets, got {tuple(X.shape)}")
        if X.shape[1] == 0:
            raise ValueError(f"X must have at least one column, got shape {tuple(X.shape)}")
        if self.truth is not None and check_values(self.truth, "truth", ndim=1, like=y).shape != self.shape:
            raise ValueError(f"truth must have shape {self.shape}, got {tuple(self.truth.shape)}")

    @property
    def shape(self) -> tuple[int]:
        """(d,)."""
        return (self.X.shape[1],)

    @property
    def n_observed(self) -> int:
        """Number k of samples."""
        return self.y.numel()

    @property
    def dtype(self) -> torch.dtype:
        """Of all tensors of the problem."""
        return self.y.dtype

    @property
    def device(self) -> torch.device:
        """Of all tensors of the problem."""
        return self.y.device

    def measure(self, W: Tensor) -> Tensor:
        """X w, shape (k,)."""
        return self.X @ check_iterate(W, self.shape, self.y)

    def adjoint(self, z: Tensor) -> Tensor:
        """Xᵀ z, shape (d,)."""
        return check_iterate(z, (self.n_observed,), self.y, name="z") @ self.X

    def loss(self, W: Tensor) -> Tensor:
        """Mean squared residual, a 0-d tensor."""
        return mean_squared(self.measure(W), self.y)

    def error(self, W: Tensor) -> float:
        """‖w − w*‖ / ‖w*‖, NaN where the truth is not known; for a truth of zero the denominator is 1."""
        return error_against(self.truth, W, self.y)

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> RegressionProblem:
        """The same problem in another precision or on another device."""
        check_dtype(dtype)
        return replace(
            self,
            X=self.X.to(dtype=dtype, device=device),
            y=self.y.to(dtype=dtype, device=device),
            truth=None if self.truth is None else self.truth.to(dtype=dtype, device=device),
        )

    def __repr__(self) -> str:
        k, d = self.X.shape
        return f"RegressionProblem({self.name!r}, {d} unknowns, {k} samples, {self.dtype}, {self.device})"

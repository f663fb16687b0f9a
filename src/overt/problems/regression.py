"""Linear regression, overdetermined or not."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from overt._utils.tensors import check_float_tensor
from overt.problems.base import Problem, check_iterate, check_values, set_field


@dataclass(frozen=True, eq=False, repr=False)
class RegressionProblem(Problem):
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

    Attributes
    ----------
    shape : tuple of int
        (d,).

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
    shape: tuple[int] = field(init=False)

    def __post_init__(self) -> None:
        X = check_float_tensor(self.X, "X")
        if X.ndim != 2 or X.shape[1] == 0:
            raise ValueError(f"X must have shape (k, d) with d ≥ 1, got {tuple(X.shape)}")
        set_field(self, "shape", (X.shape[1],))
        super().__post_init__()
        check_values(X, "X", (self.n_observed, X.shape[1]), like=self.y)

    def measure(self, W: Tensor) -> Tensor:
        """X w, shape (k,)."""
        return self.X @ check_iterate(W, self.shape, self.y)

    def adjoint(self, z: Tensor) -> Tensor:
        """Xᵀ z, shape (d,)."""
        return check_iterate(z, self.y.shape, self.y, name="z") @ self.X

"""Dense measurements: inner products with an unknown matrix, and linear regression."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from overt._utils.tensors import check_float_tensor
from overt.problems.base import MatrixProblem, Problem, check_iterate, check_values, set_field


@dataclass(frozen=True, eq=False, repr=False)
class SensingProblem(MatrixProblem):
    """y_i = ⟨A_i, W⟩ for k measurement matrices A_i.

    Parameters
    ----------
    A
        (k, m·n), one measurement matrix per row, read row by row; (k, m, n) is flattened.
    y
        Measurements (k,).
    shape
        (m, n).
    truth
        The matrix (m, n), if it is known.
    true_rank, noise_std
        As for `CompletionProblem`.
    name
        For tables and reports.

    Raises
    ------
    TypeError, ValueError
        No measurement, shapes that do not fit, NaN or infinite values, unlike dtypes or devices.

    Examples
    --------
    >>> import torch
    >>> from overt.problems import SensingProblem
    >>> problem = SensingProblem(torch.eye(4), torch.arange(4.0), (2, 2))
    >>> problem.measure(torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
    tensor([0., 1., 2., 3.])
    """

    A: Tensor
    y: Tensor
    shape: tuple[int, int]
    truth: Tensor | None = None
    true_rank: int | None = None
    noise_std: float | None = None
    name: str = "sensing"

    def __post_init__(self) -> None:
        super().__post_init__()
        m, n = self.shape
        A = self.A.flatten(1) if isinstance(self.A, Tensor) and self.A.ndim == 3 else self.A
        set_field(self, "A", check_values(A, "A", (self.n_observed, m * n), like=self.y))

    def measure(self, W: Tensor) -> Tensor:
        """⟨A_i, W⟩ for i = 1 … k, shape (k,)."""
        return self.A @ check_iterate(W, self.shape, self.y).reshape(-1)

    def adjoint(self, z: Tensor) -> Tensor:
        """Σ_i z_i A_i, shape (m, n)."""
        return (check_iterate(z, self.y.shape, self.y, name="z") @ self.A).view(self.shape)


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
        The vector (d,), if it is known.
    n_nonzero, noise_std
        Nonzero entries of the truth and standard deviation of the noise on `y`, if a generator knows them.
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

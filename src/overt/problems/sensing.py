"""Matrix sensing: inner products of an unknown matrix with given ones."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from overt.problems.base import MatrixProblem, check_iterate, check_values, set_field


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
        The matrix (m, n), where it is known.
    true_rank, noise_std
        What a generator knows of its instance, for oracles.
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

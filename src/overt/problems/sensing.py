"""Matrix sensing: inner products of an unknown matrix with given ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from overt.models.base import check_dtype
from overt.problems._indices import check_shape
from overt.problems.base import check_iterate, check_values, error_against, mean_squared

__all__ = ["SensingProblem"]


@dataclass(frozen=True, eq=False, repr=False)
class SensingProblem:
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
        shape = check_shape(self.shape)
        object.__setattr__(self, "shape", shape)
        y = check_values(self.y, "y", ndim=1)
        if y.numel() == 0:
            raise ValueError("there is no measurement: y is empty")
        A = self.A.flatten(1) if isinstance(self.A, Tensor) and self.A.ndim == 3 else self.A
        A = check_values(A, "A", ndim=2, like=y)
        if A.shape != (y.numel(), shape[0] * shape[1]):
            raise ValueError(
                f"A must have shape ({y.numel()}, {shape[0] * shape[1]}), one row of m·n numbers for each y, "
                f"got {tuple(A.shape)}"
            )
        object.__setattr__(self, "A", A)
        if self.truth is not None and check_values(self.truth, "truth", ndim=2, like=y).shape != shape:
            raise ValueError(f"truth must have shape {shape}, got {tuple(self.truth.shape)}")

    @property
    def n_observed(self) -> int:
        """Number k of measurements."""
        return self.y.numel()

    @property
    def dtype(self) -> torch.dtype:
        """Of all tensors of the problem."""
        return self.y.dtype

    @property
    def device(self) -> torch.device:
        """Of all tensors of the problem."""
        return self.y.device

    def oversampling(self, rank: int) -> float:
        """ρ = k / (r (m + n − r)): measurements over degrees of freedom of a rank-r matrix."""
        m, n = self.shape
        if not 1 <= rank <= min(m, n):
            raise ValueError(f"rank must lie in 1 … {min(m, n)}, got {rank}")
        return self.n_observed / (rank * (m + n - rank))

    def measure(self, W: Tensor) -> Tensor:
        """⟨A_i, W⟩ for i = 1 … k, shape (k,)."""
        return self.A @ check_iterate(W, self.shape, self.y).reshape(-1)

    def adjoint(self, z: Tensor) -> Tensor:
        """Σ_i z_i A_i, shape (m, n)."""
        return (check_iterate(z, (self.n_observed,), self.y, name="z") @ self.A).view(self.shape)

    def loss(self, W: Tensor) -> Tensor:
        """Mean squared residual, a 0-d tensor."""
        return mean_squared(self.measure(W), self.y)

    def error(self, W: Tensor) -> float:
        """‖W − W*‖_F / ‖W*‖_F, NaN where the truth is not known; for a truth of zero the denominator is 1."""
        return error_against(self.truth, W, self.y)

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> SensingProblem:
        """The same problem in another precision or on another device."""
        check_dtype(dtype)
        return replace(
            self,
            A=self.A.to(dtype=dtype, device=device),
            y=self.y.to(dtype=dtype, device=device),
            truth=None if self.truth is None else self.truth.to(dtype=dtype, device=device),
        )

    def __repr__(self) -> str:
        m, n = self.shape
        return (
            f"SensingProblem({self.name!r}, {m}×{n}, {self.n_observed} measured, {self.dtype}, {self.device})"
        )

"""The spectra of the Jacobians point by point, and expectations of functionals of them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from overt import functional as F
from overt._utils.checks import check_callable, check_number, optional
from overt._utils.tensors import check_spectrum


class OfSpectra(Protocol):
    """A function of spectra (n, k), as those of `overt.functional`, with values (n,)."""

    def __call__(self, *, singular_values: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False, repr=False)
class PointwiseSpectrum:
    """Singular values of the Jacobians J(x_i) of a model at n points; numbers are means over the points.

    Where :class:`overt.Spectrum` has the singular values of what the points have in common, √M with M =
    E[JᵀJ], this has those of each point. For a linear map both are those of its matrix. On data that lie on a
    curved surface M has many directions, each J few.

    Attributes
    ----------
    values : Tensor, shape (n, k)
        Descending; k is the smaller of the numbers of outputs and of input entries.
    rtol : float
        A singular value counts in ranks and sums of powers if it is above rtol·σ₁ of its point. From
        ``overt.measure`` it is L·max(K, D)·eps for K×D Jacobians, eps being the rounding unit of their dtype
        and L the number of the model's weights: a decomposition resolves max(K, D)·eps·σ₁, and the Jacobian
        is itself a product of some L matrices, each rounded once. This is the rank in floating point; a
        larger rtol, such as 1e-3, asks for the rank at that resolution.

    Examples
    --------
    >>> import torch
    >>> import overt
    >>> model = torch.nn.Sequential(torch.nn.Linear(5, 2), torch.nn.Linear(2, 4)).double()
    >>> s = overt.measure(model, torch.randn(3, 5, dtype=torch.float64), pointwise=True)
    >>> s.values.shape, s.rank(), s.ranks()
    (torch.Size([3, 4]), 2.0, tensor([2, 2, 2]))
    """

    values: Tensor
    _: KW_ONLY
    rtol: float = 0.0

    def __post_init__(self) -> None:
        values = check_spectrum(self.values, "values").detach()
        if values.ndim != 2 or values.numel() == 0:
            raise ValueError(f"values must have shape (n, k) with n, k > 0, got {tuple(values.shape)}")
        object.__setattr__(self, "values", values.sort(1, descending=True).values)
        object.__setattr__(self, "rtol", check_number(self.rtol, "rtol", least=0, below=1))

    @property
    def n_samples(self) -> int:
        """Number of points."""
        return len(self.values)

    def mean(self, functional: OfSpectra) -> float:
        """E f(σ(J(x))) of a functional of `overt.functional`, or of a function called the same way.

        Examples
        --------
        >>> import torch
        >>> from overt import functional as F
        >>> from overt.measures import PointwiseSpectrum
        >>> PointwiseSpectrum(torch.tensor([[3.0, 4.0], [1.0, 0.0]])).mean(F.nuclear_norm)
        4.0
        """
        found: object = check_callable(functional, "functional")(singular_values=self.values)
        if not isinstance(found, Tensor) or found.shape != (self.n_samples,):
            shape = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"functional must return one value for each of {self.n_samples} points, got {shape}"
            )
        return float(found.double().mean())

    @property
    def nuclear_norm(self) -> float:
        """E Σσ."""
        return self.mean(F.nuclear_norm)

    @property
    def effective_rank(self) -> float:
        """E of exp of the entropy of σ/Σσ (Roy & Vetterli 2007); 0 at points where J is zero."""
        return self.mean(F.effective_rank)

    @property
    def trace(self) -> float:
        """E Σσ², which is tr M."""
        return float(self.values.double().square().sum(1).mean())

    def cost(self, p: float) -> float:
        """E Σ σ^p, p > 0; values that do not count, see `rtol`, are left out: a small p would magnify them.

        With p = 2/L it is at most the mean of E‖J_l‖_F² over the L pieces of any chain, which is what
        `overt.CompositionPenalty` adds.

        Raises
        ------
        TypeError, ValueError
            If ``p`` is not a finite number above 0.
        """
        p = check_number(p, "p", above=0)
        powers = self.values.double().pow(p).masked_fill(~self._counted(None), 0)
        return float(powers.sum(1).mean())

    def log_pseudo_determinant(self, rtol: float | None = None) -> float:
        """E Σ log σ over the values that count, 0 at points where J is zero.

        The volume by which the map stretches the directions that it keeps, on a logarithmic scale. As a rank
        does, it depends on `rtol`, for which None is that of the spectrum.

        Raises
        ------
        TypeError, ValueError
            If ``rtol`` is no number in [0, 1).
        """
        logs = self.values.double().log().masked_fill(~self._counted(rtol), 0)
        return float(logs.sum(1).mean())

    def rank(self, rtol: float | None = None) -> float:
        """The mean of `ranks`."""
        return float(self.ranks(rtol).double().mean())

    def ranks(self, rtol: float | None = None) -> Tensor:
        """Number of singular values above rtol·σ₁ at each point, shape (n,); 0 where J is zero.

        By the implicit function theorem it is the number of directions in which the output can move. For a
        piecewise linear network it is the rank of the linear piece at x (Feng et al. 2022).

        Raises
        ------
        TypeError, ValueError
            If ``rtol`` is no number in [0, 1).
        """
        return self._counted(rtol).sum(1)

    def margins(self, rtol: float | None = None) -> Tensor:
        """Smallest singular value that counts over the largest that does not, shape (n,).

        Infinite if none is left out, or those left out are exactly 0. If it is large, the rank does not
        depend on the tolerance; in single precision small margins are common, and a model and data in double
        precision settle the question.

        Raises
        ------
        TypeError, ValueError
            If ``rtol`` is no number in [0, 1).
        """
        counted = self._counted(rtol)
        kept = self.values.masked_fill(~counted, torch.inf).amin(1)
        dropped = self.values.masked_fill(counted, 0).amax(1)
        return torch.where(dropped > 0, kept / dropped, torch.inf)

    def _counted(self, rtol: float | None) -> Tensor:
        chosen: Any = optional(check_number, rtol, "rtol", least=0, below=1)
        return self.values > (self.rtol if chosen is None else chosen) * self.values[:, :1]

    def __repr__(self) -> str:
        ranks = self.ranks()
        low, high = int(ranks.min()), int(ranks.max())
        return (
            f"PointwiseSpectrum(n={self.n_samples}, k={self.values.shape[1]}, "
            f"nuclear_norm={self.nuclear_norm:.4g}, effective_rank={self.effective_rank:.4g}, "
            f"ranks={low if low == high else f'{low} to {high}'})"
        )

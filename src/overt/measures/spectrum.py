"""The spectrum of a map in its own eigenbasis or in a given one."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from overt import functional as F
from overt._utils.checks import check_number
from overt._utils.tensors import check_float_tensor, check_spectrum
from overt.linalg import make_basis, singular_values
from overt.linalg.bases import is_eigen
from overt.measures.comparison import Comparison, compare
from overt.measures.plots import draw
from overt.measures.storage import read, write
from overt.networks.batches import Inputs


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum:
    """Sensitivities √diag(U M U*) of a map in an orthonormal basis U; M = E[JᵀJ], J the Jacobian.

    In the eigenbasis of M these are singular values: for a deep linear network those of the product matrix.
    In the Fourier basis they are |ĥ| of a circular convolution, in the identity basis the coordinates of a
    diagonal network.

    Attributes
    ----------
    values : Tensor, shape (k,)
        Not negative; descending in the eigenbasis, in basis order otherwise. In the eigenbasis, values past
        the k given ones are zero, unless ``tail`` says otherwise.
    basis : str or Tensor
        ``"eigen"``, a name known to :func:`overt.linalg.make_basis`, or a matrix with basis vectors in rows.
    stderr : Tensor, shape (k,), or None
        Standard errors of ``values``, in their order. None if there are none, as for a sketch whose draws
        did not all fit the memory budget.
    covers : str
        Sources of error in ``stderr``: ``"data"`` (a sample of inputs, all outputs), ``"data and probes"``,
        ``"probes"`` (the inputs are the whole population), or empty.
    n_samples, n_probes : int
        Inputs used, and random vectors for each (0: all outputs).
    method : str
        How it was found: ``"exact"``, ``"sketch"``, ``"lanczos"`` or ``"given"``.
    input_shape : tuple of int or None
        Shape of one input; ``values`` in a basis of names can be reshaped to it.
    dims : tuple of int or None
        Which dimensions of the input the basis transforms; see :func:`overt.linalg.make_basis`.
    factor : Tensor, shape (r, D), or None
        M = factorᵀ factor, or an estimate of it for a sketch. What :meth:`alignment` needs.
    lower, upper : Tensor, shape (k,), or None
        For a sketched eigen-spectrum, estimates whose partial sums of squares are too low and too high in
        expectation, in an order of their own, see :func:`overt.measure`. For Lanczos, the Ritz values, which
        are never above the values of the same order, and the roots of Ritz value plus residual.
    tail : float
        Estimated Σσ² of the values that were not found; 0 where the spectrum is whole.
    trace_squared : float or None
        Unbiased estimate of tr M², where one was made.

    Examples
    --------
    >>> import torch
    >>> from overt.measures import Spectrum
    >>> s = Spectrum(torch.tensor([3.0, 4.0]))
    >>> s.values, round(s.normalized_nuclear_norm, 4), s.cost(2)
    (tensor([4., 3.]), 1.4, 25.0)
    """

    values: Tensor
    _: KW_ONLY
    basis: str | Tensor = "eigen"
    stderr: Tensor | None = None
    n_samples: int = 0
    n_probes: int = 0
    method: str = "given"
    covers: str = ""
    input_shape: tuple[int, ...] | None = None
    dims: tuple[int, ...] | None = None
    factor: Tensor | None = None
    lower: Tensor | None = None
    upper: Tensor | None = None
    tail: float = 0.0
    trace_squared: float | None = None

    def __post_init__(self) -> None:
        values = check_spectrum(self.values, "values").detach()
        if values.ndim != 1 or len(values) == 0:
            raise ValueError(f"values must have shape (k,) with k > 0, got {tuple(values.shape)}")
        parts = {"values": values}
        if self.factor is not None and check_float_tensor(self.factor, "factor").ndim != 2:
            raise ValueError(f"factor must be a matrix (r, D), got shape {tuple(self.factor.shape)}")
        for name in ("stderr", "lower", "upper"):
            part = getattr(self, name)
            if part is not None:
                if check_float_tensor(part, name).shape != values.shape:
                    raise ValueError(f"{name} must have the shape of values, {tuple(values.shape)}")
                parts[name] = part.detach()
        if is_eigen(self.basis) and bool((values.diff() > 0).any()):
            order = values.argsort(descending=True, stable=True)
            # Not the bounds: sorted by a noisy estimate they would be selected, and no bounds any more.
            parts |= {name: parts[name][order] for name in ("values", "stderr") if name in parts}
        for name, part in parts.items():
            object.__setattr__(self, name, part)

    @property
    def effective_rank(self) -> float:
        """exp of the entropy of σ/Σσ (Roy & Vetterli 2007)."""
        return F.effective_rank(singular_values=self.values).item()

    @property
    def normalized_nuclear_norm(self) -> float:
        """Σσ/(Σσ²)^½."""
        return F.normalized_nuclear_norm(singular_values=self.values).item()

    @property
    def participation_ratio(self) -> float:
        """(Σσ)²/Σσ², the square of the normalized nuclear norm."""
        return F.participation_ratio(singular_values=self.values).item()

    @property
    def stable_rank(self) -> float:
        """Σσ²/max σ²."""
        return F.stable_rank(singular_values=self.values).item()

    @property
    def trace(self) -> float:
        """Σσ² with the tail: the trace of M in a complete basis, which is the same in all of them."""
        return float(self.values.double().square().sum()) + self.tail

    def cost(self, p: float) -> float:
        """P_p = Σ σ^p, p > 0.

        With p = 2/L it is the representation cost (over L) of a depth-L linear, diagonal or full-width
        circular convolutional network (Dai, Karzand & Srebro 2021), in the basis that diagonalizes it.
        If ``tail`` is above 0, values are missing and it is a lower bound. Values of at most max(k, D)·eps·σ₁
        are rounding error and count as 0: a small p would magnify them.

        Raises
        ------
        TypeError, ValueError
            If ``p`` is not a finite number above 0.
        """
        p = check_number(p, "p", above=0)
        resolved = torch.where(self.values > self._rounding(), self.values, 0)
        return float(resolved.double().pow(p).sum())

    def _rounding(self) -> Tensor:
        """The size up to which a value is rounding error, as for an SVD: max(k, D)·eps·σ₁."""
        size = math.prod(self.input_shape or (0,)) if self.factor is None else self.factor.shape[1]
        return max(len(self.values), size) * torch.finfo(self.values.dtype).eps * self.values.max()

    def alignment(
        self, basis: str | Tensor | None = None, p: float = 1.0, *, dims: Sequence[int] | None = None
    ) -> float:
        """a_U = P_p,eig(M)/P_p,U(M), in (0, 1] for p < 2: 1 exactly when U diagonalizes M, as all do M = 0.

        Diagonals are majorized by eigenvalues (Schur 1923, Horn 1954), which makes 1 the largest value for
        p < 2 and any complete basis; for p > 2 it is the smallest one, and p = 2 always gives 1.

        Both costs are those of M = factorᵀ factor. A sketch with fewer draws than dimensions has too small a
        rank, and so too small an alignment. Lanczos may find a part of M only, as a warning then says. As in
        :meth:`cost`, rounding counts as 0.

        Parameters
        ----------
        basis : str or Tensor, optional
            U; by default the spectrum's own basis.
        p : float
            Exponent.
        dims : sequence of int, optional
            As for :func:`overt.linalg.make_basis`.

        Raises
        ------
        ValueError
            If ``factor`` is missing, or no basis is named.

        Warns
        -----
        RuntimeWarning
            If a part of M is missing from ``factor``.
        """
        other = self.in_basis(
            self.basis if basis is None else basis, dims=self.dims if basis is None else dims
        )
        if is_eigen(other.basis):
            raise ValueError("basis: the eigenbasis is aligned with itself; name a basis such as 'fourier'")
        if len(other.values) < self._required_factor().shape[1]:
            raise ValueError("basis: the alignment is defined for a complete basis, with D rows")
        # Up to the rounding error of a trace nothing is missing.
        if other.tail > 100 * torch.finfo(self.values.dtype).eps * self.trace:
            warnings.warn(
                f"alignment: {other.tail / self.trace:.2g} of the trace of M is not in this spectrum "
                f"(method={self.method!r}), and the alignment is that of the rest, mostly too low; measure "
                "with method='exact', or with a larger k or memory_budget",
                RuntimeWarning,
                stacklevel=2,
            )
        cost = other.cost(p)
        return self.in_basis("eigen").cost(p) / cost if cost > 0 else 1.0

    def in_basis(self, basis: str | Tensor, *, dims: Sequence[int] | None = None) -> Spectrum:
        """The spectrum of the same M in another basis, from ``factor``; ``tail`` is the trace that it lacks.

        Raises
        ------
        TypeError, ValueError
            If ``factor`` is missing, or as for :func:`overt.linalg.make_basis`.
        """
        factor = self._required_factor()
        plain: dict[str, Any] = dict.fromkeys(("stderr", "lower", "upper", "trace_squared"))
        plain["tail"] = self._missing(factor)
        if is_eigen(basis, dims):
            return replace(self, values=singular_values(factor), basis="eigen", dims=None, covers="", **plain)
        shape = self.input_shape or (factor.shape[1],)
        chosen = make_basis(basis, shape, dims=dims)
        values = chosen.power(factor.reshape(-1, *shape)).sum(0).sqrt().to(factor.dtype)
        return replace(self, values=values, basis=basis, dims=chosen.dims, covers="", **plain)

    def _missing(self, factor: Tensor) -> float:
        """The trace that the factor lacks; not the tail of a sketch, whose factor is not corrected."""
        if not is_eigen(self.basis):
            return self.tail
        return max(0.0, self.trace - float(factor.double().square().sum()))

    def _required_factor(self) -> Tensor:
        if self.factor is None:
            raise ValueError(
                "factor: this spectrum has values only, and another basis needs M; measure with basis='eigen'"
            )
        return self.factor

    def compare(self, inputs: Inputs, *, center: bool = True) -> Comparison:
        """Compare with the power of the data in the same basis; see :func:`overt.measures.compare`."""
        return compare(self, inputs, center=center)

    def plot(self, ax: Any = None, *, label: str | None = None, color: str | None = None) -> Any:
        """Draw the values.

        In the Fourier, DCT and wavelet bases of images they are an image of coefficients on a logarithmic
        scale, root mean square over channels, with frequency 0 in the middle; otherwise a curve with a 95 %
        band, logarithmic for an eigen-spectrum. Zeros are left out of logarithmic axes.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a new figure.
        label, color : str, optional
            Of the curve.

        Returns
        -------
        matplotlib.axes.Axes
        """
        return draw(self, ax, label, color)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file, whole or not at all.

        Parameters
        ----------
        path
            Ends in ``.npz`` (everything) or ``.json`` (readable; without ``factor`` and a basis matrix, which
            are large).

        Raises
        ------
        ValueError
            If the path ends otherwise.
        OSError
            If the file cannot be written; an earlier file is then as it was.
        """
        write(vars(self), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Spectrum:
        """Read what :meth:`save` wrote. Nothing in the file is executed.

        Tensors are on the CPU, in the dtype that they had, half precision as float32.

        Raises
        ------
        ValueError
            If the file is no spectrum, or of a newer format.
        OSError
            If it cannot be read.
        """
        return read(path, cls)

    def __repr__(self) -> str:
        basis = self.basis if isinstance(self.basis, str) else "matrix"
        top = ", ".join(f"{value:.4g}" for value in self.values[:3].tolist())
        more = ", …" if len(self.values) > 3 else ""
        return (
            f"Spectrum([{top}{more}], k={len(self.values)}, basis={basis!r}, method={self.method!r}, "
            f"effective_rank={self.effective_rank:.4g})"
        )

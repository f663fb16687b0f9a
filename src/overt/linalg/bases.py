"""Orthonormal bases of the space of inputs: coefficients of vectors, differentiable, without a matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from overt._utils.checks import check_sizes, is_integer, message
from overt._utils.tensors import compute_dtype


@dataclass(frozen=True, eq=False)
class Basis:
    """An orthonormal basis U of the inputs of one shape; made by :func:`make_basis`.

    Attributes
    ----------
    name : str
        ``"identity"``, ``"fourier"``, ``"dct"``, ``"haar"`` or ``"matrix"``.
    shape : tuple of int
        Shape of one input.
    dims : tuple of int
        The dimensions of ``shape`` that are transformed; the others (channels) are left as they are.
    matrix : Tensor or None
        Basis vectors in rows, shape (k, D), for ``"matrix"``.
    """

    name: str
    shape: tuple[int, ...]
    dims: tuple[int, ...]
    matrix: Tensor | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """Number of coefficients: the number D of entries of an input, or the rows of a given matrix."""
        return math.prod(self.shape) if self.matrix is None else self.matrix.shape[0]

    @property
    def complete(self) -> bool:
        """Whether the basis spans all inputs, so that it keeps norms."""
        return self.size == math.prod(self.shape)

    def analyse(self, v: Tensor) -> Tensor:
        """Coefficients U v.

        Parameters
        ----------
        v : Tensor, shape (..., *shape)
            Half precision is computed in float32.

        Returns
        -------
        Tensor
            Shape (..., *shape), complex for Fourier; (..., k) for a given matrix.

        Raises
        ------
        ValueError
            If the shape of ``v`` does not end in ``shape``.
        """
        n = len(self.shape)
        if v.ndim < n or tuple(v.shape[v.ndim - n :]) != self.shape:
            raise ValueError(f"v must have a shape that ends in {self.shape}, got {tuple(v.shape)}")
        v = v.to(compute_dtype(v.dtype))
        if self.name == "matrix":
            assert self.matrix is not None
            flat = v.reshape(*v.shape[: v.ndim - n], -1)
            matrix = self.matrix.to(device=v.device, dtype=torch.promote_types(v.dtype, self.matrix.dtype))
            return flat.to(matrix.dtype) @ matrix.mT
        return _TRANSFORMS[self.name](v, [dim - n for dim in self.dims])

    def power(self, v: Tensor) -> Tensor:
        """Squared moduli |U v|² of the coefficients, flattened in basis order, shape (..., size)."""
        c = self.analyse(v)
        squares = c.real.square() + c.imag.square() if c.is_complex() else c.square()
        lead = v.shape[: v.ndim - len(self.shape)]
        return squares.reshape(*lead, self.size)


def is_eigen(basis: object, dims: object = None) -> bool:
    """Whether ``basis`` is the word for the eigenbasis of M; ValueError if ``dims`` is given with it."""
    eigen = isinstance(basis, str) and basis == "eigen"
    if eigen and dims is not None:
        raise ValueError("dims: the eigenbasis has no dimensions to choose; leave dims out")
    return eigen


def make_basis(
    basis: str | Tensor | Basis, shape: Sequence[int], *, dims: Sequence[int] | None = None
) -> Basis:
    """An orthonormal basis of inputs of a given shape.

    Parameters
    ----------
    basis : str, Tensor or Basis
        - ``"identity"``: the entries of the input themselves;
        - ``"fourier"``: the orthonormal discrete Fourier transform. All D coefficients are kept, also the
          conjugate half of a real input, so that the basis is orthonormal;
        - ``"dct"``: the orthonormal DCT-II (Ahmed, Natarajan & Rao 1974), the Fourier basis of an input
          mirrored at its ends, so without a jump from one end to the other;
        - ``"haar"``: the orthonormal Haar wavelets over all scales (Mallat 1989), coarse first; sizes must be
          powers of two;
        - a real or complex matrix with orthonormal rows, shape (k, D), k ≤ D;
        - a :class:`Basis`, which is checked against the shape.
    shape : sequence of int
        Shape of one input, without the batch.
    dims : sequence of int, optional
        Which dimensions of ``shape`` are transformed. By default the last two, or the only one. For a signal
        with channels, shape (channels, length), pass ``dims=[1]``; for a sequence of embeddings, shape
        (tokens, width), ``dims=[0]``.

    Returns
    -------
    Basis

    Raises
    ------
    TypeError, ValueError
        Unknown name, a matrix whose rows are not orthonormal or do not fit the shape, sizes that are no
        powers of two for Haar, wrong ``dims``.

    Examples
    --------
    >>> import torch
    >>> from overt.linalg import make_basis
    >>> make_basis("fourier", (4,)).power(torch.ones(4))
    tensor([4., 0., 0., 0.])
    """
    shape = check_sizes(shape, "shape")
    if isinstance(basis, Basis):
        if basis.shape != shape:
            raise ValueError(f"basis must be made for inputs of shape {shape}, got one for {basis.shape}")
        return basis
    if isinstance(basis, Tensor):
        if dims is not None:
            raise ValueError("dims: a matrix is applied to the flattened input; leave dims out")
        return Basis("matrix", shape, (), _orthonormal_rows(basis, math.prod(shape)))
    if not isinstance(basis, str):
        raise TypeError(message("basis", "a name, a matrix as a torch.Tensor or a Basis", basis))
    if basis not in BASES:
        names = ", ".join(map(repr, BASES))
        raise ValueError(message("basis", f"{names} or, for measures and penalties, 'eigen'", basis))
    chosen = _dims(shape, dims)
    if basis == "haar" and any(shape[d] & (shape[d] - 1) for d in chosen):
        raise ValueError(
            f"basis: 'haar' needs sizes that are powers of two, got {shape}; crop or pad the input, take "
            "'dct', or choose other dimensions with dims"
        )
    return Basis(basis, shape, chosen)


def _dims(shape: tuple[int, ...], dims: Sequence[int] | None) -> tuple[int, ...]:
    if dims is None:
        return tuple(range(max(0, len(shape) - 2), len(shape)))
    if not isinstance(dims, Sequence) or not all(map(is_integer, dims)):
        raise TypeError(message("dims", "a sequence of dimensions of an input such as [1]", dims))
    chosen = sorted({int(d) + (len(shape) if d < 0 else 0) for d in dims})
    if not chosen or len(chosen) != len(dims) or chosen[0] < 0 or chosen[-1] >= len(shape):
        raise ValueError(message("dims", f"distinct dimensions of an input of shape {shape}", tuple(dims)))
    return tuple(chosen)


def _orthonormal_rows(matrix: Tensor, size: int) -> Tensor:
    if not (matrix.is_floating_point() or matrix.is_complex()) or matrix.layout != torch.strided:
        raise TypeError(
            f"basis must be a dense real or complex floating matrix, got {matrix.dtype}, {matrix.layout}"
        )
    if matrix.ndim != 2 or matrix.shape[1] != size or not 1 <= matrix.shape[0] <= size:
        raise ValueError(
            f"basis must hold basis vectors in rows, shape (k, {size}) with k ≤ {size}, got "
            f"{tuple(matrix.shape)}"
        )
    matrix = matrix.detach()
    wide = matrix.to(torch.complex128 if matrix.is_complex() else torch.float64)
    error = (wide @ wide.mH - torch.eye(len(wide), dtype=wide.dtype, device=wide.device)).abs().max().item()
    tolerance = math.sqrt(torch.finfo(matrix.dtype).eps)
    if not error <= tolerance:
        raise ValueError(
            f"basis: its rows are not orthonormal, |U U* − I| reaches {error:.2g}; take the Q factor of the "
            "transpose, overt.linalg.orthonormal_basis(matrix.mT).mT"
        )
    return matrix


def _fourier(v: Tensor, dims: list[int]) -> Tensor:
    transformed: Tensor = torch.fft.fftn(v, dim=dims, norm="ortho")
    return transformed


def _dct(v: Tensor, dims: list[int]) -> Tensor:
    """Orthonormal DCT-II by one FFT of the entries in the order 0, 2, 4, …, 5, 3, 1 (Makhoul 1980)."""
    for dim in dims:
        x = v.movedim(dim, -1)
        n = x.shape[-1]
        spectrum = torch.fft.fft(torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], -1), norm="ortho")
        k = torch.arange(n, dtype=v.dtype, device=v.device) * (math.pi / (2 * n))
        weight = torch.full_like(k, math.sqrt(2.0))
        weight[0] = 1.0
        v = ((spectrum.real * k.cos() + spectrum.imag * k.sin()) * weight).movedim(-1, dim)
    return v


def _haar(v: Tensor, dims: list[int]) -> Tensor:
    active = [dim for dim in dims if v.shape[dim] > 1]
    if not active:
        return v
    for dim in active:
        even, odd = _pairs(v, dim)
        v = torch.cat([even + odd, even - odd], dim) * math.sqrt(0.5)
    corner = [slice(None)] * v.ndim
    for dim in active:
        corner[dim] = slice(0, v.shape[dim] // 2)
    coarse = _haar(v[tuple(corner)], dims)
    v = v.clone()
    v[tuple(corner)] = coarse
    return v


def _pairs(v: Tensor, dim: int) -> tuple[Tensor, ...]:
    shape = list(v.shape)
    shape[dim : dim + 1 or None] = [shape[dim] // 2, 2]
    return v.reshape(shape).unbind(v.ndim + dim + 1)


_TRANSFORMS: dict[str, Callable[[Tensor, list[int]], Tensor]] = {
    "identity": lambda v, _: v,
    "fourier": _fourier,
    "dct": _dct,
    "haar": _haar,
}
BASES = tuple(_TRANSFORMS)

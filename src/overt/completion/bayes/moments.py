"""Gaussian posteriors of the coordinates of lines, with full covariances, from sums over the entries.

For line i with observed entries j the model is ``y_ij = c_j + x_i · z̃_j + ε`` with ``z̃_j = [q_j, 1]`` and
``ε ~ N(0, 1/(τ γ_i w_j))``. The posterior of ``x_i`` has precision ``P = Λ + τ γ_i G_i`` and mean
``P⁻¹ (Λ μ + τ γ_i r_i)``, where ``G_i = Σ_j w_j E[z̃_j z̃_jᵀ]`` and ``r_i = Σ_j w_j E[z̃_j (y_ij − c_j)]``. The
expected misfit is ``Σ_j w_j E[(y_ij − c_j)²] − 2 E[x_i] · r_i + tr(E[x_i x_iᵀ] G_i)``, without another pass
over the entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from overt.completion.bayes.lines import Lines

Array = NDArray[Any]
_DENSE = 0.1  # share of entries observed from which the pattern is kept as a dense matrix
_NUMBERS = 1 << 23  # floats in the covariances that are unpacked at a time


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Independent Gaussians ``N(mean_i, C_i)`` of the coordinates of lines.

    ``mean`` (lines, d); ``cov`` (lines, d (d + 1)/2), the upper triangles row by row; ``log_det`` is the sum
    of ``ln |C_i|``.
    """

    mean: Tensor
    cov: Tensor
    log_det: float

    @property
    def count(self) -> int:
        """Number of lines."""
        return self.mean.shape[0]

    def second(self) -> Tensor:
        """``E[x_i x_iᵀ]``, packed like the covariances."""
        upper = _upper(self.mean)
        return self.cov + self.mean[:, upper[0]] * self.mean[:, upper[1]]

    def scatter(self, centre: Tensor) -> Tensor:
        """``Σ_i E[(x_i − centre)(x_i − centre)ᵀ]``, shape (d, d), in double precision."""
        apart = self.mean.double() - centre
        return (
            _unpacked(self.cov.sum(0, keepdim=True, dtype=torch.float64), apart.shape[1])[0]
            + apart.mT @ apart
        )

    def moved(self, matrix: Tensor, shift: Tensor) -> Gaussians:
        """The Gaussians of ``matrix x_i + shift``."""
        d, upper = self.mean.shape[1], _upper(self.mean)
        map_, cov = matrix.to(self.mean.dtype), torch.empty_like(self.cov)
        for part in chunks(self.count, d):
            cov[part] = (map_ @ _unpacked(self.cov[part], d) @ map_.mT)[:, upper[0], upper[1]]
        change = 2 * float(torch.linalg.slogdet(matrix).logabsdet)
        return Gaussians(self.mean @ map_.mT + shift.to(map_.dtype), cov, self.log_det + self.count * change)

    def marginal(self, kept: Tensor) -> Gaussians:
        """The Gaussians of the coordinates ``kept`` (positions)."""
        d = self.mean.shape[1]
        upper = _upper(self.mean[:, kept])
        cov, log_det = self.cov.new_empty(self.count, upper.shape[1]), 0.0
        for part in chunks(self.count, d):
            C = _unpacked(self.cov[part], d)[:, kept[:, None], kept]
            cov[part] = C[:, upper[0], upper[1]]
            log_det += _log_det(torch.linalg.cholesky_ex(C)[0])
        return Gaussians(self.mean[:, kept], cov, log_det)

    def samples(self, count: int, random: np.random.Generator) -> Array:
        """Draws, shape (count, lines, d), in single precision."""
        d = self.mean.shape[1]
        out = np.empty((count, self.count, d), np.float32)
        for part in chunks(self.count, d * max(1, count // d)):
            L = torch.linalg.cholesky_ex(_unpacked(self.cov[part], d))[0].float().cpu()
            normal = random.standard_normal((*L.shape[:2], count), dtype=np.float32)
            drawn = L @ torch.as_tensor(normal) + self.mean[part, :, None].float().cpu()
            out[:, part] = drawn.permute(2, 0, 1).numpy()
        return out


@dataclass(frozen=True, eq=False)
class Sums:
    """``G_i`` packed (lines, d (d + 1)/2), ``r_i`` (lines, d) and ``Σ_j w_j E[(y − c)²]`` (lines,)."""

    gram: Tensor
    right: Tensor
    square: Tensor

    def posterior(self, weight: Tensor, precision: Tensor, centre: Tensor) -> Gaussians:
        """Posteriors where entries weigh ``weight`` (lines,) and the prior is ``N(centre, precision⁻¹)``."""
        lines, d = self.right.shape
        upper, prior = _upper(self.right), precision.to(self.right.dtype)
        pull = weight[:, None] * self.right + (precision @ centre).to(prior.dtype)
        mean, cov, log_det = torch.empty_like(self.right), torch.empty_like(self.gram), 0.0
        for part in chunks(lines, d):
            P = _unpacked(self.gram[part] * weight[part, None], d) + prior
            L = torch.linalg.cholesky_ex(P)[0]
            mean[part] = torch.cholesky_solve(pull[part, :, None], L)[..., 0]
            cov[part] = torch.cholesky_inverse(L)[:, upper[0], upper[1]]
            log_det -= _log_det(L)
        return Gaussians(mean, cov, log_det)

    def misfit(self, own: Gaussians) -> Array:
        """Expected weighted square misfit of each line (lines,), in double precision."""
        upper = _upper(own.mean)
        twice = torch.where(upper[0] == upper[1], 1.0, 2.0).to(self.gram.dtype)
        quadratic = (own.second() * self.gram) @ twice
        found: Array = (self.square - 2 * (own.mean * self.right).sum(1) + quadratic).double().cpu().numpy()
        return np.maximum(found, 0)


class Entries:
    """Sums over the entries of each line.

    Products with the pattern, the values and their squares: sparse by SciPy, by torch on a GPU, dense where
    much is observed.
    """

    def __init__(self, lines: Lines, dtype: torch.dtype, device: torch.device) -> None:
        shape = (lines.count, lines.across)
        dense = lines.y.size > _DENSE * shape[0] * shape[1]
        y = torch.as_tensor(lines.y, dtype=dtype)

        def pattern(values: Tensor) -> Any:
            if device.type == "cpu" and not dense:
                return sparse.csr_matrix((values.numpy(), lines.other, lines.start), shape)
            where = torch.as_tensor(np.stack([lines.own, lines.other])).to(device)
            matrix = torch.sparse_coo_tensor(
                where, values.to(device), shape, is_coalesced=True, check_invariants=False
            )
            return matrix.to_dense() if dense else matrix

        self._patterns = [pattern(values) for values in (torch.ones_like(y), y, y.square())]
        self.sizes = lines.sizes

    def sums(self, across: Gaussians, weight: Tensor) -> Sums:
        """Sums over the lines across, with their moments, an entry weighing ``weight`` (across,)."""
        mean, second = across.mean, across.second()
        d = mean.shape[1]
        last = _upper(mean)[1] == d - 1  # E[q c] and E[c²]
        with_c = second[:, last]
        second[:, last] = torch.cat([mean[:, :-1], torch.ones_like(mean[:, -1:])], 1)
        w, flat = weight[:, None], second.shape[1]
        seen, first, squares = (
            _product(matrix, w * part)
            for matrix, part in zip(
                self._patterns,
                (
                    torch.cat([second, with_c[:, :-1], mean[:, -1:], with_c[:, -1:]], 1),
                    torch.cat([second[:, last], mean[:, -1:]], 1),
                    torch.ones_like(w),
                ),
                strict=True,
            )
        )
        right = first[:, :-1] - seen[:, flat:-1]
        return Sums(seen[:, :flat], right, (squares - 2 * first[:, -1:] + seen[:, -1:])[:, 0])


def chunks(lines: int, d: int) -> Iterator[slice]:
    """Slices of lines whose (d, d) covariances are unpacked at a time."""
    step = max(1, _NUMBERS // (d * d))
    for start in range(0, lines, step):
        yield slice(start, start + step)


def _product(matrix: Any, dense: Tensor) -> Tensor:
    if isinstance(matrix, Tensor):
        return matrix @ dense
    return torch.as_tensor(matrix @ dense.numpy())


def _upper(like: Tensor) -> Tensor:
    d = like.shape[1]
    return torch.triu_indices(d, d, device=like.device)


def _unpacked(flat: Tensor, d: int) -> Tensor:
    """Symmetric matrices (lines, d, d) from their upper triangles."""
    full = flat.new_empty(flat.shape[0], d, d)
    upper = torch.triu_indices(d, d, device=flat.device)
    full[:, upper[0], upper[1]] = flat
    full[:, upper[1], upper[0]] = flat
    return full


def _log_det(factors: Tensor) -> float:
    """Sum of the log-determinants of ``L Lᵀ``."""
    return 2 * float(factors.diagonal(dim1=1, dim2=2).log().sum(dtype=torch.float64))

"""Half a sweep: the Gaussian of each line's coordinates, given the lines that it crosses.

For line i with observed entries j the model is ``y_ij = shift_j + x_i · z_j + ε``, ``ε ~ N(0, 1/(τ γ_i
w_j))``, with prior ``x_i ~ N(μ_i, Λ⁻¹)``. The posterior has precision ``Λ + τ γ_i Σ_j w_j z_j z_jᵀ``. Drawn
are one sample and the mean; ``Σ_j w_j (y_ij − shift_j − x_i · z_j)²`` at the sample comes with them, since
all three follow from the Gram matrix of ``√w_j [z_j, y_ij − shift_j]``.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from overt.completion.bayes.lines import Lines

Array = NDArray[Any]
_THREADED = 200_000  # entries from which a half sweep is shared between threads
_PIECES = 8  # pieces of a half sweep for each thread


@dataclass(frozen=True, eq=False)
class Given:
    """What a half sweep is given: the lines across, the noise and the prior.

    ``design`` (across, d) holds √w z, ``shift`` and ``root`` (across,) the offsets and √w; ``precision`` is
    τ, ``own`` (lines,) are γ; ``prior`` (d, d) is Λ, ``centres`` (1 or lines, d) are μ.
    """

    design: Array
    shift: Array
    root: Array
    precision: float
    own: Array
    prior: Array
    centres: Array


@dataclass(frozen=True, eq=False)
class Drawn:
    """Sample and mean of the coordinates (lines, d); weighted square misfit (lines,) at the sample."""

    sample: Array
    mean: Array
    misfit: Array


class HalfSweep(Protocol):
    """Draws the coordinates of all lines of one side."""

    dtype: Any

    def __call__(self, given: Given, normals: Array) -> Drawn:
        """``normals`` (lines, d) are standard normal numbers."""


class Compiled:
    """By numba; memory linear in the entries."""

    def __init__(self, lines: Lines, dtype: Any = np.float32) -> None:
        self._lines, self.dtype = lines, dtype
        self._y = lines.y.astype(dtype, copy=False)
        pieces = 1
        if lines.y.size >= _THREADED:
            self._threads = min(torch.get_num_threads(), os.cpu_count() or 1)
            pieces = _PIECES * self._threads if self._threads > 1 else 1
        bounds = np.searchsorted(lines.start, np.linspace(0, lines.y.size, pieces + 1)[1:-1])
        edges = np.unique(np.r_[0, bounds, lines.count])
        self._pieces = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))

    def __call__(self, given: Given, normals: Array) -> Drawn:
        from overt.completion.bayes.compiled import draw_lines

        lines, shape = self._lines, normals.shape
        drawn = Drawn(
            np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape[0], np.float32)
        )
        parts = (
            given.design,
            given.shift,
            given.root,
            given.precision,
            given.own,
            given.prior,
            given.centres,
        )
        arguments = [np.asarray(part, self.dtype, order="C") for part in (*parts, normals)]
        arguments[3] = self.dtype(given.precision)

        def draw(piece: tuple[int, int]) -> None:
            found = (drawn.sample, drawn.mean, drawn.misfit)
            kernel: Any = draw_lines
            kernel(*piece, lines.start, lines.other, self._y, *arguments, *found)

        if len(self._pieces) == 1:
            draw(self._pieces[0])
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(draw, self._pieces))
        return drawn


class Batched:
    """By torch: products with the pattern of the entries, then batched Cholesky factorizations.

    Dense and in double precision on small matrices, sparse and in single precision on a GPU.
    """

    def __init__(self, lines: Lines, device: torch.device | str | None = None) -> None:
        self._device = torch.device(device or "cpu")
        on_cpu = self._device.type == "cpu"
        self._type = torch.float64 if on_cpu else torch.float32
        self.dtype = np.float64 if on_cpu else np.float32
        y = torch.as_tensor(lines.y).to(self._device, self._type)
        where = torch.as_tensor(np.stack([lines.own, lines.other]))
        shape = (lines.count, lines.across)

        def pattern(values: Tensor) -> Tensor:
            matrix = torch.sparse_coo_tensor(
                where.to(self._device), values, shape, is_coalesced=True, check_invariants=False
            )
            return matrix.to_dense() if on_cpu else matrix.to_sparse_csr()

        self._patterns = [pattern(values) for values in (torch.ones_like(y), y, y.square())]

    def __call__(self, given: Given, normals: Array) -> Drawn:
        seen, first, second = self._patterns

        def load(values: Array) -> Tensor:
            return torch.as_tensor(values).to(self._device, self._type)

        Z, shift, root = load(given.design), load(given.shift), load(given.root)
        prior, z = load(given.prior), load(normals)
        d = Z.shape[1]
        weight = (load(given.own) * given.precision)[:, None]
        upper = torch.triu_indices(d, d, device=self._device)
        sums = seen @ torch.cat([Z[:, upper[0]] * Z[:, upper[1]], Z * (root * shift)[:, None]], 1)
        flat, right = sums[:, : upper.shape[1]], first @ (Z * root[:, None]) - sums[:, upper.shape[1] :]
        gram = flat.new_empty(flat.shape[0], d, d)
        gram[:, upper[0], upper[1]] = flat
        gram[:, upper[1], upper[0]] = flat
        square = root.square()
        parts = torch.stack([square, square * shift, square * shift.square()], 1)
        spread = (second @ parts[:, :1] - 2 * (first @ parts[:, 1:2]) + seen @ parts[:, 2:])[:, 0]
        L = torch.linalg.cholesky_ex(weight[..., None] * gram + prior)[0]
        pull = weight * right + load(given.centres) @ prior
        half = torch.linalg.solve_triangular(L, pull[..., None], upper=False)
        both = torch.linalg.solve_triangular(L.mT, torch.cat([half, half + z[..., None]], 2), upper=True)
        mean, sample = both[..., 0], both[..., 1]
        moved = (gram @ sample[..., None])[..., 0]
        misfit = (spread + (sample * (moved - 2 * right)).sum(1)).clamp_min(0)
        return Drawn(*(part.cpu().numpy() for part in (sample, mean, misfit)))

"""M as an operator: u ↦ mean over inputs of Jᵀ(J u), without forming any Jacobian."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from overt._utils.seeds import normal
from overt.linalg import block_lanczos
from overt.networks.jacobian import jacobian_vector, require_finite_rows, vector_jacobian
from overt.networks.passes import Passes, verify_adjoint
from overt.networks.probes import draw_signs

_BLOCK = 4


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Attention by plain matrix products: its fused kernels have first derivatives only."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def lanczos_eigen(passes: Passes, k: int, tolerance: float, seed: int) -> dict[str, Any]:
    """The k leading singular values of the stacked Jacobians over √n, by block Lanczos iteration."""
    size = passes.input_size
    k = min(k, size)
    dtype = torch.float64 if passes.dtype == torch.float64 else torch.float32
    generator = torch.Generator().manual_seed(seed)
    start = normal(min(_BLOCK, size), size, generator=generator)

    x, y, rows = next(iter(passes))
    u = normal(*x.shape, generator=generator).to(x)
    verify_adjoint(rows, x, u, draw_signs(y, generator))

    def apply(directions: Tensor) -> Tensor:
        total = torch.zeros_like(directions)
        for x, y, rows in passes:
            for i, direction in enumerate(directions):
                u = direction.to(x.dtype).reshape(1, *passes.shape).expand_as(x).contiguous()
                image = vector_jacobian(y, x, jacobian_vector(rows, x, u).to(y.dtype))
                require_finite_rows(image)
                total[i] += image.to(dtype).sum(0).flatten()
        return total / passes.count

    found = block_lanczos(apply, start.to(device=passes.device, dtype=dtype), k, tolerance=tolerance)
    if not found.converged:
        warnings.warn(
            f"lanczos: after {found.applications} products residuals reach "
            f"{float(found.residuals.max()):.2g}, above tolerance × the largest eigenvalue; ask for fewer "
            f"values than k={k}, or accept a larger tolerance",
            RuntimeWarning,
            stacklevel=3,
        )
    values = found.values.clamp_min(0).sqrt()
    tail = 0.0 if k == size else _tail(passes, found.vectors, generator)
    return {
        "values": values,
        "factor": values[:, None] * found.vectors,
        "lower": values,
        # An eigenvalue lies within the residual of each Ritz value.
        "upper": (found.values.clamp_min(0) + found.residuals).sqrt(),
        "tail": tail,
        "n_samples": passes.count,
    }


def _tail(passes: Passes, vectors: Tensor, generator: torch.Generator) -> float:
    """Unbiased estimate of the trace of M outside the span of orthonormal rows, from projected draws Jᵀr."""
    total = 0.0
    for x, y, _ in passes:
        v = vector_jacobian(y, x, draw_signs(y, generator)).flatten(1).to(vectors.dtype)
        total += float((v - v @ vectors.mT @ vectors).double().square().sum())
    return total / passes.count

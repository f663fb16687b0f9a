"""Leading singular triplets of a low-rank plus sparse matrix, by warm-started subspace iteration."""

from __future__ import annotations

import torch
from torch import Tensor

from overt.completion.tangent.entries import Entries
from overt.linalg import orthonormal_basis, qr, svd

_PASSES = 4
_OVERSAMPLE = 10


def leading_triplets(
    entries: Entries,
    L: Tensor,
    R: Tensor,
    z: Tensor,
    keep: int,
    *,
    start: Tensor | None = None,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """The ``keep`` leading singular triplets of ``L Rᵀ + P*(z)``.

    Subspace iteration from a random block and the previous directions (Halko, Martinsson & Tropp 2011,
    algorithm 4.4).

    Parameters
    ----------
    entries : Entries
        Pattern Ω of the sparse part.
    L, R : Tensor, shapes (m, p) and (n, p)
    z : Tensor, shape (k,)
        Values of the sparse part.
    keep : int
    start : Tensor, shape (n, q), optional
        Right directions expected to be near the leading ones; random directions are added.
    seed : int

    Returns
    -------
    U, s, Vt : Tensor
        Shapes (m, keep), (keep,), (keep, n); approximate towards the end of the spectrum.
    """
    m, n = entries.shape
    width = min(m, n, keep + _OVERSAMPLE)
    generator = torch.Generator().manual_seed(seed)
    Q = torch.randn(n, width, generator=generator, dtype=torch.float64).to(z)
    if start is not None:
        Q = torch.cat([start, Q[:, : max(_OVERSAMPLE, width - start.shape[1])]], 1)[:, :width]
    for _ in range(_PASSES):
        left = orthonormal_basis(L @ (R.mT @ Q) + entries.times(z, Q))
        product = R @ (L.mT @ left) + entries.times_t(z, left)
        Q, core = qr(product)
    u, s, vt = svd(core.mT)
    return (left @ u)[:, :keep], s[:keep], (Q @ vt.mT).mT[:keep]

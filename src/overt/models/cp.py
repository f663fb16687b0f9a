"""Tensors as sums of rank-one terms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from overt._utils.checks import check_integer, check_sizes
from overt._utils.seeds import generator_from, normal
from overt.models.base import check_scale, parameters_of


class CPTensor(nn.Module):
    """Tensor T = Σ_r a_r^(1) ⊗ … ⊗ a_r^(N), a CP factorization with R components.

    Every tensor has this form for a large enough R; how many components training uses is left to its implicit
    bias (Razin & Cohen 2020, "Implicit regularization in deep learning may not be explainable by norms").

    Parameters
    ----------
    shape
        (n_1, …, n_N) with N ≥ 2.
    components
        Number R of rank-one terms.
    scale
        Standard deviation of each entry of T at the start: all factors have independent normal entries with
        the standard deviation (scale / √R)^{1/N}.
    seed, generator, dtype, device
        As for `DeepLinear`.

    Attributes
    ----------
    weights : torch.nn.ParameterList
        The factor matrices A^(1), …, A^(N), A^(j) of shape (n_j, R).

    Raises
    ------
    TypeError, ValueError
        Fewer than two sizes, a size or `components` that is not a positive int, a `scale` that is not a
        finite positive number or that `dtype` cannot hold, both `seed` and `generator`.

    Examples
    --------
    >>> import torch
    >>> from overt.models.cp import CPTensor
    >>> model = CPTensor((3, 4, 5), components=2, scale=0.1, seed=0)
    >>> a, b, c = model.weights
    >>> torch.allclose(model.product(), torch.einsum("ir,jr,kr->ijk", a, b, c))
    True
    """

    def __init__(
        self,
        shape: Sequence[int],
        components: int,
        scale: float = 1e-3,
        *,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.shape = check_sizes(shape, "shape", shortest=2)
        self.components = check_integer(components, "components", least=1)
        self.scale = check_scale(scale)
        source = generator_from(seed, generator)
        log_std = (math.log(self.scale) - 0.5 * math.log(self.components)) / self.order
        factors = [math.exp(log_std) * normal(n, self.components, generator=source) for n in self.shape]
        self.weights = parameters_of(factors, self.scale, dtype, device)

    @property
    def order(self) -> int:
        """Number N of modes."""
        return len(self.shape)

    def product(self) -> Tensor:
        """The tensor T, shape (n_1, …, n_N)."""
        weights: list[Tensor] = list(self.weights)
        # One matrix product of two halves: a contraction over all modes at once would form n_1 ⋯ n_N · R.
        half = self.order // 2
        left, right = (_khatri_rao(part) for part in (weights[:half], weights[half:]))
        return (left @ right.mT).view(self.shape)

    def component_norms(self) -> Tensor:
        """Frobenius norm of each rank-one term, shape (R,), in the order of the columns."""
        norms = torch.stack([torch.linalg.vector_norm(w, dim=0) for w in self.weights])
        return norms.prod(0)

    def extra_repr(self) -> str:
        return f"shape={self.shape}, components={self.components}, scale={self.scale:g}"


def _khatri_rao(factors: Sequence[Tensor]) -> Tensor:
    """Column-wise Kronecker product, rows in the order of a tensor that is read row by row."""
    result = factors[0]
    for factor in factors[1:]:
        result = (result[:, None, :] * factor[None, :, :]).reshape(-1, factor.shape[1])
    return result

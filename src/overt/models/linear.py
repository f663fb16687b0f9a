"""Deep linear networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from overt._utils.checks import check_choice, check_sizes
from overt._utils.seeds import generator_from, normal
from overt.linalg import svd
from overt.linalg.decompositions import random_orthonormal
from overt.models.base import check_scale, parameters_of

LinearInit = Literal["gaussian", "orthogonal", "identity", "balanced"]


class DeepLinear(nn.Module):
    """Deep linear network x ↦ W_N … W_1 x without biases.

    Parameters
    ----------
    sizes
        Widths (n_0, n_1, …, n_N) from input to output: layer j is a matrix W_j of shape (n_j, n_{j-1}), so
        the depth N is ``len(sizes) - 1`` and the product has shape (n_N, n_0).
    init
        How the layers start, with the effect on the end-to-end product W = W_N … W_1:

        - ``"gaussian"``: all layers have independent normal entries of one common standard deviation
          (scale / √(n_1 … n_{N-1}))^{1/N}; each entry of W then has mean 0 and standard deviation `scale`,
          that is E‖W‖_F² = scale² n_N n_0.
        - ``"orthogonal"``: W_j = scale^{1/N} Q_j E_j Q_{j-1}ᵀ with Haar orthogonal Q and E_j the rectangular
          identity. W is `scale` times a partial isometry of rank min(sizes); with equal widths the layers
          are independent.
        - ``"identity"``: the same with Q = I, hence W_j = scale^{1/N} E_j; nothing is random.
        - ``"balanced"``: W is drawn first, with entries of standard deviation `scale`, and W = UΣVᵀ is
          spread over the layers as W_1 = Σ^{1/N}Vᵀ, W_j = Σ^{1/N}, W_N = UΣ^{1/N}, padded with zeros (Arora,
          Cohen, Golowich & Hu 2019, "A convergence analysis of gradient descent for deep linear neural
          networks", Procedure 1), so that W_{j+1}ᵀ W_{j+1} = W_j W_jᵀ. Where a hidden layer is narrower than
          both ends, W is a product of two Gaussian factors of that inner width instead of a Gaussian matrix.
    scale
        End-to-end scale, see `init`. Finite and positive.
    seed, generator
        Source of randomness: an integer seed or a CPU ``torch.Generator``; torch's default generator if
        neither is given. Draws do not depend on dtype or device.
    dtype, device
        Of the parameters; torch's defaults where not given.

    Attributes
    ----------
    weights : torch.nn.ParameterList
        W_1, …, W_N.

    Raises
    ------
    TypeError, ValueError
        Fewer than two sizes, a size that is not a positive int, an unknown `init`, a `scale` that is not a
        finite positive number or that `dtype` cannot hold, both `seed` and `generator`, a `dtype` that is not
        real floating.

    Examples
    --------
    >>> import torch
    >>> from overt.models import DeepLinear
    >>> model = DeepLinear((5, 7, 3), init="balanced", scale=1e-2, seed=0, dtype=torch.float64)
    >>> model.product().shape, model.depth
    (torch.Size([3, 5]), 2)
    >>> first, second = model.weights
    >>> torch.allclose(second.T @ second, first @ first.T, atol=1e-14)
    True
    """

    def __init__(
        self,
        sizes: Sequence[int],
        init: LinearInit = "gaussian",
        scale: float = 1e-3,
        *,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.sizes = check_sizes(sizes, "sizes", shortest=2, remedy="give the widths (n_in, …, n_out)")
        self.init = check_choice(init, "init", LinearInit)
        self.scale = check_scale(scale)
        layers = _INITS[self.init](self.sizes, self.scale, generator_from(seed, generator))
        self.weights = parameters_of(layers, self.scale, dtype, device)

    @property
    def depth(self) -> int:
        """Number N of layers."""
        return len(self.sizes) - 1

    def product(self) -> Tensor:
        """End-to-end matrix W_N … W_1 of shape (n_N, n_0)."""
        weights: list[Tensor] = list(self.weights)
        if len(weights) == 1:
            return weights[0]
        # multi_dot picks the cheapest order, which matters as soon as the widths differ.
        product: Tensor = torch.linalg.multi_dot(weights[::-1])
        return product

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network to x of shape (..., n_0), giving (..., n_N): x Wᵀ."""
        for weight in self.weights:
            x = x @ weight.mT
        return x

    def extra_repr(self) -> str:
        return f"sizes={self.sizes}, init={self.init!r}, scale={self.scale:g}"


def _pairs(sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """Shapes (n_j, n_{j-1}) of the layers."""
    return list(zip(sizes[1:], sizes[:-1], strict=True))


def _gaussian(sizes: tuple[int, ...], scale: float, generator: torch.Generator | None) -> list[Tensor]:
    depth = len(sizes) - 1
    # In logarithms, because the product of many widths would overflow.
    log_std = (math.log(scale) - 0.5 * sum(math.log(n) for n in sizes[1:-1])) / depth
    return [math.exp(log_std) * normal(out, in_, generator=generator) for out, in_ in _pairs(sizes)]


def _identity(sizes: tuple[int, ...], scale: float, generator: torch.Generator | None) -> list[Tensor]:
    del generator  # nothing is random here
    root = scale ** (1 / (len(sizes) - 1))
    return [root * torch.eye(out, in_, dtype=torch.float64) for out, in_ in _pairs(sizes)]


def _orthogonal(sizes: tuple[int, ...], scale: float, generator: torch.Generator | None) -> list[Tensor]:
    # Independent semi-orthogonal layers would not do: their product is no partial isometry once a hidden
    # layer is wider than its neighbours. Sharing Q_j between layers j and j+1 makes it one for all widths.
    bases = [random_orthonormal(n, n, generator=generator) for n in sizes]
    layers = _identity(sizes, scale, None)
    return [bases[j + 1] @ layer @ bases[j].mT for j, layer in enumerate(layers)]


def _balanced(sizes: tuple[int, ...], scale: float, generator: torch.Generator | None) -> list[Tensor]:
    depth, rank = len(sizes) - 1, min(sizes)
    n_in, n_out = sizes[0], sizes[-1]
    if rank == min(n_in, n_out):
        target = scale * normal(n_out, n_in, generator=generator)
    else:
        left, right = normal(n_out, rank, generator=generator), normal(rank, n_in, generator=generator)
        target = (scale / math.sqrt(rank)) * left @ right
    u, s, vh = svd(target)
    root = s[:rank] ** (1 / depth)
    if depth == 1:
        return [target]
    layers = [torch.zeros(shape, dtype=torch.float64) for shape in _pairs(sizes)]
    layers[0][:rank] = root[:, None] * vh[:rank]
    layers[-1][:, :rank] = u[:, :rank] * root
    for layer in layers[1:-1]:
        layer[:rank, :rank] = torch.diag(root)
    return layers


_INITS = {"gaussian": _gaussian, "orthogonal": _orthogonal, "identity": _identity, "balanced": _balanced}

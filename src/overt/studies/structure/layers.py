"""Networks trained until their gradient vanishes, weight decay included, and what their first layer is like.

Weight decay is (λ/2) Σ‖W_l‖² in the loss, over weights and not over biases, and every step is over all rows:
only so is the end a stationary point of a known objective, which theorems are about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from overt._utils.seeds import normal, seeded
from overt.linalg import eigh
from overt.models import DeepLinear
from overt.studies.shared.redrawn import redrawn

__all__ = [
    "EXPONENTS",
    "Data",
    "compared",
    "compared_linear",
    "correlation",
    "descend",
    "explained",
    "explained_by_gradients",
    "exponent",
    "linear_data",
    "make_network",
    "moment",
    "power",
    "rare_data",
    "reweighted_step",
    "weights_of_layers",
]

EXPONENTS = tuple(0.05 * k for k in range(1, 41))  # α of M^α that are tried
TINY = 1e-4  # of the largest eigenvalue of M: directions below are taken for zero
WIDTH = 32
RARE = 0.05


@dataclass(frozen=True)
class Data:
    """Inputs (n, d) and targets (n, k), in double precision."""

    X: Tensor
    Y: Tensor


def linear_data(seed: int, *, n: int = 300, inputs: int = 20, outputs: int = 6) -> Data:
    """Y = X Bᵀ + noise, where B has singular values 4, 2, 1 and ½, spread over random directions."""
    from overt.linalg.decompositions import random_orthonormal

    generator = seeded(seed)
    values = torch.tensor([4.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    right, left = (random_orthonormal(size, 4, generator=generator) for size in (inputs, outputs))
    X = normal(n, inputs, generator=generator)
    return Data(X, X @ (right * values) @ left.mT + 0.1 * normal(n, outputs, generator=generator))


def rare_data(seed: int, *, n: int = 1000, inputs: int = 4) -> Data:
    """y = x₁ + 4 max(x₂, 0), where x₂ is positive in 5 % of the rows: it matters rarely, and much.

    E[∂₂y²] = 16 · 0.05 = 0.8 is below E[∂₁y²] = 1, while a unit with slope 4 has larger weights than one with
    slope 1: the first layer ranks the two inputs the other way round than M does. Inputs are uniform on
    [−1, 1], positive ones of x₂ on [0, 2].
    """
    generator = seeded(seed)
    X = torch.rand(n, inputs, generator=generator, dtype=torch.float64) * 2 - 1
    size, rare = X[:, 1].abs(), torch.rand(n, generator=generator) < RARE
    X[:, 1] = torch.where(rare, 2 * size, -size)
    return Data(X, (X[:, 0] + 4 * X[:, 1].clamp_min(0))[:, None])


def make_network(kind: str, inputs: int, outputs: int, depth: int, seed: int) -> nn.Module:
    """``depth`` layers, linear without biases, or with biases and GELU between them, which is smooth."""
    hidden = [WIDTH] * (depth - 1)
    sizes = [inputs, *hidden, outputs]
    if kind == "linear":
        return DeepLinear(sizes, scale=0.3, seed=seed, dtype=torch.float64)
    pairs = (nn.Linear(a, b, dtype=torch.float64) for a, b in pairwise(sizes))
    layers = [layer for linear in pairs for layer in (linear, nn.GELU())]
    return redrawn(nn.Sequential(*layers[:-1]), seed)


def weights_of_layers(model: nn.Module) -> list[Tensor]:
    """W_1, …, W_L."""
    return [parameter for parameter in model.parameters() if parameter.ndim == 2]


def descend(model: nn.Module, data: Data, decay: float, *, lr: float, max_steps: int) -> float:
    """Adam over all rows, its rate falling to zero; what is left of the gradient.

    Returns
    -------
    float
        ‖∇(loss + decay)‖ / ‖∇ decay‖ over the weights: the two parts of a vanishing gradient are equally
        long.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    weights = weights_of_layers(model)
    for step in range(max_steps):
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / max_steps)) / 2
        optimizer.zero_grad()
        _objective(model, data, weights, decay).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    found = torch.autograd.grad(_objective(model, data, weights, decay), weights)
    left = torch.cat([g.flatten() for g in found])
    own = decay * torch.cat([W.detach().flatten() for W in weights])
    return float(left.norm() / own.norm())


def _objective(model: nn.Module, data: Data, weights: Sequence[Tensor], decay: float) -> Tensor:
    squares = torch.stack([W.square().sum() for W in weights]).sum()
    loss: Tensor = (model(data.X) - data.Y).square().sum(1).mean() + decay / 2 * squares
    return loss


def explained(model: nn.Module, data: Data) -> float:
    """The training loss over that of the best constant."""
    with torch.no_grad():
        left = (model(data.X) - data.Y).square().sum()
    return float(left / (data.Y - data.Y.mean(0)).square().sum())


def moment(model: nn.Module, X: Tensor) -> Tensor:
    """M = E[JᵀJ], shape (d, d)."""
    x = X.detach().requires_grad_()
    outputs = model(x)
    found = X.new_zeros(X.shape[1], X.shape[1])
    for k in range(outputs.shape[1]):
        (row,) = torch.autograd.grad(outputs[:, k].sum(), x, retain_graph=True)
        found += row.mT @ row
    return found / len(X)


def explained_by_gradients(model: nn.Module, data: Data, decay: float) -> Tensor:
    """−(1/(nλ)) Σ ∇ℓ_i x_iᵀ, which is W_1ᵀW_1 where the gradient vanishes (Boix-Adserà et al. 2025)."""
    x = data.X.detach().requires_grad_()
    (gradients,) = torch.autograd.grad((model(x) - data.Y).square().sum(), x)
    return -gradients.mT @ data.X / (len(data.X) * decay)


def power(M: Tensor, alpha: float) -> Tensor:
    """M^α of a positive semidefinite matrix; what is negligible stays zero."""
    values, vectors = eigh(M)
    kept = values > TINY**2 * values[0]
    return (vectors[:, kept] * values[kept] ** alpha) @ vectors[:, kept].mT


def correlation(A: Tensor, B: Tensor) -> float:
    """Pearson's correlation of the entries of two matrices."""
    a, b = A - A.mean(), B - B.mean()
    return float((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-300))


def exponent(G: Tensor, M: Tensor) -> float:
    """The slope of log vᵀGv over log vᵀMv, over the eigenvectors of M that are not negligible."""
    values, vectors = eigh(M)
    kept = values > TINY * values[0]
    if int(kept.sum()) < 2:
        return math.nan
    x = values[kept].log()
    y = (vectors.mT @ G @ vectors).diagonal()[kept].clamp_min(1e-300).log()
    x = x - x.mean()
    return float((x * y).sum() / x.square().sum())


def reweighted_step(W: Tensor, data: Data, alpha: float, decay: float) -> Tensor:
    """Ridge regression on inputs times M^{α/2}, M = WᵀW: the next W, shape (k, d).

    Its objective is the loss plus (λ/2) tr(W M^{−α} Wᵀ). With α = 1 − 1/L this has the gradient of
    (λ/2) L ‖W‖_{2/L}^{2/L}, the least weight decay of L layers whose product is W.
    """
    root = power(W.mT @ W, alpha / 2)
    Z = data.X @ root
    values, vectors = eigh(Z.mT @ Z / len(Z))
    solved = vectors @ ((vectors.mT @ (Z.mT @ data.Y / len(Z))) / (values + decay / 2)[:, None])
    return (root @ solved).mT


def compared(model: nn.Module, data: Data, decay: float) -> dict[str, float]:
    """W_1ᵀW_1 beside powers of M and beside what the theorem says of a vanishing gradient."""
    weights = [W.detach() for W in weights_of_layers(model)]
    first, M = weights[0].mT @ weights[0], moment(model, data.X)
    found = correlation(first, power(M, 1 / len(weights)))
    fact = correlation(first, explained_by_gradients(model, data, decay))
    return {
        "left": explained(model, data),
        "correlation": found,
        "correlation_half": correlation(first, power(M, 0.5)),
        "correlation_best": max(correlation(first, power(M, alpha)) for alpha in EXPONENTS),
        "correlation_fact": fact,
        "missing": 1 - found,
        "missing_fact": 1 - fact,
        "exponent": exponent(first, M),
    }


def compared_linear(model: nn.Module, data: Data, decay: float) -> dict[str, float]:
    """The product of all layers but the last beside powers of M, and steps of reweighting."""
    *others, last = (W.detach() for W in weights_of_layers(model))
    rest = others[0]
    for W in others[1:]:
        rest = W @ rest
    whole, depth = last @ rest, len(others) + 1

    def step(layers: int) -> float:
        moved = reweighted_step(whole, data, 1 - 1 / layers, decay) - whole
        return float(moved.norm() / whole.norm())

    return {
        "exponent_of_rest": exponent(rest.mT @ rest, whole.mT @ whole),
        "step": step(depth),
        "step_of_next": step(depth + 1),
    }

"""How far the weights may be moved before the training loss feels it."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
from torch import nn

from overt.problems import ImageSet

__all__ = ["noise_scale", "sharpness"]

LOWEST, HIGHEST = 1e-4, 10.0  # deviations that the bisection looks between
HALVINGS = 12  # of the logarithm: σ is then known within 0.3 %
FLOOR = 1e-3  # ε of the magnitude-aware noise, which also moves weights that are zero


def noise_scale(
    model: nn.Module, data: ImageSet, rise: float, draws: int, *, seed: int = 0, relative: bool = False
) -> float:
    """The σ at which weights with Gaussian noise misclassify a share `rise` of the images, on average.

    Noise of variance σ² on each parameter, or σ²w² + ε² with `relative` (ε = 1e-3). The same `draws`
    directions serve all σ, so that the result is a function of the seed; σ is found by bisection of its
    logarithm between 1e-4 and 10, and is an end of that range where the level is not crossed in it.

    References
    ----------
    Jiang et al. (2020), arXiv 1912.02178, measures 53 (1/σ²) and 61 (the magnitude-aware one).
    """
    base = [parameter.detach() for parameter in model.parameters()]
    generator = torch.Generator().manual_seed(seed)
    noise = [[torch.randn(w.shape, generator=generator) for w in base] for _ in range(draws)]
    moved = deepcopy(model)
    places = list(moved.parameters())

    @torch.no_grad()
    def error(sigma: float) -> float:
        total = 0.0
        for direction in noise:
            for place, w, n in zip(places, base, direction, strict=True):
                deviation = (sigma**2 * w.square() + FLOOR**2).sqrt() if relative else sigma
                place.copy_(w + deviation * n.to(w))
            total += float((moved(data.images).argmax(1) != data.labels).double().mean())
        return total / draws

    low, high = math.log(LOWEST), math.log(HIGHEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if error(math.exp(middle)) > rise:
            high = middle
        else:
            low = middle
    return math.exp((low + high) / 2)


def sharpness(model: nn.Module, data: ImageSet, radius: float) -> float:
    """L(w + ρ g/‖g‖) − L(w): the rise of the training cross-entropy at one step of length ρ up its gradient.

    Foret, Kleiner, Mobahi & Neyshabur (2021), Sharpness-aware minimization, eq. 2. Zero where g is.
    """
    moved = deepcopy(model)
    parameters = list(moved.parameters())
    loss = nn.functional.cross_entropy(moved(data.images), data.labels)
    gradients = torch.autograd.grad(loss, parameters)
    norm = float(torch.stack([g.double().square().sum() for g in gradients]).sum().sqrt())
    if norm == 0:
        return 0.0
    with torch.no_grad():
        for parameter, g in zip(parameters, gradients, strict=True):
            parameter.add_(g, alpha=radius / norm)
        return float(nn.functional.cross_entropy(moved(data.images), data.labels) - loss)

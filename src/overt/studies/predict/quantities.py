"""What measures are made of: norms, spectra, margins and flatness of a network, from training data alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from overt.linalg import singular_values
from overt.measures import Spectrum, convolution_spectrum, measure
from overt.problems import ImageSet
from overt.studies.predict.flatness import noise_scale, sharpness
from overt.studies.shared.classifiers import margins

__all__ = ["BASES", "Layer", "Measure", "Quantities", "quantities"]

BASES = ("eigen", "fourier", "identity")
ENERGY = 0.9  # share of Σσ² that the effective parameters of a layer keep
SMALLEST_MARGIN = 1e-6  # a tenth of the training images misclassified: the margin measures are then huge


@dataclass(frozen=True)
class Layer:
    """Numbers of one weight; a convolution's spectral norm is that of its linear map on the whole image.

    Attributes
    ----------
    frobenius, nuclear : float
        Of the weight as a matrix (out, in·kernel).
    spectral : float
        Largest singular value of the layer as a linear map.
    distance, spectral_distance : float
        Frobenius and spectral norm of what training added.
    numbers : int
        r(out + in), r the least rank that keeps 90 % of Σσ²; never more than there are.
    """

    frobenius: float
    nuclear: float
    spectral: float
    distance: float
    spectral_distance: float
    numbers: int


@dataclass(frozen=True)
class Quantities:
    """Everything that the measures of one network are computed from.

    Attributes
    ----------
    n_train, parameters : int
    layers : tuple of Layer
    margin : float
        10th percentile of the output margins over the training images, at least 1e-6.
    spectra : dict of Spectrum
        √diag(U M U*) for each of three bases U; M = E[JᵀJ] over the training images, J of the logits.
    path_norm : float
        Sum of the outputs for an input of ones with all parameters squared.
    noise, relative_noise : float
        Deviation of Gaussian noise on the parameters, absolute or relative to each, at which the mean
        training error reaches a level; see `flatness.noise_scale`.
    sharpness : float
        See `flatness.sharpness`.
    """

    n_train: int
    parameters: int
    layers: tuple[Layer, ...]
    margin: float
    spectra: dict[str, Spectrum]
    path_norm: float
    noise: float
    relative_noise: float
    sharpness: float

    @property
    def depth(self) -> int:
        """How many layers have weights."""
        return len(self.layers)

    @property
    def root(self) -> float:
        """√m for m training images."""
        return math.sqrt(self.n_train)


@dataclass(frozen=True)
class Measure:
    """One row of the table.

    Attributes
    ----------
    name, title : str
        In records, and for readers.
    group : str
        ``"sensitivity"`` (spectra of M), ``"weights"``, ``"flatness"``, ``"distance"``, ``"count"``.
    formula, source : str
    value : callable
        From quantities to a number.
    """

    name: str
    title: str
    group: str
    formula: str
    source: str
    value: Callable[[Quantities], float]


def quantities(
    model: nn.Sequential,
    start: nn.Sequential,
    data: ImageSet,
    *,
    noise_draws: int = 8,
    error_rise: float = 0.1,
    sam_radius: float = 0.05,
    seed: int = 0,
) -> Quantities:
    """Measure a trained network on its training images; `start` is the network before training.

    Parameters
    ----------
    model, start
        Chains of linear layers, convolutions, ReLUs and flattening.
    data
        Training images and labels, and nothing else.
    noise_draws, error_rise, sam_radius, seed
        Of the flatness measures.
    """
    with torch.no_grad():
        distance = margins(model(data.images), data.labels)
    own = measure(model, data.images, "eigen")
    return Quantities(
        n_train=len(data),
        parameters=sum(p.numel() for p in model.parameters()),
        layers=tuple(_layers(model, start, data.images[:1])),
        margin=max(float(distance.double().quantile(0.1)), SMALLEST_MARGIN),
        spectra={basis: own if basis == "eigen" else own.in_basis(basis) for basis in BASES},
        path_norm=path_norm(model, data.images[:1]),
        noise=noise_scale(model, data, error_rise, noise_draws, seed=seed),
        relative_noise=noise_scale(model, data, error_rise, noise_draws, seed=seed, relative=True),
        sharpness=sharpness(model, data, sam_radius),
    )


def path_norm(model: nn.Module, image: Tensor) -> float:
    """Σ over paths of the product of squared weights: the sum of outputs for ones, all parameters squared.

    Neyshabur, Salakhutdinov & Srebro (2015), path-SGD; Jiang et al. (2020), measure 44.

    Examples
    --------
    >>> model = nn.Linear(2, 1, bias=False)
    >>> model.weight.data = torch.tensor([[3.0, -4.0]])
    >>> path_norm(model, torch.zeros(1, 2))
    25.0
    """
    squared = deepcopy(model).double()
    with torch.no_grad():
        for parameter in squared.parameters():
            parameter.square_()
        return float(squared(torch.ones_like(image, dtype=torch.float64)).sum())


def _layers(model: nn.Sequential, start: nn.Sequential, image: Tensor) -> Iterator[Layer]:
    x = image
    for layer, before in zip(model, start, strict=True):
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            added = deepcopy(layer)
            with torch.no_grad():
                added.weight.sub_(before.get_parameter("weight"))
            spectrum = singular_values(layer.weight.detach().flatten(1).double())
            yield Layer(
                frobenius=float(spectrum.square().sum().sqrt()),
                nuclear=float(spectrum.sum()),
                spectral=_spectral_norm(layer, x),
                distance=float(added.weight.detach().double().norm()),
                spectral_distance=_spectral_norm(added, x),
                numbers=effective_numbers(spectrum, layer.weight.flatten(1).shape),
            )
        with torch.no_grad():
            x = layer(x)


def effective_numbers(spectrum: Tensor, shape: tuple[int, ...]) -> int:
    """r(out + in) with the least r that keeps 90 % of Σσ², at most out × in.

    Examples
    --------
    >>> effective_numbers(torch.tensor([10.0, 0.1, 0.1]), (3, 5))
    8
    """
    energy = spectrum.double().square().cumsum(0)
    rank = int((energy < ENERGY * energy[-1]).sum()) + 1
    return min(rank * (shape[0] + shape[1]), math.prod(shape))


def _spectral_norm(layer: nn.Linear | nn.Conv2d, x: Tensor) -> float:
    if isinstance(layer, nn.Conv2d):
        size = (int(x.shape[-2]), int(x.shape[-1]))
        return float(convolution_spectrum(layer, size, boundary="own").values[0])
    return float(singular_values(layer.weight.detach().double())[0])

"""How much a network damps noise that enters between its layers (Arora, Ge, Neyshabur & Zhang 2018)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from overt.measures._chain import Link, chain_of
from overt.measures._guard import check_module, untouched
from overt.measures._streams import home_of
from overt.measures.data import Inputs, batches
from overt.measures.jacobian import jacobian_rows, leaf

__all__ = ["LayerStability", "NoiseStability", "noise_stability"]


@dataclass(frozen=True)
class LayerStability:
    """Of layer i; all are minima over the data. See `noise_stability`.

    Attributes
    ----------
    cushion : float
        μ_i, layer cushion.
    interlayer : dict of float
        μ_{i,j}, interlayer cushion to each later layer j, by its name.
    minimal_interlayer : float
        μ_{i→} = min(1/√h_i, min_j μ_{i,j}), h_i the size of the layer's output.
    smoothness : dict of float
        ρ_{i,j}, interlayer smoothness to each later layer; infinite where the map is linear along the noise.
    """

    cushion: float
    interlayer: dict[str, float]
    minimal_interlayer: float
    smoothness: dict[str, float]


@dataclass(frozen=True)
class NoiseStability:
    """Noise stability of a network on data; see `noise_stability` for what it bounds.

    Attributes
    ----------
    layers : dict of LayerStability
        By the name of the layer, in order.
    activation_contraction : float
        c, the largest ‖x^i‖/‖φ(x^i)‖.
    largest_output : float
        max_x ‖f(x)‖.
    smoothness : float
        ρ, the smallest of all ρ_{i,j}.
    n_samples : int
        Inputs.
    unmet : tuple of str
        What the theorem assumes and this network, or this computation, does not meet; empty if all is met.
    """

    layers: dict[str, LayerStability]
    activation_contraction: float
    largest_output: float
    smoothness: float
    n_samples: int
    unmet: tuple[str, ...] = field(default=())

    def complexity(self, margin: float) -> float:
        """c² d² max‖f(x)‖² Σ_i 1/(μ_i² μ_{i→}²)/γ², the paper's effective number of parameters at margin γ.

        Up to constants and logarithms, see `noise_stability`.

        Raises
        ------
        ValueError
            `margin` is not above 0.
        """
        if not (math.isfinite(margin) and margin > 0):
            raise ValueError(f"margin must be a finite number above 0, got {margin!r}")
        terms = [(layer.cushion * layer.minimal_interlayer) ** 2 for layer in self.layers.values()]
        if min(terms) == 0:
            return math.inf
        front = self.activation_contraction * len(self.layers) * self.largest_output / margin
        return front**2 * sum(1 / term for term in terms)


def noise_stability(
    model: nn.Module, inputs: Inputs, *, noise: float = 0.1, draws: int = 4, seed: int = 0
) -> NoiseStability:
    """Layer cushion, interlayer cushion, activation contraction and interlayer smoothness of a network.

    For a chain x^i = A^i φ(x^{i−1}), with M^{i,j} the map from the output of layer i to that of layer j,
    J^{i,j} its Jacobian at x^i and S the data (Arora et al. 2018, Definitions 4 to 7):

    - layer cushion μ_i: the largest number with μ_i ‖A^i‖_F ‖φ(x^{i−1})‖ ≤ ‖A^i φ(x^{i−1})‖ on S;
    - interlayer cushion μ_{i,j}: the largest with μ_{i,j} ‖J^{i,j}‖_F ‖x^i‖ ≤ ‖J^{i,j} x^i‖;
    - activation contraction c: the smallest with ‖x^i‖ ≤ c ‖φ(x^i)‖;
    - interlayer smoothness ρ: the largest with ‖M^{i,j}(x^i + η) − M^{i,j}(x^i) − J^{i,j} η‖ ≤ ‖η‖ ‖x^j‖/(ρ
      ‖x^i‖).

    **What they bound.** Theorem 4.1 there: for a fully connected ReLU network without biases of depth d whose
    ρ is at least 3d, a randomly compressed network, not this one, has with high probability over m training
    examples S and the compression an expected error of at most the share of S with margin below γ plus
    Õ(√(N/m)), N being `NoiseStability.complexity`. So N is an effective number of parameters in the sense of
    the number of examples that guarantee generalization, up to constants and logarithmic factors. It is
    commonly larger than the number of parameters, in which case the bound says nothing. It is *not* the
    number at which this model could be stored with the same accuracy (that is `effective_parameters`, which
    bounds nothing on other data), and neither bounds the other. A minimum over data can only fall with more
    data, so on a part of S all this is optimistic.

    **Where this computation departs.** With biases, x^i contains them and the theorem does not apply; a
    convolution is taken as the matrix that it is, whose bound is far looser than the paper's for
    convolutions; φ is everything between two layers, pooling too; η is Gaussian of norm `noise`·‖x^i‖, where
    the theorem has the error of its own random compression, and its ρ holds for all but a share δ of draws,
    not for `draws` of them. For ReLU without biases M(x) = J x, and ρ is as in the paper. What does not hold
    is listed in ``unmet``.

    Parameters
    ----------
    model
        An ``nn.Sequential`` of linear layers or convolutions with activations between; run in evaluation
        mode.
    inputs
        A tensor (N, …), or a DataLoader: the training data, for the theorem. The Jacobians take one backward
        pass for each number in each layer's output.
    noise
        Norm of η relative to ‖x^i‖.
    draws
        Number of η for each input and layer.
    seed
        Of the draws.

    Raises
    ------
    TypeError, ValueError
        The model is no chain, has normalization layers, or gives a layer's output that is 0 or not finite.

    References
    ----------
    Arora, S., Ge, R., Neyshabur, B., Zhang, Y. (2018). Stronger generalization bounds for deep nets via a
    compression approach. ICML.

    Examples
    --------
    For a linear map the interlayer map is linear, and the cushion is ‖Wx‖/(‖W‖_F ‖x‖).

    >>> import torch
    >>> from overt.measures import noise_stability
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False))
    >>> model[0].weight.data = torch.eye(4)
    >>> round(noise_stability(model, torch.randn(5, 4)).layers["0"].cushion, 6)
    0.5
    """
    model = check_module(model)
    if not (math.isfinite(noise) and noise > 0):
        raise ValueError(f"noise must be a finite number above 0, got {noise!r}")
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise ValueError(f"draws must be an int ≥ 1, got {draws!r}")
    links = chain_of(model)
    probe = _Probe(links, noise, draws, torch.Generator().manual_seed(seed))
    with untouched(model):
        for x in batches(inputs, device=home_of(model)):
            probe.add(x)
    if probe.count == 0:
        raise ValueError("inputs hold no example; give at least one")
    return probe.result()


class _Probe:
    """Minima and maxima over the data seen so far."""

    def __init__(self, links: list[Link], noise: float, draws: int, generator: torch.Generator) -> None:
        self._links, self._noise, self._draws, self._generator = links, noise, draws, generator
        d = len(links)
        self._cushion = [math.inf] * d
        self._interlayer = [[math.inf] * d for _ in range(d)]
        self._smoothness = [[math.inf] * d for _ in range(d)]
        self._sizes = [0] * d
        self._contraction = 1.0 if d == 1 else 0.0  # without activations nothing contracts
        self._output = 0.0
        self.count = 0

    def add(self, x: Tensor) -> None:
        """Take a batch of inputs into account."""
        self.count += len(x)
        outputs: list[Tensor] = []
        with torch.no_grad():
            for i, link in enumerate(self._links):
                x = self._layer(i, link, x)
                outputs.append(x)
        for i, output in enumerate(outputs):
            for j in range(i + 1, len(outputs)):
                self._pair(i, j, output, outputs[j])

    def _layer(self, i: int, link: Link, x: Tensor) -> Tensor:
        """Cushion and contraction of layer i; returns its output."""
        h = link.activate(x)
        if not bool((_norms(h) > 0).all()):
            raise ValueError(
                f"model: the input of {link.name} is 0 for one of the inputs, where the quantities are not "
                "defined; leave this input out"
            )
        if i > 0:
            self._contraction = max(self._contraction, float((_norms(x) / _norms(h)).max()))
        self._cushion[i] = min(
            self._cushion[i], float((_norms(link.linear(h)) / (link.frobenius(h) * _norms(h))).min())
        )
        y = link(x)
        self._sizes[i] = y[0].numel()
        if not bool((_norms(y) > 0).all()) or not bool(torch.isfinite(y).all()):
            raise ValueError(
                f"model: {link.name} gives an output that is 0 or not finite for one of the inputs, where "
                "the quantities are not defined; leave this input out"
            )
        if i == len(self._links) - 1:
            self._output = max(self._output, float(_norms(y).max()))
        return y

    def _pair(self, i: int, j: int, x: Tensor, y: Tensor) -> None:
        """Interlayer cushion and smoothness from layer i to layer j, at x = x^i with y = x^j."""
        run = self._map(i, j)
        etas = [self._draw(x) for _ in range(self._draws)]
        (signal, *linear), frobenius = _jacobian_products(run, x, [x, *etas])
        cushion = _norms(signal) / (frobenius * _norms(x))
        self._interlayer[i][j] = min(self._interlayer[i][j], float(cushion.min()))
        for eta, image in zip(etas, linear, strict=True):
            with torch.no_grad():
                moved = run(x + eta)
            residue = _norms(moved.flatten(1) - y.flatten(1) - image)
            # Below this it is rounding, and the map is linear along the noise.
            floor = 64 * torch.finfo(x.dtype).eps * (_norms(y) + _norms(moved))
            rho = _norms(eta) * _norms(y) / (_norms(x) * residue)
            least = float(torch.where(residue > floor, rho, torch.inf).min())
            self._smoothness[i][j] = min(self._smoothness[i][j], least)

    def _draw(self, x: Tensor) -> Tensor:
        """Gaussian noise of the asked relative norm for each example."""
        eta = torch.randn(x.shape, generator=self._generator, dtype=torch.float64).to(x.device)
        scale = self._noise * _norms(x) / _norms(eta)
        return (eta * scale.reshape(-1, *[1] * (x.ndim - 1))).to(x.dtype)

    def _map(self, i: int, j: int) -> Callable[[Tensor], Tensor]:
        def run(x: Tensor) -> Tensor:
            for link in self._links[i + 1 : j + 1]:
                x = link(x)
            return x

        return run

    def result(self) -> NoiseStability:
        names = [link.name for link in self._links]
        layers = {}
        for i, name in enumerate(names):
            later = range(i + 1, len(names))
            interlayer = {names[j]: self._interlayer[i][j] for j in later}
            layers[name] = LayerStability(
                cushion=self._cushion[i],
                interlayer=interlayer,
                minimal_interlayer=min(1 / math.sqrt(self._sizes[i]), *interlayer.values(), math.inf),
                smoothness={names[j]: self._smoothness[i][j] for j in later},
            )
        rho = min((value for row in self._smoothness for value in row), default=math.inf)
        return NoiseStability(
            layers=layers,
            activation_contraction=self._contraction,
            largest_output=self._output,
            smoothness=rho,
            n_samples=self.count,
            unmet=self._unmet(rho),
        )

    def _unmet(self, rho: float) -> tuple[str, ...]:
        unmet = []
        if not all(link.homogeneous for link in self._links):
            unmet.append("the network has biases, or activations other than ReLU")
        if not all(isinstance(link.layer, nn.Linear) for link in self._links):
            unmet.append("the network has convolutions, which are taken as the matrices that they are")
        if rho < 3 * len(self._links):
            unmet.append(f"the interlayer smoothness {rho:.3g} is below 3d = {3 * len(self._links)}")
        return tuple(unmet)


def _norms(x: Tensor) -> Tensor:
    """Norm of each example, in double precision."""
    norms: Tensor = torch.linalg.vector_norm(x.double().flatten(1), dim=1)
    return norms


def _jacobian_products(
    run: Callable[[Tensor], Tensor], x: Tensor, vectors: list[Tensor]
) -> tuple[list[Tensor], Tensor]:
    """J v for each of the vectors, (B, K), and ‖J‖_F, (B,), of the Jacobians at a batch of points."""
    x = leaf(x)
    y = run(x).flatten(1)
    rows = [row.double().flatten(1) for row in jacobian_rows(y, x)]
    power = torch.stack([row.square().sum(1) for row in rows]).sum(0)
    flat = [v.double().flatten(1) for v in vectors]
    return [torch.stack([(row * v).sum(1) for row in rows], dim=1) for v in flat], power.sqrt()

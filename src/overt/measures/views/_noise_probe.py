"""Extremes of noise-stability quantities over data, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from overt.measures.views._chain import Link
from overt.measures.views.stability import LayerStability, NoiseStability
from overt.networks.jacobian import bytes_per_input, jacobian_rows, leaf

__all__ = ["NoiseProbe"]

_BYTES = 2**28  # for the inputs that are looked at together


class NoiseProbe:
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
        self._chunk = 0  # not known before the first batch
        self.count = 0

    def add(self, batch: Tensor) -> None:
        """Take a batch of inputs into account, in parts that fit the memory."""
        self._chunk = self._chunk or max(1, _BYTES // self._bytes(batch))
        for part in torch.split(batch, self._chunk):
            self._add(part)

    def _bytes(self, x: Tensor) -> int:
        """Bytes that one more input takes: its graph, what all layers give, and its draws and products."""
        x = y = x[:2]
        sizes = [x[0].numel()]
        with torch.no_grad():
            for link in self._links:
                y = link(y)
                sizes.append(y[0].numel())
        run = self._map(-1, len(self._links) - 1)
        graph = bytes_per_input(lambda x: run(x).flatten(1), x)
        return graph + 8 * (sum(sizes) + 3 * (self._draws + 2) * max(sizes))

    def _add(self, x: Tensor) -> None:
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
        if not all(link.assumed for link in self._links):
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
    flat = [v.double().flatten(1) for v in vectors]
    images = [v.new_empty(y.shape) for v in flat]
    power = flat[0].new_zeros(len(x))
    for k, row in enumerate(jacobian_rows(y, x)):  # a row is used up before the next, not kept
        entries = row.double().flatten(1)
        power += entries.square().sum(1)
        for image, v in zip(images, flat, strict=True):
            image[:, k] = (entries * v).sum(1)
    return images, power.sqrt()

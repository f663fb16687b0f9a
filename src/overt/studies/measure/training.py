"""Training one network on images, and measuring it along the way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from overt._utils.seeds import generator_from, normal
from overt.linalg import make_basis, orthonormal_basis
from overt.measures import Spectrum, data_spectrum, measure
from overt.studies.base import RunContext, RunOutput
from overt.studies.measure.images import ImagesConfig
from overt.studies.measure.moments import recorded_steps
from overt.studies.measure.networks import build, count_parameters
from overt.studies.measure.pictures import Pictures, load

__all__ = ["run"]

LEADING = 32  # singular values that are kept for a picture


def run(config: ImagesConfig, context: RunContext) -> RunOutput:
    """Train one network and measure it along the way."""
    pictures = load(config)
    network = build(config)
    seen = Seen(network, pictures, config)

    def look(step: int, loss: float) -> None:
        seen.look(step, loss)
        context.progress(
            f"step {step}, loss {loss:.3f}, effective rank {seen.rows[-1]['effective_rank']:.1f}"
        )

    status, steps = train_to_loss(network, pictures, config, look)
    return RunOutput([_summary(seen, status, steps)], seen.arrays())


@dataclass
class Seen:
    """What was seen of a network along its training."""

    network: nn.Module
    pictures: Pictures
    config: ImagesConfig
    rows: list[dict[str, float]] = field(default_factory=list)
    spectra: list[Spectrum] = field(default_factory=list)

    def look(self, step: int, loss: float) -> None:
        """Measure the network as it is, on held-out images."""
        spectrum = measure(self.network, self.pictures.held_out, outputs=OUTPUTS[self.config.outputs])
        self.spectra.append(spectrum)
        aligned = _aligned(spectrum, self.config)
        self.rows.append(
            {
                "step": step,
                "loss": loss,
                "effective_rank": spectrum.effective_rank,
                "normalized_nuclear_norm": spectrum.normalized_nuclear_norm,
                "participation_ratio": spectrum.participation_ratio,
                **aligned,
                "identity_alignment": spectrum.alignment("identity", self.config.p),
                "accuracy": _accuracy(self.network, self.pictures),
            }
        )

    def arrays(self) -> dict[str, Any]:
        """The trajectory, the leading singular values, and both spectra at the end."""
        leading = np.zeros((len(self.spectra), LEADING))
        for row, spectrum in zip(leading, self.spectra, strict=True):
            values = spectrum.values[:LEADING].double().numpy()
            row[: len(values)] = values
        fourier = self.spectra[-1].in_basis("fourier")
        power = data_spectrum(self.pictures.held_out, "fourier")
        columns = {name: np.asarray([row[name] for row in self.rows]) for name in self.rows[0]}
        shape = (self.config.side, self.config.side)
        return {
            **columns,
            "singular_values": leading,
            "fourier_values": fourier.values.reshape(shape).numpy(),
            "data_fourier_values": power.values.reshape(shape).numpy(),
        }


def _aligned(spectrum: Spectrum, config: ImagesConfig) -> dict[str, float]:
    """Alignment with Fourier, the same for M turned at random, and the part of the way from that to 1.

    A random real basis would not do: Fourier's values come in pairs, which makes them more even than those of
    such a basis.
    """
    fourier = spectrum.alignment("fourier", config.p)
    shape = (1, config.side, config.side)
    size = config.side**2
    turn = orthonormal_basis(normal(size, size, generator=generator_from(config.seed)))
    turned = make_basis("fourier", shape).analyse(turn.reshape(size, *shape)).reshape(size, size).mT
    like = torch.complex64 if spectrum.values.dtype == torch.float32 else torch.complex128
    chance = spectrum.alignment(turned.to(like), config.p)
    corrected = (fourier - chance) / (1 - chance) if chance < 1 else 0.0
    return {"alignment": fourier, "random_alignment": chance, "corrected_alignment": corrected}


def train_to_loss(
    network: nn.Module, pictures: Pictures, config: ImagesConfig, look: Callable[[int, float], None]
) -> tuple[str, int]:
    """Stochastic gradient descent until the loss of all training images is low; how it ended, and the steps.

    ``look`` is called with the step and that loss: at the start, at recorded steps, and at the end.
    """
    x, y = pictures.images, pictures.labels
    size = min(config.batch_size or len(x), len(x))
    epoch = math.ceil(len(x) / size)
    generator = generator_from(config.seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=config.lr, momentum=config.momentum)
    steps = recorded_steps(config.max_steps, config.points)
    order = torch.arange(len(x))
    look(0, _loss(network, x, y))
    for step in range(1, config.max_steps + 1):
        place = (step - 1) % epoch
        if place == 0 and size < len(x):
            order = torch.randperm(len(x), generator=generator)
        batch = order[place * size : (place + 1) * size]
        optimizer.zero_grad()
        cross_entropy(network(x[batch]), y[batch]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % config.check_every and step not in steps:
            continue
        loss = _loss(network, x, y)
        if not math.isfinite(loss):
            return "diverged", step
        reached = loss <= config.target_loss
        if reached or step in steps:
            look(step, loss)
        if reached:
            return "reached", step
    return "budget", config.max_steps


def _centred(y: Tensor) -> Tensor:
    return y - y.mean(-1, keepdim=True)


OUTPUTS: dict[str, Any] = {"logits": "logits", "centred": _centred, "probabilities": "probabilities"}


def _loss(network: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float(cross_entropy(network(x), y))


def _accuracy(network: nn.Module, pictures: Pictures) -> float:
    with torch.no_grad():
        right = network(pictures.held_out).argmax(1) == pictures.held_out_labels
    return float(right.double().mean())


def _summary(seen: Seen, status: str, steps: int) -> dict[str, Any]:
    first, last = seen.rows[0], seen.rows[-1]
    data = data_spectrum(seen.pictures.held_out)
    aligned = _aligned(data, seen.config)
    comparison = seen.spectra[-1].in_basis("fourier").compare(seen.pictures.held_out)
    return {
        **last,
        "status": status,
        "steps": steps,
        "parameters": count_parameters(seen.network),
        "start_effective_rank": first["effective_rank"],
        "start_normalized_nuclear_norm": first["normalized_nuclear_norm"],
        **{f"start_{name}": first[name] for name in aligned},
        "least_effective_rank": min(row["effective_rank"] for row in seen.rows),
        "data_effective_rank": data.effective_rank,
        **{f"data_{name}": value for name, value in aligned.items()},
        "data_cosine": comparison.cosine,
    }

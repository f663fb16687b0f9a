"""Linear models along training: the measure against spectra and representation costs computed otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from overt import functional as F
from overt._utils.seeds import generator_from, normal
from overt.linalg import orthonormal_basis
from overt.measures import measure
from overt.models import DeepCircularConvolution, DeepDiagonal, DeepLinear
from overt.studies.base import RunOutput
from overt.studies.measure.moments import recorded_steps
from overt.studies.measure.settings import CollapseConfig

__all__ = ["run"]

Linear = DeepLinear | DeepCircularConvolution | DeepDiagonal
SAMPLES = 64  # Gaussian inputs to learn a linear map from


@dataclass(frozen=True)
class Case:
    """A linear model, the map it is to learn, and the basis that diagonalizes it."""

    model: Linear
    teacher: Linear
    basis: str
    shape: tuple[int, ...]

    def known(self) -> Tensor:
        """The spectrum without the measure: of the product, |ĥ|, or the coordinates."""
        product = self.model.product().detach()
        if isinstance(self.model, DeepLinear):
            return F.singular_values(product)
        spectrum = torch.fft.fftn(product) if self.basis == "fourier" else product
        return spectrum.abs().flatten()

    def weight_norm(self) -> float:
        """(1/L) Σ_j ‖W_j‖_F², layers as operators: a convolution of D pixels counts a filter D times."""
        total = sum(float(weight.detach().square().sum()) for weight in self.model.weights)
        if isinstance(self.model, DeepDiagonal):  # one pair u, v stands for all L layers
            return total
        pixels = math.prod(self.shape) if isinstance(self.model, DeepCircularConvolution) else 1
        return total * pixels / self.model.depth


def run(config: CollapseConfig) -> RunOutput:
    """Train by gradient descent; at recorded steps compare the measure with what it should be."""
    case = make(config)
    generator = generator_from(config.seed + 1)
    x = normal(SAMPLES, *case.shape, generator=generator)
    held_out = normal(3, *case.shape, generator=generator)
    with torch.no_grad():
        y = case.teacher(x)
    steps = recorded_steps(config.max_steps, config.points)
    optimizer = torch.optim.SGD(case.model.parameters(), lr=config.lr)
    rows: list[dict[str, float]] = []
    spectra = []
    for step in range(config.max_steps + 1):
        loss = (case.model(x) - y).square().sum() / (2 * SAMPLES)
        if step in steps:
            row, values = _compare(case, held_out, config.depth)
            rows.append({"step": step, "loss": loss.item(), **row})
            spectra.append(values)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return RunOutput([_summary(rows)], _arrays(rows, spectra))


def make(config: CollapseConfig) -> Case:
    """The model at its start, balanced or all layers alike, and a teacher of few modes of size one."""
    n, rank, seed = config.size, config.teacher_rank, config.seed
    generator = generator_from(seed)
    double = torch.float64
    if config.model in ("linear", "bottleneck"):
        sizes = (n, *[config.width] * (config.depth - 1), config.outputs)
        model = DeepLinear(sizes, "balanced", config.scale, seed=seed, dtype=double)
        return Case(model, _matrix_teacher(n, config.outputs, rank, generator), "eigen", (n,))
    if config.model == "diagonal":
        teacher = DeepDiagonal(n, 1, dtype=double)
        _set(teacher.u, _sparse(n, rank, generator))
        _set(teacher.v, torch.zeros(n, dtype=double))
        return Case(DeepDiagonal(n, config.depth, config.scale, dtype=double), teacher, "identity", (n,))
    shape = (n,) if config.model == "convolution, 1-D" else (n, n)
    convolution = DeepCircularConvolution(
        shape, config.depth, "balanced", config.scale, seed=seed, dtype=double
    )
    target = DeepCircularConvolution(shape, 1, dtype=double)
    _set(target.weights[0], _few_frequencies(shape, rank, generator))
    return Case(convolution, target, "fourier", shape)


def _matrix_teacher(n: int, outputs: int, rank: int, generator: Any) -> DeepLinear:
    rank = min(rank, n, outputs)
    left, right = (orthonormal_basis(normal(size, rank, generator=generator)) for size in (outputs, n))
    teacher = DeepLinear((n, outputs), dtype=torch.float64)
    _set(teacher.weights[0], left @ right.mT)
    return teacher


def _sparse(n: int, count: int, generator: Any) -> Tensor:
    w = torch.zeros(n, dtype=torch.float64)
    where = torch.randperm(n, generator=generator)[:count]
    w[where] = torch.sign(normal(len(where), generator=generator))
    return w


def _few_frequencies(shape: tuple[int, ...], count: int, generator: Any) -> Tensor:
    """A real filter with |ĥ| = 1 at the frequencies of largest modulus of a random one, 0 elsewhere."""
    spectrum = torch.fft.fftn(normal(*shape, generator=generator))
    modulus = spectrum.abs()
    # Frequencies of a real filter come in pairs of equal modulus, whose rounding may differ.
    least = modulus.flatten().sort(descending=True).values[min(2 * count, modulus.numel()) - 1]
    kept = torch.where(modulus >= least * (1 - 1e-9), spectrum / modulus, torch.zeros_like(spectrum))
    filter_: Tensor = torch.fft.ifftn(kept).real
    return filter_


def _set(parameter: nn.Parameter | None, value: Tensor) -> None:
    assert parameter is not None
    with torch.no_grad():
        parameter.copy_(value)


def _compare(case: Case, inputs: Tensor, depth: int) -> tuple[dict[str, float], Tensor]:
    known = case.known()
    spectrum = measure(case.model, inputs, case.basis)
    found = torch.zeros_like(known)
    count = min(len(found), len(spectrum.values))
    found[:count] = spectrum.values[:count]
    largest = float(known.max())
    error = float((found - known).abs().max())
    # The signed diagonal network starts at zero, where both are zero.
    relative = error / largest if largest > 0 else error
    cost = spectrum.cost(2 / depth)
    ratio = case.weight_norm() / cost if cost > 0 else math.inf
    row = {"error": relative, "cost": cost, "cost_ratio": ratio, "effective_rank": spectrum.effective_rank}
    return row, found


def _summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    last, finite = rows[-1], all(math.isfinite(row["loss"]) for row in rows)
    return {
        "worst_error": max((row["error"] if math.isfinite(row["error"]) else math.inf) for row in rows),
        "least_cost_ratio": min(row["cost_ratio"] for row in rows),
        "cost_ratio": last["cost_ratio"],
        "cost": last["cost"],
        "loss": last["loss"],
        "loss_fell_to": last["loss"] / rows[0]["loss"],
        "effective_rank": last["effective_rank"],
        "steps": int(last["step"]),
        "points": len(rows),
        "status": "done" if finite else "diverged",
    }


def _arrays(rows: list[dict[str, float]], spectra: list[Tensor]) -> dict[str, Any]:
    # The frequencies of a real filter come in pairs; for a picture the order by size is enough.
    ordered = [values.sort(descending=True).values.numpy() for values in spectra]
    return {
        "step": np.asarray([row["step"] for row in rows], dtype=np.int64),
        "singular_values": np.asarray(ordered),
        "cost_ratio": np.asarray([row["cost_ratio"] for row in rows]),
        "error": np.asarray([row["error"] for row in rows]),
    }

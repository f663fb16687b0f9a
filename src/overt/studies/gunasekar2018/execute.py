"""Making one run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overt.models import DeepCircularConvolution, DeepLinear
from overt.problems import RegressionProblem
from overt.studies.base import RunContext, RunOutput
from overt.studies.gunasekar2018 import margins as mg
from overt.studies.gunasekar2018.classification import (
    FourierPenalty,
    Functional,
    SeparableProblem,
    separable,
)
from overt.studies.gunasekar2018.config import GunasekarConfig
from overt.studies.gunasekar2018.margins import Floats
from overt.studies.shared.penalized import Coordinates
from overt.studies.shared.training_runs import how
from overt.training import State, Stopping, TrainResult, train

WARMUP = 100  # steps over which the first step length is kept


def execute(config: GunasekarConfig, context: RunContext) -> RunOutput:
    """Make the run that a configuration describes."""
    makers: dict[str, Callable[[GunasekarConfig, RunContext], RunOutput]] = {
        "classify": run_network,
        "regress": run_regression,
        "explicit": run_penalty,
        "explicit_regress": run_regression,
    }
    return makers[config.group](config, context)


def network(config: GunasekarConfig) -> Functional:
    """The configured architecture as a linear functional."""
    options: dict[str, Any] = {"scale": config.init_scale, "seed": config.seed, "dtype": torch.float64}
    if config.architecture == "full":
        return Functional(DeepLinear((config.n,) * config.depth + (1,), **options))
    return Functional(DeepCircularConvolution(config.n, config.depth, **options))


def run_network(config: GunasekarConfig, context: RunContext) -> RunOutput:
    """A network on separable data, as far as the budget takes its margin."""
    problem = separable(config.n, config.n_observed, config.seed, config.loss)
    references = _References(problem)
    path: list[tuple[float, float, float]] = []
    wanted = set(np.unique(np.geomspace(25, config.max_steps, 40).astype(int) // 25 * 25).tolist())

    def watch(state: State) -> None:
        if state.step in wanted:
            row = references.compare(state.W.numpy())
            path.append((row["margin"], row["l1_excess"], row["l2_excess"]))
            context.progress(f"step {state.step}, margin {row['margin']:.3g}")

    depth = config.depth
    result = train(
        network(config),
        problem,
        optimizer=config.optimizer,
        lr=(config.lr * WARMUP) ** (1 / depth) / (depth * WARMUP),
        lr_schedule=lambda step: float((1 + step / WARMUP) ** (1 / depth - 1)),
        max_steps=config.max_steps,
        tolerance=0.0,
        callback=watch,
    )
    w = result.W.numpy()
    p = 2 / depth if config.architecture == "convolution" else 2.0
    record = references.compare(w) | references.stationary(w, p)
    return RunOutput([record | how(result)], {"path": np.array(path, dtype=np.float64).reshape(-1, 3)})


def run_penalty(config: GunasekarConfig, context: RunContext) -> RunOutput:
    """Squared hinge loss and a Fourier penalty on w itself, from the ℓ2 solution."""
    context.progress("explicit penalty")
    data = separable(config.n, config.n_observed, config.seed)
    problem = SeparableProblem(data.X, data.y, "squared_hinge")
    references = _References(problem)
    result = _penalized(torch.from_numpy(references.l2.copy()), problem, config)
    w = result.W.numpy()
    return RunOutput([references.compare(w) | references.stationary(w, config.p) | how(result)])


class _References:
    """The maximum margin solutions of a data set, and how far a direction is from them."""

    def __init__(self, problem: SeparableProblem) -> None:
        self.A: Floats = (problem.y[:, None] * problem.X).numpy()
        self.l2 = mg.l2_margin(self.A)
        self.l1, self.gap = mg.l1_margin(self.A)

    def compare(self, w: Floats) -> dict[str, Any]:
        """Margin, angles in degrees, and norms per margin in excess of their minima."""
        best1, best2 = mg.per_margin(self.l1, self.A, 1.0), mg.per_margin(self.l2, self.A, 2.0)
        return {
            "margin": float((self.A @ w).min()),
            "angle_l2": _angle(w, self.l2),
            "angle_l1": _angle(w, self.l1),
            "l1_excess": mg.per_margin(w, self.A, 1.0) / best1 - 1,
            "l2_excess": mg.per_margin(w, self.A, 2.0) / best2 - 1,
            "l2_solution_l1_excess": mg.per_margin(self.l2, self.A, 1.0) / best1 - 1,
            "bridge": mg.per_margin(w, self.A, 2 / 3),
            "dual_gap": self.gap,
        }

    def stationary(self, w: Floats, p: float) -> dict[str, Any]:
        """Measured exponent, and the residual of the optimality conditions at the predicted one."""
        if float((self.A @ w).min()) <= 0:
            return {"exponent": None, "residual": None}
        return {"exponent": mg.best_exponent(w, self.A), "residual": mg.stationarity(w, self.A, p)}


def regression(config: GunasekarConfig) -> RegressionProblem:
    """A signal with a few active frequencies, seen through Gaussian samples."""
    generator = torch.Generator().manual_seed(config.seed)
    X = torch.randn(config.n_observed, config.n, generator=generator, dtype=torch.float64)
    spectrum = torch.zeros(config.n // 2 + 1, dtype=torch.complex128)
    places = 1 + torch.randperm(config.n // 2 - 1, generator=generator)[: config.frequencies]
    phases = 2 * math.pi * torch.rand(len(places), generator=generator, dtype=torch.float64)
    spectrum[places] = torch.polar(torch.ones_like(phases), phases)
    truth = torch.fft.irfft(spectrum, n=config.n)
    truth = truth / torch.linalg.vector_norm(truth)
    return RegressionProblem(X, X @ truth, truth=truth)


def run_regression(config: GunasekarConfig, context: RunContext) -> RunOutput:
    """A network, or the explicit penalty, on under-determined regression."""
    context.progress("regression")
    problem = regression(config)
    X, y = problem.X.numpy(), problem.y.numpy()
    short = X.T @ np.linalg.solve(X @ X.T, y)
    sparse, gap = mg.l1_interpolator(X, y)
    if config.group == "explicit_regress":
        result = _penalized(torch.from_numpy(short.copy()), problem, config)
    else:
        depth = config.depth
        result = train(
            network(config),
            problem,
            optimizer=config.optimizer,
            lr=config.lr / max(1.0, config.init_scale) ** (2 - 2 / depth),
            max_steps=config.max_steps,
            tolerance=1e-14,
            checkpoint=context.directory / "run.safetensors",
        )
    w = result.W.numpy()
    fitted = w + X.T @ np.linalg.solve(X @ X.T, y - X @ w)  # norms are compared among exact solutions
    best = mg.fourier_norm(sparse, 1.0)
    record = {
        "error": problem.error(torch.from_numpy(fitted)),
        "loss": float(problem.loss(result.W)) / float(problem.y.square().mean()),
        "to_l2": float(np.linalg.norm(fitted - short) / np.linalg.norm(short)),
        "to_l1": float(np.linalg.norm(fitted - sparse) / np.linalg.norm(sparse)),
        "l1_excess": mg.fourier_norm(fitted, 1.0) / best - 1,
        "l2_solution_l1_excess": mg.fourier_norm(short, 1.0) / best - 1,
        "exponent": mg.best_exponent(fitted, X, inequality=False),
        "dual_gap": gap,
    }
    return RunOutput([record | how(result)])


def _penalized(start: Tensor, problem: Any, config: GunasekarConfig) -> TrainResult:
    model = Coordinates(start)
    penalty = FourierPenalty(model, config.p, config.weight)
    return train(
        model,
        problem,
        optimizer=config.optimizer,
        lr=config.lr,
        penalty=penalty,
        max_steps=config.max_steps,
        stopping=Stopping(stall_steps=config.max_steps),
        lr_schedule=lambda step: max(0.0, 1 - step / config.max_steps),
    )


def _angle(w: Floats, reference: Floats) -> float:
    cosine = float(w @ reference) / float(np.linalg.norm(w) * np.linalg.norm(reference))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))

"""MovieLens 100K: the published splits and seeded random ones, never mixed in one verdict."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

import overt
from overt import functional as F
from overt.models import DeepLinear
from overt.penalties import SpectralPenalty
from overt.problems import CompletionProblem, DataUnavailableError, movielens_100k
from overt.problems.offsets import Offsets
from overt.studies.base import RunContext, RunOutput, Skip
from overt.studies.zhao2022.config import ZhaoConfig
from overt.training import Recording, State, train

STARS = (1.0, 5.0)
RATINGS_PER_CHECK = 10  # steps between two looks at the validation ratings


class ThinPenalty:
    """weight × f(W₂W₁), from the two thin factors alone."""

    def __init__(self, model: DeepLinear, config: ZhaoConfig) -> None:
        self.model, self.weight = model, config.weight
        self._function, self._options = getattr(F, config.functional), config.options

    def penalty(self, product: Tensor | None = None) -> Tensor:
        """The penalty, a 0-d tensor; the end-to-end matrix is not looked at."""
        del product
        first, last = self.model.weights
        value: Tensor = self._function(overt.Factored(last, first.mT), **self._options)
        return self.weight * value


def run_movielens(config: ZhaoConfig, context: RunContext) -> RunOutput:
    """Predict the test ratings of one split; a tenth of its training ratings decides when to stop."""
    try:
        seed = config.seed if config.split == "random" else None
        full = movielens_100k(config.split, seed=seed, dtype=torch.float32)
    except DataUnavailableError as error:
        raise Skip(str(error)) from None
    problem, validation = hold_out(full, config.seed)
    centred, offsets = problem.center("biases")
    judge = _Judge(offsets, validation, full)
    if config.method == "biases":
        return RunOutput([judge(None) | {"effective_rank": None, "steps": 0, "status": "converged"}])
    if config.method != "train":
        raise ValueError(f"method {config.method!r} is not offered on MovieLens; use train or biases")
    return RunOutput([_train(config, centred, judge, context)])


class _Judge:
    """Root mean square errors on validation and test ratings of offsets plus a matrix."""

    def __init__(
        self, offsets: Offsets, validation: tuple[Tensor, Tensor, Tensor], full: CompletionProblem
    ) -> None:
        assert full.heldout is not None
        self._offsets, self._parts = offsets, {"validation_rmse": validation, "test_rmse": full.heldout}

    def __call__(self, W: Tensor | None) -> dict[str, Any]:
        return {name: self._rmse(W, *part) for name, part in self._parts.items()}

    def _rmse(self, W: Tensor | None, rows: Tensor, cols: Tensor, truth: Tensor) -> float:
        guess = self._offsets.at(rows, cols) + (0.0 if W is None else W[rows, cols])
        return float((guess.clamp(*STARS) - truth).square().mean().sqrt())


def hold_out(
    problem: CompletionProblem, seed: int
) -> tuple[CompletionProblem, tuple[Tensor, Tensor, Tensor]]:
    """Nine tenths of the training ratings, and the tenth that is kept out, drawn by the seed."""
    order = torch.randperm(problem.n_observed, generator=torch.Generator().manual_seed(seed))
    out, kept = order[: problem.n_observed // 10], order[problem.n_observed // 10 :]
    rest = CompletionProblem(problem.rows[kept], problem.cols[kept], problem.y[kept], problem.shape)
    return rest, (problem.rows[out], problem.cols[out], problem.y[out])


def _train(
    config: ZhaoConfig, problem: CompletionProblem, judge: _Judge, context: RunContext
) -> dict[str, Any]:
    m, n = problem.shape
    sizes = (n, *(config.width,) * (config.depth - 1), m)
    model = DeepLinear(sizes, scale=config.init_scale, seed=config.seed, dtype=torch.float32)
    best: dict[str, Any] = {"validation_rmse": math.inf, "test_rmse": None, "effective_rank": None}

    def watch(state: State) -> None:
        context.progress(f"step {state.step}")
        now = judge(state.W)
        if now["validation_rmse"] < best["validation_rmse"]:
            best.update(now, best_step=state.step, factors=[w.detach().clone() for w in model.weights])

    result = train(
        model,
        problem,
        optimizer=config.optimizer,
        lr=config.lr,
        penalty=_penalty(config, model),
        max_steps=config.max_steps,
        recording=Recording(per_decade=1, check_every=RATINGS_PER_CHECK, error_targets=()),
        callback=watch,
    )
    factors = best.pop("factors", None)
    if factors is not None:
        best["effective_rank"] = effective_rank(factors)
    return best | {"steps": result.steps, "seconds": result.seconds, "status": result.status}


def _penalty(config: ZhaoConfig, model: DeepLinear) -> Any:
    if config.weight == 0:
        return None
    if config.depth == 2:
        return ThinPenalty(model, config)
    return SpectralPenalty(
        model, config.functional, of="product", weight=config.weight, options=config.options or None
    )


def effective_rank(factors: list[Tensor]) -> float:
    """Of the product of the layers W_1, …, W_N; thin layers need no decomposition of the whole."""
    if len(factors) == 1:
        return float(F.effective_rank(factors[0]))
    left = factors[-1]
    for middle in reversed(factors[1:-1]):
        left = left @ middle
    return float(F.effective_rank(overt.Factored(left, factors[0].mT)))

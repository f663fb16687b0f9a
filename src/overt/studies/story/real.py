"""S7: real input, a photograph and MovieLens 100K."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

import overt
from overt import functional as F
from overt.completion import explicit_run, nuclear_norm_minimization, soft_impute
from overt.models import DeepLinear
from overt.problems import CompletionProblem, DataUnavailableError, movielens_100k, photograph, psnr
from overt.studies.base import RunContext, RunOutput, Skip
from overt.studies.story.config import StoryConfig
from overt.training import Recording, State, train

WIDTH = 100  # of the hidden layers on MovieLens, where a full 943×1682 matrix a step would take minutes


def run_photograph(config: StoryConfig, context: RunContext) -> RunOutput:
    """Fill the removed pixels of a photograph."""
    problem = photograph(kept=config.kept, seed=config.seed, size=(config.height, config.width))
    truth = problem.truth
    assert truth is not None
    W = _fill(config, problem, context).clamp(0.0, 1.0)
    removed = ~problem.observed
    record = {
        "error": problem.error(W),
        "psnr": psnr(W[removed], truth[removed]),
        "effective_rank": float(F.effective_rank(W)),
        "status": "converged",
    }
    arrays = {
        "picture": W.float().numpy(),
        "truth": truth.float().numpy(),
        "observed": problem.observed.numpy(),
    }
    return RunOutput([record], arrays)


def _fill(config: StoryConfig, problem: CompletionProblem, context: RunContext) -> Tensor:
    if config.method == "nuclear_norm":
        return nuclear_norm_minimization(problem).W
    if config.method == "soft_impute":
        return soft_impute(problem, seed=config.seed).W
    if config.method == "explicit":
        run = explicit_run(
            problem,
            weight=config.weight,
            lr=config.lr,
            seed=config.seed,
            max_steps=config.max_steps,
            early_refit=False,
        )
        return run.penalized
    m, n = problem.shape
    sizes = (n, *(min(m, n),) * (config.depth - 1), m)
    model = DeepLinear(sizes, scale=config.init_scale, seed=config.seed, dtype=torch.float64)
    checkpoint = context.directory / "run.safetensors"
    return train(model, problem, lr=config.lr, max_steps=config.max_steps, checkpoint=checkpoint).W


class FactoredPenalty:
    """weight × ‖W‖_*/‖W‖_F of W = W₂W₁, from the two factors alone."""

    def __init__(self, model: DeepLinear, weight: float) -> None:
        self.model, self.weight = model, weight

    def penalty(self, product: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The penalty, a 0-d tensor."""
        first, last = self.model.weights
        return self.weight * F.normalized_nuclear_norm(overt.Factored(last, first.mT))


def run_movielens(config: StoryConfig, context: RunContext) -> RunOutput:
    """Predict the test ratings of u1; a tenth of the training ratings decides when to stop."""
    try:
        full = movielens_100k("u1", dtype=torch.float32)
    except DataUnavailableError as error:
        raise Skip(str(error)) from None
    assert full.heldout is not None
    problem, validation = _hold_out(full, config.seed)
    centred, offsets = problem.center("biases")
    test_rows, test_cols, test_values = full.heldout
    rows, cols, values = validation

    def rmse(W: Tensor | None, where: tuple[Tensor, Tensor], truth: Tensor) -> float:
        guess = offsets.at(*where) + (0.0 if W is None else W[where])
        return float((guess.clamp(1.0, 5.0) - truth).square().mean().sqrt())

    def both(W: Tensor | None) -> dict[str, Any]:
        return {
            "validation_rmse": rmse(W, (rows, cols), values),
            "test_rmse": rmse(W, (test_rows, test_cols), test_values),
        }

    if config.method == "biases":
        return RunOutput([both(None) | {"effective_rank": None, "steps": 0, "status": "converged"}])
    if config.method == "soft_impute":
        found = soft_impute(centred, seed=config.seed)
        record = both(found.W) | {"effective_rank": found.effective_rank, "steps": found.n_iter}
        return RunOutput([record | {"status": "converged" if found.converged else "budget"}])
    best, steps = _train_with_validation(config, centred, both, context)
    return RunOutput([best | {"steps": steps, "status": "stopped"}])


def _hold_out(
    problem: CompletionProblem, seed: int
) -> tuple[CompletionProblem, tuple[Tensor, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(problem.n_observed, generator=generator)
    out, kept = order[: problem.n_observed // 10], order[problem.n_observed // 10 :]
    rest = CompletionProblem(problem.rows[kept], problem.cols[kept], problem.y[kept], problem.shape)
    return rest, (problem.rows[out], problem.cols[out], problem.y[out])


def _train_with_validation(
    config: StoryConfig, problem: CompletionProblem, both: Any, context: RunContext
) -> tuple[dict[str, Any], int]:
    m, n = problem.shape
    explicit = config.method == "explicit"
    hidden = 1 if explicit else config.depth - 1
    model = DeepLinear(
        (n, *(WIDTH,) * hidden, m), scale=config.init_scale, seed=config.seed, dtype=torch.float32
    )
    best: dict[str, Any] = {"validation_rmse": math.inf}

    def watch(state: State) -> None:
        context.progress(f"step {state.step}")
        now = both(state.W)
        if now["validation_rmse"] < best["validation_rmse"]:
            best.update(now, best_step=state.step, effective_rank=_effective_rank(model))

    penalty = FactoredPenalty(model, config.weight) if explicit else None
    result = train(
        model,
        problem,
        lr=config.lr,
        penalty=penalty,
        max_steps=config.max_steps,
        recording=Recording(per_decade=1, check_every=10, error_targets=()),
        callback=watch,
    )
    return best, result.steps


def _effective_rank(model: nn.Module) -> float:
    """From the factors: the spectrum of the product of thin layers needs no 943×1682 decomposition."""
    first, *rest = [weight.detach() for weight in model.weights]  # type: ignore[union-attr]
    left = rest[-1]
    for middle in reversed(rest[:-1]):
        left = left @ middle
    return float(F.effective_rank(overt.Factored(left, first.mT)))

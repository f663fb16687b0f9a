"""Learners of the part ``machines``: each gives outputs on the test rows, and a few words about itself.

Who is tuned has four settings, chosen on the same fifth of the training rows, and is then fitted once more to
all rows. The feature machine has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import overt
from overt.studies.structure.methods import METHODS
from overt.studies.structure.networks import Recipe, outputs_of, train
from overt.studies.structure.problems import Rows, rows
from overt.studies.structure.tuning import refitted

if TYPE_CHECKING:
    from overt.problems import StructuredProblem

__all__ = ["boosting", "kernel_ridge", "loop", "machine", "network", "reweighted"]

Found = tuple[Tensor | None, dict[str, Any]]
DECAY = 3.0  # of the loop that is reweighted, and of the same loop without weights
ROUNDS = 4
STARTS = 13  # of the loop without weights: as many as `reweighted` makes fits on its three paths
KERNELS = tuple({"gamma": gamma, "alpha": alpha} for gamma in (0.2, 1.0) for alpha in (1e-2, 1.0))
TREES = (
    {"learning_rate": 0.05, "max_leaf_nodes": 31},
    {"learning_rate": 0.1, "max_leaf_nodes": 15},
    {"learning_rate": 0.1, "max_leaf_nodes": 6},
    {"learning_rate": 0.2, "max_leaf_nodes": 3},
)


def network(problem: StructuredProblem, recipe: Recipe, method: str) -> Found:
    """A method of the part ``penalties``."""
    found, record = refitted(problem, method, recipe)
    outputs = outputs_of(found.model, problem.X_test)
    return (outputs if bool(outputs.isfinite().all()) else None), record


def machine(problem: StructuredProblem, recipe: Recipe, *, rounds: int | None = None) -> Found:
    """The recursive feature machine as it comes; without rounds it is a stack of kernel ridge regressions."""
    options: dict[str, Any] = {"random_state": recipe.seed}
    options |= {} if rounds is None else {"max_rounds": rounds}
    X, y, X_test = (part.double().numpy() for part in (problem.X, problem.y, problem.X_test))
    if problem.classes:
        est = overt.RFMClassifier(**options).fit(X, problem.y.numpy())
        outputs = torch.zeros(len(X_test), problem.classes)
        outputs[:, est.classes_] = torch.from_numpy(est.predict_proba(X_test)).float()
    else:
        est = overt.RFMRegressor(**options).fit(X, y)
        outputs = torch.from_numpy(est.predict(X_test))[:, None]
    return outputs, {"n_iter": int(est.n_iter_), "rank": float(est.rank_)}


def kernel_ridge(problem: StructuredProblem, recipe: Recipe) -> Found:  # noqa: ARG001
    """Kernel ridge regression with a Gaussian kernel."""
    from sklearn.kernel_ridge import KernelRidge

    size = problem.X.shape[1]

    def fit(data: Rows, setting: dict[str, float]) -> Callable[[Tensor], Tensor]:
        est = KernelRidge(kernel="rbf", alpha=setting["alpha"], gamma=setting["gamma"] / size)
        mean = data.Y.mean(0)
        est.fit(data.X.numpy(), (data.Y - mean).numpy())
        return lambda X: torch.from_numpy(est.predict(X.numpy())).to(mean) + mean

    return _tuned(problem, KERNELS, fit)


def boosting(problem: StructuredProblem, recipe: Recipe) -> Found:
    """Gradient boosting by histograms; of classes, the probabilities."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    kind = HistGradientBoostingClassifier if problem.classes else HistGradientBoostingRegressor
    trees = 100 if problem.classes else 300  # of classes: for each of them

    def fit(data: Rows, setting: dict[str, float]) -> Callable[[Tensor], Tensor]:
        est = kind(
            max_iter=trees, early_stopping=False, min_samples_leaf=5, random_state=recipe.seed, **setting
        )
        targets = data.Y.argmax(1) if problem.classes else data.Y[:, 0]
        est.fit(data.X.numpy(), targets.numpy())
        return partial(_outputs_of_trees, est, problem.classes)

    with threadpool_limits(1):  # of the library that was just loaded, too
        return _tuned(problem, TREES, fit)


def loop(problem: StructuredProblem, recipe: Recipe) -> Found:
    """The training loop that `reweighted` is given: of as many starts as that makes fits the best one."""

    def fit(data: Rows, setting: dict[str, float]) -> Callable[[Tensor], Tensor]:
        own = replace(recipe, seed=recipe.seed + 10_000 * int(setting["start"]))
        return partial(outputs_of, _fit(own, data.X, data.Y))

    return _tuned(problem, [{"start": number} for number in range(STARTS)], fit)


def reweighted(problem: StructuredProblem, recipe: Recipe) -> Found:
    """The same loop around weights of the inputs that it finds itself."""
    found = overt.reweighted(
        partial(_fit, recipe), *_pair(problem), rounds=ROUNDS, loss="squared", seed=recipe.seed
    )
    outputs: Tensor = found.predict(problem.X_test)
    return outputs, {"n_iter": int(found.n_iter_), "rank": float(found.rank_)}


def _fit(recipe: Recipe, X: Tensor, y: Tensor) -> torch.nn.Module:
    return train(METHODS["weight decay"], DECAY, Rows(X, y), None, recipe).model


def _pair(problem: StructuredProblem) -> tuple[Tensor, Tensor]:
    data = rows(problem)[0]
    return data.X, data.Y


def _outputs_of_trees(est: Any, classes: int, X: Tensor) -> Tensor:
    if not classes:
        return torch.from_numpy(est.predict(X.numpy())).to(X)[:, None]
    found = X.new_zeros(len(X), classes)
    found[:, est.classes_] = torch.from_numpy(est.predict_proba(X.numpy())).to(X)
    return found


def _tuned(
    problem: StructuredProblem,
    settings: Sequence[dict[str, float]],
    fit: Callable[[Rows, dict[str, float]], Callable[[Tensor], Tensor]],
) -> Found:
    """The setting of the smallest error on validation rows, fitted to all rows."""
    everything, learn, choose = rows(problem)
    losses = []
    for setting in settings:
        outputs = fit(learn, setting)(choose.X)
        wrong = outputs.argmax(1) != choose.Y.argmax(1)
        loss = wrong.double().mean() if problem.classes else (outputs - choose.Y).square().mean()
        losses.append(float(loss))
    best = settings[losses.index(min(losses))]
    trials = [{"setting": s, "validation": loss} for s, loss in zip(settings, losses, strict=True)]
    return fit(everything, best)(problem.X_test), {"chosen": best, "trials": trials}

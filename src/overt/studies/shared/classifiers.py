"""Training small image classifiers: one resumable loop for all methods, and the scores of what it gives.

>>> from overt.studies.shared.classifiers import Network, Recipe, evaluate, fit, make_classifier, prepared
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from overt._utils.checks import check_choice, check_integer, check_number
from overt.penalties import SpectralPenalty
from overt.problems import ImageSet, ImageSplit
from overt.studies.shared.classifier_networks import Network, SeededDropout, collapsed, make_classifier
from overt.studies.shared.classifier_scores import (
    Scores,
    evaluate,
    expected_calibration_error,
    logits_of,
    margins,
    score,
    temperature,
)
from overt.training.checkpoint import load_checkpoint, pack, save_checkpoint, unpack

__all__ = [
    "Fit",
    "Network",
    "OfWeights",
    "Recipe",
    "Scores",
    "collapsed",
    "evaluate",
    "expected_calibration_error",
    "fit",
    "logits_of",
    "make_classifier",
    "margins",
    "prepared",
    "score",
    "temperature",
]

PenaltyOf = Callable[[Tensor, Tensor], Tensor]
Status = Literal["budget", "loss", "diverged"]


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained, by cross-entropy on random batches.

    Attributes
    ----------
    optimizer : {"adamw", "sgd"}
        AdamW (decoupled decay), or SGD with momentum (the decay is added to the gradient).
    lr, weight_decay, momentum : float
        `momentum` is for SGD. Biases do not decay.
    batch_size, max_steps : int
        A batch is the whole set where that is smaller. Each pass goes through all images in a new order.
    cosine : bool
        The learning rate falls to 0 as half a cosine over `max_steps`; else it is constant.
    stop_loss : float
        Training ends when the cross-entropy on the whole training set, in evaluation mode, is at or below
        it; 0 for never.
    check_every : int
        Steps from one look at that to the next.
    seed : int
        Of the order of the images and of dropout.
    """

    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    batch_size: int = 50
    max_steps: int = 1000
    cosine: bool = False
    stop_loss: float = 0.0
    check_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice(self.optimizer, "optimizer", ("adamw", "sgd"))
        for name in ("batch_size", "max_steps", "check_every"):
            check_integer(getattr(self, name), name, least=1)
        for name in ("weight_decay", "momentum", "stop_loss"):
            check_number(getattr(self, name), name, least=0)
        check_number(self.lr, "lr", above=0)


@dataclass(frozen=True)
class Fit:
    """How a training ended.

    Attributes
    ----------
    status : {"budget", "loss", "diverged"}
        All steps made; the training loss reached; or a loss that is not finite.
    steps : int
    loss : float
        Cross-entropy on the training set, in evaluation mode.
    seconds_per_step : float
        Median over the steps made since the last resumption.
    """

    status: Status
    steps: int
    loss: float
    seconds_per_step: float


class OfWeights(nn.Module):
    """A penalty on the weights, called as those on the outputs are; its directions go into the checkpoint."""

    def __init__(self, penalty: SpectralPenalty) -> None:
        super().__init__()
        self.penalty = penalty

    def forward(self, x: Tensor, outputs: Tensor) -> Tensor:  # noqa: ARG002
        """The penalty of the weights as they are."""
        value: Tensor = self.penalty()
        return value


def prepared(split: ImageSplit) -> tuple[ImageSplit, float, float]:
    """The split with mean 0 and deviation 1 over the training pixels; the mean and deviation of before."""
    mean, std = float(split.train.images.mean()), float(split.train.images.std())

    def scaled(data: ImageSet) -> ImageSet:
        return ImageSet((data.images - mean) / std, data.labels)

    train, validation, test = (scaled(data) for data in (split.train, split.validation, split.test))
    return replace(split, train=train, validation=validation, test=test), mean, std


def fit(
    model: nn.Module,
    data: ImageSet,
    recipe: Recipe,
    penalty: nn.Module | PenaltyOf | None = None,
    *,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 30.0,
    progress: Callable[[str], None] | None = None,
) -> Fit:
    """Train a model in place on images with labels.

    Parameters
    ----------
    model, data, recipe
        What is trained, on what, and how.
    penalty
        Called as ``penalty(x, outputs)`` at each step and added to the loss; `x` requires gradients then, so
        that the Jacobian of the outputs can be had without a second forward pass. A module's state goes into
        the checkpoint.
    checkpoint
        A file from which the training goes on where it was, and which it leaves when it ends; the result is
        that of an uninterrupted training.
    checkpoint_seconds
        From one writing of it to the next.
    progress
        Takes a line now and then.
    """
    run = _Training(model, data, recipe, penalty, checkpoint)
    saved = time.monotonic()
    while run.status is None:
        run.step()
        if checkpoint is not None and time.monotonic() - saved >= checkpoint_seconds:
            run.save(checkpoint)
            saved = time.monotonic()
        if progress is not None and run.steps % 100 == 0:
            progress(f"step {run.steps} of {recipe.max_steps}")
    times = sorted(run.times)
    return Fit(run.status, run.steps, run.loss, times[len(times) // 2] if times else math.nan)


class _Training:
    """One training between two steps."""

    def __init__(
        self,
        model: nn.Module,
        data: ImageSet,
        recipe: Recipe,
        penalty: nn.Module | PenaltyOf | None,
        checkpoint: Path | None,
    ) -> None:
        self.model, self.data, self.recipe, self.penalty = model, data, recipe, penalty
        self.optimizer = _optimizer(model, recipe)
        self.dropouts = [module for module in model.modules() if isinstance(module, SeededDropout)]
        self.steps, self.loss = 0, math.inf
        self.status: Status | None = None
        self.times: list[float] = []
        self.order: tuple[int, Tensor] | None = None
        if checkpoint is not None and checkpoint.is_file():
            self.load(checkpoint)

    def step(self) -> None:
        """One step, and a look at the training loss where it is due."""
        clock = time.perf_counter()
        recipe = self.recipe
        self._seed()
        batch = self._batch()
        x, labels = self.data.images[batch], self.data.labels[batch]
        self.model.train()
        if self.penalty is not None:
            x.requires_grad_()
        outputs = self.model(x)
        loss = nn.functional.cross_entropy(outputs, labels)
        if not bool(torch.isfinite(loss.detach())):  # before a penalty finds its Jacobian not finite
            self.status = "diverged"
            return
        if self.penalty is not None:
            loss = loss + self.penalty(x, outputs)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        factor = (1 + math.cos(math.pi * self.steps / recipe.max_steps)) / 2 if recipe.cosine else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.lr * factor
        self.optimizer.step()
        self.steps += 1
        self.times.append(time.perf_counter() - clock)
        if self.steps >= recipe.max_steps or (recipe.stop_loss and self.steps % recipe.check_every == 0):
            self._look()

    def save(self, path: Path) -> None:
        """Write what the rest of the training depends on."""
        tensors: dict[str, Tensor] = {}
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        if isinstance(self.penalty, nn.Module):
            state["penalty"] = self.penalty.state_dict()
        packed = pack({key: dict(value) for key, value in state.items()}, "state", tensors)
        save_checkpoint(path, tensors, {"recipe": asdict(self.recipe), "steps": self.steps, "state": packed})

    def load(self, path: Path) -> None:
        """Go on where a checkpoint was written; ValueError if it is of another training."""
        tensors, found = load_checkpoint(path)
        if found.get("recipe") != asdict(self.recipe):
            raise ValueError(f"{path} is the checkpoint of another recipe; remove it")
        state: dict[str, Any] = unpack(found["state"], tensors)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if isinstance(self.penalty, nn.Module):
            self.penalty.load_state_dict(state["penalty"])
        self.steps = int(found["steps"])
        if self.steps >= self.recipe.max_steps:
            self._look()

    def _look(self) -> None:
        self.loss = evaluate(self.model, self.data).cross_entropy
        if not math.isfinite(self.loss):
            self.loss, self.status = math.inf, "diverged"
        elif self.recipe.stop_loss and self.loss <= self.recipe.stop_loss:
            self.status = "loss"
        elif self.steps >= self.recipe.max_steps:
            self.status = "budget"

    def _seed(self) -> None:
        # A function of the step alone, so that a resumed training draws what it would have drawn.
        for i, dropout in enumerate(self.dropouts):
            dropout.generator.manual_seed((self.recipe.seed * 1_000_003 + self.steps) * 31 + i)

    def _batch(self) -> Tensor:
        n = len(self.data)
        size = min(self.recipe.batch_size, n)
        epoch, place = divmod(self.steps, n // size)
        if self.order is None or self.order[0] != epoch:
            generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
            self.order = (epoch, torch.randperm(n, generator=generator))
        return self.order[1][place * size : (place + 1) * size]


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    decaying = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decaying, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum)
    return torch.optim.AdamW(groups, lr=recipe.lr)

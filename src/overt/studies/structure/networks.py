"""A small network by AdamW: every setting of a method is trained, validation chooses setting and step.

All methods have one recipe: the same network, batches and number of steps, and a learning rate that falls to
zero as half a cosine. So a run has ended when its steps are made; what it would give after more steps is not
asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from overt.penalties import JacobianPenalty
from overt.studies.shared.redrawn import redrawn
from overt.studies.structure.methods import METHODS, Method
from overt.studies.structure.problems import Rows

__all__ = ["LOOKS", "Recipe", "Trained", "mlp", "outputs_of", "train", "tuned"]

LOOKS = 50  # steps between two looks at the validation rows

Extra = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Recipe:
    """What all methods have in common."""

    seed: int
    width: int = 96
    hidden: int = 2
    lr: float = 4e-3
    max_steps: int = 1000
    batch_size: int = 64


@dataclass
class Trained:
    """A network at the step that validation chose, and its loss there; infinite if it diverged at once."""

    model: nn.Sequential
    setting: float
    loss: float = math.inf
    step: int = 0
    state: dict[str, Tensor] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, Any]:
        """What is recorded of it."""
        return {
            "setting": self.setting,
            "validation": self.loss if math.isfinite(self.loss) else None,
            "step": self.step,
        }


def mlp(inputs: int, outputs: int, recipe: Recipe) -> nn.Sequential:
    """Fully connected layers with ReLU between them, torch's default start from a generator of its own."""
    sizes = [inputs, *[recipe.width] * recipe.hidden, outputs]
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return redrawn(nn.Sequential(*layers[:-1]), recipe.seed)


def tuned(
    method: str, learn: Rows, choose: Rows, recipe: Recipe, knob: Sequence[float] = ()
) -> list[Trained]:
    """Every setting of a method, the best of them first."""
    found = [
        train(METHODS[method], setting, learn, choose, recipe) for setting in knob or METHODS[method].knob
    ]
    return sorted(found, key=lambda one: one.loss)


def train(
    method: Method, setting: float, learn: Rows, choose: Rows | None, recipe: Recipe, steps: int | None = None
) -> Trained:
    """One training, by squared error.

    Parameters
    ----------
    method, setting
        The way to train and the value of its knob.
    learn, choose
        Rows to learn from, and to choose the step by; without the latter the last step counts.
    steps
        Where to stop; the learning rate falls as it would have without.
    """
    model = mlp(learn.X.shape[1], learn.Y.shape[1], recipe)
    plain = method.label == METHODS["nothing"].label
    decay = setting if method.label == METHODS["weight decay"].label else 0.0
    lr = setting if plain else recipe.lr
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=decay, fused=True)
    extra = _extra(model, method, setting, recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    found = Trained(model, setting)
    last = recipe.max_steps if steps is None else steps
    for step in range(last):
        batch = torch.randint(len(learn), (min(recipe.batch_size, len(learn)),), generator=generator)
        x, y = learn.X[batch], learn.Y[batch]
        if extra is not None:
            x.requires_grad_()
        outputs = model(x)
        loss = (outputs - y).square().mean()
        if not bool(torch.isfinite(loss.detach())):
            break
        if extra is not None:
            loss = loss + extra(x, outputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / recipe.max_steps)) / 2
        optimizer.step()
        if choose is not None and ((step + 1) % LOOKS == 0 or step + 1 == last):
            _look(found, choose, step + 1)
    if found.state:
        model.load_state_dict(found.state)
    return found


def outputs_of(model: nn.Module, X: Tensor) -> Tensor:
    """Without gradients."""
    with torch.no_grad():
        found: Tensor = model(X)
    return found


def _look(found: Trained, choose: Rows, step: int) -> None:
    loss = float((outputs_of(found.model, choose.X) - choose.Y).square().mean())
    if loss < found.loss:
        found.loss, found.step = loss, step
        found.state = {name: value.clone() for name, value in found.model.state_dict().items()}


def _extra(model: nn.Sequential, method: Method, setting: float, seed: int) -> Extra | None:
    """The penalty of a step; None where the method has none."""
    if method.p:
        return JacobianPenalty(model, method.p, method.basis, setting, seed=seed)
    if method.label == METHODS["group lasso"].label:
        weight: Tensor = model[0].weight  # type: ignore[assignment]
        return lambda x, outputs: setting * (weight.square().sum(0) + 1e-12).sqrt().sum()  # noqa: ARG005
    return None

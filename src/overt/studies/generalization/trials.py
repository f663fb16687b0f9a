"""One training of a method: the network, the recipe and the penalty that a value of its knob stands for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from overt import CompositionPenalty, JacobianPenalty, SpectralPenalty
from overt.studies.generalization.methods import METHODS
from overt.studies.shared.classifiers import Network, OfWeights, Recipe

if TYPE_CHECKING:
    from overt.studies.generalization.settings import TunedConfig

__all__ = ["Trial", "trial"]

WIDTHS = {"mlp": (128, 128), "cnn": (16, 32)}


@dataclass(frozen=True)
class Trial:
    """A network, how it is trained, and how the penalty of a model is made."""

    network: Network
    recipe: Recipe
    penalty: Callable[[nn.Sequential], nn.Module] | None = None


def trial(config: TunedConfig, setting: float) -> Trial:
    """The training that a value of the knob stands for."""
    method = config.method
    network = Network(
        config.network, config.widths or WIDTHS[config.network], factors=METHODS[method].factors
    )
    recipe = Recipe(
        optimizer="adamw",
        lr=config.lr,
        batch_size=config.batch_size,
        max_steps=config.max_steps,
        seed=config.seed,
    )
    if method == "nothing" or method.startswith("overparameterized"):
        return Trial(network, replace(recipe, lr=setting))
    if method == "early_stopping":
        return Trial(network, replace(recipe, max_steps=max(1, round(setting * config.max_steps))))
    if method == "weight_decay":
        return Trial(network, replace(recipe, weight_decay=setting))
    if method == "dropout":
        return Trial(replace(network, dropout=setting), recipe)
    return Trial(network, recipe, lambda model: _penalty(model, config, setting))


class _OfParts(nn.Module):
    """The composition penalty, which makes a forward pass of its own."""

    def __init__(self, penalty: CompositionPenalty) -> None:
        super().__init__()
        self.penalty = penalty

    def forward(self, x: Tensor, outputs: Tensor) -> Tensor:  # noqa: ARG002
        value: Tensor = self.penalty(x)
        return value


def _penalty(model: nn.Sequential, config: TunedConfig, weight: float) -> nn.Module:
    one = METHODS[config.method]
    if config.method == "composition":
        cut = next(i for i, layer in enumerate(model) if isinstance(layer, nn.ReLU)) + 1
        return _OfParts(CompositionPenalty(model, weight, cuts=cut, seed=config.seed))
    if one.p:
        return JacobianPenalty(model, one.p, one.basis, weight, normalized=one.normalized, seed=config.seed)
    # Singular directions are renewed at every fifth step: a third of the cost, at a small learning rate.
    return OfWeights(SpectralPenalty(model, config.method, of="weights", weight=weight, every=5))

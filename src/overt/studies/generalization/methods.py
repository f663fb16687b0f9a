"""The methods: for each its name, its one knob, and the values of it that are tried.

The tuning budget is the same for all: four values of one knob, all else fixed. The values were placed by
pilot runs of 500 steps with seed 1000 (presets begin at 0) around the best validation score; they are the
same for every network and training-set size. Neighbours are a factor of 3 to 10 apart. In the pilot no
weight of the normalized penalties raised the accuracy, while the cross-entropy first rose and then fell with
the weight: their smallest values are next to nothing, the others are about the best cross-entropy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from overt import JacobianPenalty, SpectralPenalty
from overt.penalties import CompositionPenalty
from overt.studies.generalization.config import GeneralizationConfig
from overt.studies.shared.classifiers import Network, OfWeights, Recipe

__all__ = ["BUDGET", "Trial", "key", "label", "look", "settings_of", "trial"]

BUDGET = 4
WIDTHS = {"mlp": (128, 128), "cnn": (16, 32)}
POWERS = {2.0: "2", 1.0: "1", 2 / 3: "2/3"}

KNOBS: dict[str, tuple[float, ...]] = {
    "nothing": (3e-4, 1e-3, 3e-3, 1e-2),  # learning rate; all of them fit the training images
    "early_stopping": (0.05, 0.1, 0.2, 0.4),  # share of the steps
    "weight_decay": (0.1, 0.3, 1.0, 3.0),
    "dropout": (0.1, 0.3, 0.5, 0.7),
    "nuclear_norm": (3e-4, 1e-3, 3e-3, 1e-2),
    "normalized_nuclear_norm": (3e-3, 1e-2, 3e-2, 1e-1),
    "overparameterized": (1e-4, 3e-4, 1e-3, 3e-3),  # learning rate
    "composition": (1e-3, 1e-2, 1e-1, 1.0),
}
OF_JACOBIAN: dict[tuple[str, bool], tuple[float, ...]] = {
    ("2", False): (1e-3, 1e-2, 1e-1, 1.0),
    ("1", False): (1e-3, 5e-3, 2.5e-2, 1.2e-1),
    ("2/3", False): (3e-4, 1.5e-3, 7.5e-3, 4e-2),
    ("1", True): (1e-2, 1e-1, 3e-1, 1.0),
    ("2/3", True): (3e-4, 3e-3, 1e-2, 5e-2),
}
EIGEN = 5.0  # factor of the values for p = 2/3 in the eigenbasis, whose sum has fewer large terms
NAMES = {
    "nothing": "nothing",
    "early_stopping": "early stopping",
    "weight_decay": "weight decay",
    "dropout": "dropout",
    "nuclear_norm": "nuclear norm of weights",
    "normalized_nuclear_norm": "normalized nuclear norm of weights",
    "overparameterized": "linear over-parameterization",
    "composition": "composition, two Frobenius norms",
}
BASES = {"fourier": "Fourier", "identity": "pixels"}
LOOKS = {
    "nothing": "depth 1",
    "early_stopping": "depth 5",
    "weight_decay": "softimpute",
    "dropout": "depth 2",
    "nuclear_norm": "nuclear norm",
    "normalized_nuclear_norm": "depth 4",
    "overparameterized": "depth 3",
    "composition": "irls",
    "jacobian": "explicit",
    "jacobian 2": "nuclear norm",
}


def key(config: Mapping[str, Any]) -> str:
    """A word for the method with what sets it apart, the same for all networks and sizes."""
    name = str(config["method"])
    if name == "overparameterized":
        return f"{name} {config['factors']}"
    if name != "jacobian":
        return name
    power = power_of(config["p"])
    if power == "2":
        return "jacobian 2"  # the trace, the same in every basis
    return f"jacobian {power} {config['basis']}{' normalized' if config['normalized'] else ''}"


def label(word: str) -> str:
    """What a figure calls the method of `key`."""
    name, _, rest = word.partition(" ")
    if name == "overparameterized":
        return f"{NAMES[name]} ×{rest}"
    if name != "jacobian":
        return NAMES[name]
    if rest == "2":
        return "Jacobian p=2 (Frobenius)"
    power, *others = rest.split(" ")
    return f"Jacobian p={power}, {', '.join(BASES.get(other, other) for other in others)}"


def look(word: str) -> str:
    """The method of `overt.studies.report.palette` whose colour and marker it has, in every figure."""
    return LOOKS.get(word, LOOKS[word.split(" ")[0]])


def power_of(p: float) -> str:
    """2, 1 and 2/3 by these names, others as numbers."""
    return next((name for value, name in POWERS.items() if abs(value - p) < 1e-9), f"{p:g}")


def settings_of(config: GeneralizationConfig) -> tuple[float, ...]:
    """The values of the knob that are tried."""
    if config.settings:
        return config.settings
    if config.method != "jacobian":
        return KNOBS[config.method]
    power = power_of(config.p)
    nearest = power if power in POWERS.values() else min(POWERS.values(), key=lambda w: _apart(w, config.p))
    factor = EIGEN if nearest == "2/3" and config.basis == "eigen" and not config.normalized else 1.0
    return tuple(factor * value for value in OF_JACOBIAN[nearest, config.normalized])


def _apart(word: str, p: float) -> float:
    return next(abs(value - p) for value, name in POWERS.items() if name == word)


@dataclass(frozen=True)
class Trial:
    """One training of a method: the network, the recipe, and how the penalty of a model is made."""

    network: Network
    recipe: Recipe
    penalty: Callable[[nn.Sequential], nn.Module] | None = None


def trial(config: GeneralizationConfig, setting: float) -> Trial:
    """The training that a value of the knob stands for."""
    network = Network(config.network, config.widths or WIDTHS[config.network])
    recipe = Recipe(
        optimizer=config.optimizer,
        lr=config.lr,
        batch_size=config.batch_size,
        max_steps=config.max_steps,
        seed=config.seed,
    )
    method = config.method
    if method == "nothing":
        return Trial(network, replace(recipe, lr=setting))
    if method == "early_stopping":
        return Trial(network, replace(recipe, max_steps=max(1, round(setting * config.max_steps))))
    if method == "weight_decay":
        return Trial(network, replace(recipe, weight_decay=setting))
    if method == "dropout":
        return Trial(replace(network, dropout=setting), recipe)
    if method == "overparameterized":
        return Trial(replace(network, factors=config.factors), replace(recipe, lr=setting))
    return Trial(network, recipe, lambda model: _penalty(model, config, setting))


class _OfParts(nn.Module):
    """The composition penalty, which makes a forward pass of its own."""

    def __init__(self, penalty: CompositionPenalty) -> None:
        super().__init__()
        self.penalty = penalty

    def forward(self, x: Tensor, outputs: Tensor) -> Tensor:  # noqa: ARG002
        value: Tensor = self.penalty(x)
        return value


def _penalty(model: nn.Sequential, config: GeneralizationConfig, weight: float) -> nn.Module:
    if config.method == "composition":
        cut = next(i for i, layer in enumerate(model) if isinstance(layer, nn.ReLU)) + 1
        return _OfParts(CompositionPenalty(model[:cut], model[cut:], weight, seed=config.seed))
    if config.method == "jacobian":
        return JacobianPenalty(
            model, config.p, config.basis, weight, normalized=config.normalized, seed=config.seed
        )
    # Singular directions are renewed at every fifth step: a third of the cost, at a small learning rate.
    return OfWeights(SpectralPenalty(model, config.method, of="weights", weight=weight, every=5))

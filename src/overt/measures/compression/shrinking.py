"""A model at chosen ranks, with a report."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, TypeVar

from torch import nn
from torch.nn.parameter import is_lazy

from overt._utils.checks import check_integer, check_number
from overt.measures.compression.evaluating import Evaluate
from overt.measures.compression.factoring import Layer, layers_to_factor
from overt.measures.compression.rank_search import Found, Ranks, search

_M = TypeVar("_M", bound=nn.Module)


@dataclass(frozen=True)
class CompressionReport:
    """What `compress` did.

    Attributes
    ----------
    ranks, full_ranks : dict of int
        By the layers' names in the original model: ranks of the factored layers, and full ranks of all layers
        that can be factored.
    parameters_before, parameters_after : int
        Numbers in the parameters of the models, each counted once.
    layers_before, layers_after : dict of int
        Numbers in the weights of all layers that can be factored.
    errors : dict of float
        Truncation errors ‖W − W_r‖_F/‖W‖_F of the factored layers.
    left_alone : dict of str
        Other layers with a weight, and why they were not factored.
    accuracy_before, accuracy_after : float or None
        Accuracy of the original and of the returned model; None without `evaluate`.
    tolerance : float or None
        The allowed loss of accuracy, if one was given.
    evaluations : int
        Number of models evaluated.
    """

    ranks: dict[str, int]
    full_ranks: dict[str, int]
    parameters_before: int
    parameters_after: int
    layers_before: dict[str, int]
    layers_after: dict[str, int]
    errors: dict[str, float]
    left_alone: dict[str, str]
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    tolerance: float | None = None
    evaluations: int = 0

    @property
    def ratio(self) -> float:
        """Parameters before over parameters after."""
        return self.parameters_before / self.parameters_after

    def to_record(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"{self.parameters_before} → {self.parameters_after} parameters ({self.ratio:.2f}×)"
        if self.accuracy_before is not None and self.accuracy_after is not None:
            text += f", accuracy {self.accuracy_before:.4f} → {self.accuracy_after:.4f}"
        return text


class Shrunk(NamedTuple):
    """The result of `Shrinkable.within`."""

    model: nn.Module
    report: CompressionReport
    ranks: Ranks
    found: Found


class Shrinkable:
    """A model with the decompositions of its layers; `layers` has one for each distinct weight."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        if any(is_lazy(p) for p in model.parameters()):
            raise ValueError("model: a parameter is not initialized (a lazy layer); run a forward pass first")
        self.every, self.left_alone = layers_to_factor(model)
        if not self.every:
            raise ValueError(
                f"{type(model).__name__} has no nn.Linear or nn.Conv1d/2d/3d that could be factored; "
                f"{_reasons(self.left_alone)}"
            )
        units: dict[int, Layer] = {}
        for layer in self.every:
            units.setdefault(id(layer.module.weight), layer)
        self.layers = list(units.values())
        self._unit = {layer.name: list(units).index(id(layer.module.weight)) for layer in self.every}
        self.numbers = sum(p.numel() for p in model.parameters())
        self.other = self.numbers - sum(layer.entries for layer in self.layers)

    def at_energy(self, energy: object) -> Ranks:
        """Ranks that keep a share of Σσ² in each layer."""
        share = check_number(energy, "energy", above=0, most=1)
        return tuple(layer.energy_rank(share) for layer in self.layers)

    def named(self, ranks: Mapping[str, int] | int) -> Ranks:
        """Ranks from names, or one for all."""
        asked = ranks if isinstance(ranks, Mapping) else {layer.name: ranks for layer in self.every}
        chosen = [layer.full_rank for layer in self.layers]
        for name, rank in asked.items():
            name = name.removesuffix(".weight") if isinstance(name, str) else name
            if name not in self._unit:
                why = self.left_alone.get(name, "there is no such layer")
                known = ", ".join(map(repr, self._unit))
                raise ValueError(f"ranks: {name!r} cannot be factored: {why}; there are {known}")
            label = f"ranks[{name!r}]" if asked is ranks else "ranks"
            rank = check_integer(rank, label, least=1)
            chosen[self._unit[name]] = min(rank, chosen[self._unit[name]])
        return tuple(chosen)

    def within(self, tolerance: float, score: Evaluate, max_evaluations: int) -> Shrunk:
        """The smallest model found that is as good within a tolerance."""
        scratch = Shrinkable(_copied(self.model))
        found = search(scratch.layers, lambda: score(scratch.model), tolerance, max_evaluations)
        for ranks in sorted(found.good, key=found.good.__getitem__):
            small, report = self.build(ranks, score, found.before, tolerance, found.evaluations)
            # Two factors round differently from their product, so the built model decides.
            if report.accuracy_after is not None and report.accuracy_after >= found.before - tolerance:
                return Shrunk(small, report, ranks, found)
        raise ValueError("evaluate is not deterministic: an exact copy of the model is worse than the model")

    def build(
        self,
        ranks: Ranks,
        score: Evaluate | None = None,
        before: float | None = None,
        tolerance: float | None = None,
        evaluations: int = 0,
    ) -> tuple[nn.Module, CompressionReport]:
        """The model at these ranks, with its report."""
        small, factored = _copied(self.model), {}
        modules = dict(small.named_modules(remove_duplicate=False))
        cache: dict[tuple[int, int], nn.Parameter] = {}
        replaced: dict[int, nn.Module] = {}
        for layer in self.every:
            rank = ranks[self._unit[layer.name]]
            if layer.thrifty(rank):
                old: Any = modules[layer.name]
                replaced[id(old)] = replace(layer, module=old).build(rank, cache)
                factored[layer.name] = rank
        small = _swap(small, modules, replaced)
        report = CompressionReport(
            ranks=factored,
            full_ranks={layer.name: layer.full_rank for layer in self.every},
            parameters_before=self.numbers,
            parameters_after=sum(p.numel() for p in small.parameters()),
            layers_before={layer.name: layer.entries for layer in self.every},
            layers_after={layer.name: layer.price(ranks[self._unit[layer.name]]) for layer in self.every},
            errors={x.name: x.error(factored[x.name]) for x in self.every if x.name in factored},
            left_alone=dict(self.left_alone),
            accuracy_before=before,
            accuracy_after=None if score is None else score(small),
            tolerance=tolerance,
            evaluations=evaluations,
        )
        object.__setattr__(small, "compression", report)
        return small, report


def _copied(model: _M) -> _M:
    """A copy without gradients; ValueError if the model cannot be copied."""
    try:
        twin = copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"model: {type(model).__name__} cannot be copied ({error})") from None
    for p in twin.parameters():
        p.grad = None
    return twin


def _swap(small: nn.Module, modules: dict[str, nn.Module], replaced: dict[int, nn.Module]) -> nn.Module:
    """Replace modules under each of their names."""
    for name, module in modules.items():
        if id(module) not in replaced:
            continue
        if not name:
            return replaced[id(module)]
        parent, _, last = name.rpartition(".")
        modules[parent]._modules[last] = replaced[id(module)]
    return small


def _reasons(left_alone: Mapping[str, str]) -> str:
    """The first few layers that stay as they are, by reason."""
    names: dict[str, list[str]] = {}
    for name, reason in left_alone.items():
        names.setdefault(reason, []).append(repr(name))
    found = []
    for reason, layers in names.items():
        more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
        found.append(f"{', '.join(layers[:3])}{more}: {reason}")
    return "; ".join(found) or "it has no weights"

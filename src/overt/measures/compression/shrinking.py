"""A model at chosen ranks."""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Mapping
from typing import TypeVar, cast

from torch import nn
from torch.nn.parameter import is_lazy

from overt.measures.compression.evaluating import Evaluate
from overt.measures.compression.factoring import Layer, layers_to_factor
from overt.measures.compression.rank_search import Found, Ranks, search
from overt.measures.compression.report import CompressionReport, report_of

__all__ = ["Shrinkable", "check_tolerance"]


def check_tolerance(tolerance: object) -> float:
    """`tolerance` as a finite float ≥ 0."""
    if isinstance(tolerance, bool) or not isinstance(tolerance, numbers.Real):
        raise TypeError(f"tolerance must be a number ≥ 0, got {tolerance!r}")
    value = float(tolerance)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"tolerance must be a finite number ≥ 0, got {tolerance!r}")
    return value


class Shrinkable:
    """A model with the decompositions of its layers; `layers` has one for each distinct weight."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        if any(is_lazy(p) for p in model.parameters()):
            raise ValueError("model: a parameter is not initialized (a lazy layer); run a forward pass first")
        every, self.left_alone = layers_to_factor(model)
        if not every:
            raise ValueError(
                f"{type(model).__name__} has no nn.Linear or nn.Conv1d/2d/3d that could be factored; "
                f"{_reasons(self.left_alone)}"
            )
        units: dict[int, Layer] = {}
        for layer in every:
            units.setdefault(id(layer.module.weight), layer)
        self.every = every
        self.layers = list(units.values())
        self._unit = {layer.name: list(units).index(id(layer.module.weight)) for layer in every}
        self.numbers = sum(p.numel() for p in model.parameters())
        self.other = self.numbers - sum(layer.entries for layer in self.layers)

    def at_energy(self, energy: object) -> Ranks:
        """Ranks that keep a share of Σσ² in each layer."""
        if isinstance(energy, bool) or not isinstance(energy, numbers.Real) or not 0 < float(energy) <= 1:
            raise ValueError(f"energy must lie in (0, 1], got {energy!r}")
        return tuple(layer.energy_rank(float(energy)) for layer in self.layers)

    def named(self, ranks: Mapping[str, int] | int) -> Ranks:
        """Ranks from names, or one for all."""
        asked = ranks if isinstance(ranks, Mapping) else {layer.name: ranks for layer in self.every}
        chosen = [layer.full_rank for layer in self.layers]
        for name, rank in asked.items():
            name = name.removesuffix(".weight")
            if name not in self._unit:
                why = self.left_alone.get(name, "there is no such layer")
                raise ValueError(
                    f"ranks: {name!r} cannot be factored: {why}; there are {', '.join(self._unit)}"
                )
            if not _is_count(rank):
                raise ValueError(f"ranks: {name!r} must have a rank that is an int ≥ 1, got {rank!r}")
            chosen[self._unit[name]] = min(int(rank), chosen[self._unit[name]])
        return tuple(chosen)

    def within(
        self, tolerance: float, score: Evaluate, max_evaluations: int
    ) -> tuple[nn.Module, Found, Ranks]:
        """The smallest model found that is as good within a tolerance, with what the search saw."""
        if not _is_count(max_evaluations):
            raise ValueError(f"max_evaluations must be an int ≥ 1, got {max_evaluations!r}")
        scratch = Shrinkable(copied(self.model))
        found = search(scratch.layers, lambda: score(scratch.model), tolerance, max_evaluations)
        for chosen in sorted(found.good, key=found.good.__getitem__):
            small = self.build(chosen, score, found.before, tolerance, found.evaluations)
            after = report_of(small).accuracy_after
            # Two factors round otherwise than their product does, so the last word is the built model's.
            if after is not None and after >= found.before - tolerance:
                return small, found, chosen
        raise ValueError("evaluate is not deterministic: an exact copy of the model is worse than the model")

    def build(
        self,
        ranks: Ranks,
        score: Evaluate | None = None,
        before: float | None = None,
        tolerance: float | None = None,
        evaluations: int = 0,
    ) -> nn.Module:
        """The model at these ranks, with its report."""
        small, factored = copied(self.model), {}
        modules = dict(small.named_modules(remove_duplicate=False))
        cache: dict[tuple[int, int], nn.Parameter] = {}
        replaced: dict[int, nn.Module] = {}
        for layer in self.every:
            rank = ranks[self._unit[layer.name]]
            if layer.thrifty(rank):
                old = cast("nn.Linear", modules[layer.name])
                twin = Layer(layer.name, old, layer.U, layer.S, layer.Vh)
                replaced[id(old)] = twin.build(rank, cache)
                factored[layer.name] = rank
        small = _swap(small, modules, replaced)
        report = CompressionReport(
            ranks=factored,
            full_ranks={layer.name: layer.full_rank for layer in self.every},
            parameters_before=self.numbers,
            parameters_after=sum(p.numel() for p in small.parameters()),
            layers_before={layer.name: layer.entries for layer in self.every},
            layers_after={layer.name: layer.price(ranks[self._unit[layer.name]]) for layer in self.every},
            errors={
                layer.name: _error(layer, factored[layer.name])
                for layer in self.every
                if layer.name in factored
            },
            left_alone=dict(self.left_alone),
            accuracy_before=before,
            accuracy_after=None if score is None else score(small),
            tolerance=tolerance,
            evaluations=evaluations,
        )
        object.__setattr__(small, "compression", report)
        return small


_M = TypeVar("_M", bound=nn.Module)


def copied(model: _M) -> _M:
    """A copy without gradients; ValueError where there can be none."""
    try:
        twin = copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"model: {type(model).__name__} cannot be copied ({error})") from None
    for p in twin.parameters():
        p.grad = None
    return twin


def _swap(small: nn.Module, modules: dict[str, nn.Module], replaced: dict[int, nn.Module]) -> nn.Module:
    """Put new modules in the places of old ones, under each name that they have."""
    for name, module in modules.items():
        if id(module) not in replaced:
            continue
        if not name:
            return replaced[id(module)]
        parent, _, last = name.rpartition(".")
        modules[parent]._modules[last] = replaced[id(module)]
    return small


def _reasons(left_alone: Mapping[str, str]) -> str:
    """Which layers stay as they are, by reason, in few words."""
    names: dict[str, list[str]] = {}
    for name, reason in left_alone.items():
        names.setdefault(reason, []).append(repr(name))
    found = []
    for reason, layers in names.items():
        more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
        found.append(f"{', '.join(layers[:3])}{more}: {reason}")
    return "; ".join(found) or "it has no weights"


def _is_count(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, numbers.Integral) and int(value) >= 1


def _error(layer: Layer, rank: int) -> float:
    power = layer.S.double().square()
    total = float(power.sum())
    return math.sqrt(float(power[:, rank:].sum()) / total) if total > 0 else 0.0

"""The search for the fewest numbers that keep a model's accuracy; see `effective_parameters`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from overt.measures.compression.factoring import Layer

Ranks = tuple[int, ...]  # one for each distinct weight; the full rank means that it is left as it is

_HALVINGS = 8


class _Exhausted(Exception):  # noqa: N818  (it ends a search, and is no error)
    """No further evaluation is allowed."""


@dataclass
class Found:
    """The result of a search; `evaluations` and `exhausted` as in `EffectiveParameters`.

    Attributes
    ----------
    before
        Accuracy of the original model.
    good
        Numbers in the weights, by ranks, for all that kept the accuracy.
    alone
        For each weight the smallest rank found that keeps the accuracy with all others as they are.
    """

    before: float
    good: dict[Ranks, int] = field(default_factory=dict)
    alone: list[int] = field(default_factory=list)
    evaluations: int = 0
    exhausted: bool = False


def search(
    layers: list[Layer], evaluate: Callable[[], float], tolerance: float, max_evaluations: int
) -> Found:
    """Search for ranks that keep ``evaluate()`` within `tolerance` of its present value.

    The weights of the layers, one for each distinct weight, are overwritten meanwhile and restored at the
    end. `evaluate` gives the accuracy with the present weights; it is called at most `max_evaluations` times.
    """
    trial = _Trial(layers, evaluate, tolerance, max_evaluations)
    try:
        trial.run()
    except _Exhausted:
        trial.found.exhausted = True
    finally:
        trial.restore()
    return trial.found


class _Trial:
    def __init__(
        self, layers: list[Layer], evaluate: Callable[[], float], tolerance: float, max_evaluations: int
    ) -> None:
        self._layers, self._evaluate, self._limit = layers, evaluate, max_evaluations
        self._original = [layer.module.weight.detach().clone() for layer in layers]
        self._full = tuple(layer.full_rank for layer in layers)
        self._present = self._full
        self._seen: dict[Ranks, bool] = {}
        self.found = Found(before=evaluate(), evaluations=1)
        self._least = self.found.before - tolerance
        self._note(self._full, True)

    def run(self) -> None:
        self.found.alone = list(self._full)
        for i in range(len(self._layers)):
            self.found.alone[i] = self._shrink(self._full, i)[i]
        for family in (self._by_energy, self._by_threshold, self._by_sensitivity):
            self._bisect(family)
        before = None
        best = min(self.found.good, key=self.found.good.__getitem__)
        while best != before:  # each round either saves numbers or is the last
            before = best
            prices = [layer.price(rank) for layer, rank in zip(self._layers, best, strict=True)]
            for i in sorted(range(len(prices)), key=lambda i: -prices[i]):  # the costliest first
                best = self._shrink(best, i)

    def restore(self) -> None:
        with torch.no_grad():
            for layer, weight in zip(self._layers, self._original, strict=True):
                layer.module.weight.copy_(weight)

    # ---- families with one parameter t in [0, 1]: 0 leaves all as it is, 1 leaves rank 1 ------------------

    def _by_energy(self, t: float) -> Ranks:
        """The same share of Σσ² is lost in all layers."""
        lost = 10.0 ** (-8 * (1 - t))
        return tuple(layer.energy_rank(1 - lost) if t > 0 else layer.full_rank for layer in self._layers)

    def _by_threshold(self, t: float) -> Ranks:
        """σ/σ₁ above the same threshold in all layers."""
        threshold = 10.0 ** (-4 * (1 - t)) if t > 0 else 0.0
        kept = ((threshold * layer.S[:, :1] < layer.S).sum(1).amax() for layer in self._layers)
        return tuple(max(1, int(k)) for k in kept)

    def _by_sensitivity(self, t: float) -> Ranks:
        """The same power of what each layer can lose alone."""
        pairs = zip(self._full, self.found.alone, strict=True)
        return tuple(max(1, round(full ** (1 - t) * alone**t)) for full, alone in pairs)

    def _bisect(self, family: Callable[[float], Ranks]) -> None:
        low, high = 0.0, 1.0
        if self._keeps(family(high)):
            return
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self._keeps(family(middle)):
                low = middle
            else:
                high = middle

    def _shrink(self, ranks: Ranks, i: int) -> Ranks:
        """The smallest rank of one layer that a bisection finds, all others being kept."""
        layer, low, high = self._layers[i], 0, ranks[i]  # high keeps the accuracy
        m, n = layer.U.shape[1], layer.Vh.shape[2]
        top = min((m * n - 1) // (m + n), layer.full_rank)  # the largest rank that saves numbers
        if high > top:
            if top < 1 or not self._keeps(_with(ranks, i, top)):
                return ranks
            high = top
        while high - low > 1:
            middle = (low + high) // 2
            if self._keeps(_with(ranks, i, middle)):
                high = middle
            else:
                low = middle
        return _with(ranks, i, high)

    def _keeps(self, ranks: Ranks) -> bool:
        """Whether the model at these ranks is good enough."""
        pairs = zip(self._layers, ranks, strict=True)
        ranks = tuple(rank if layer.thrifty(rank) else layer.full_rank for layer, rank in pairs)
        if ranks not in self._seen:
            if self.found.evaluations >= self._limit:
                raise _Exhausted
            self._set(ranks)
            self.found.evaluations += 1
            self._note(ranks, self._evaluate() >= self._least)
        return self._seen[ranks]

    def _note(self, ranks: Ranks, kept: bool) -> None:
        self._seen[ranks] = kept
        if kept:
            prices = (layer.price(rank) for layer, rank in zip(self._layers, ranks, strict=True))
            self.found.good[ranks] = sum(prices)

    def _set(self, ranks: Ranks) -> None:
        with torch.no_grad():
            for layer, weight, rank, present in zip(
                self._layers, self._original, ranks, self._present, strict=True
            ):
                if rank != present:
                    layer.module.weight.copy_(weight if rank == layer.full_rank else layer.truncated(rank))
        self._present = ranks


def _with(ranks: Ranks, i: int, rank: int) -> Ranks:
    return (*ranks[:i], rank, *ranks[i + 1 :])

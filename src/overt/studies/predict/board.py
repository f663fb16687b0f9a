"""The zoo as it is stored, and the criteria of many measures at once, with intervals over networks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from overt.studies.base import Estimate, Run
from overt.studies.claims.quantities import select
from overt.studies.predict.criteria import Zoo
from overt.studies.predict.environments import Environment
from overt.studies.predict.measures import MEASURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["AXES", "RANDOM", "TITLES", "TWIN", "Board", "Sample", "board_of", "twins"]

AXES = ("depth", "width", "lr", "batch_size", "weight_decay", "penalty", "n_train")
"""The hyperparameters that vary in the zoo; networks of one family differ in these and the seed."""
TWIN, RANDOM = "twin", "random"
TITLES = {measure.name: measure.title for measure in MEASURES}
TITLES |= {RANDOM: "a random number", TWIN: "gap of a twin (no measure)"}
DRAWS = 500  # bootstrap samples of the networks; a hundredth of them at a time is held in memory
INFORMATION_DRAWS = 100
CHUNK = 100


@dataclass(frozen=True, eq=False)
class Sample:
    """A criterion of one measure: its value, and its values in bootstrap samples of the networks."""

    value: float
    draws: Floats
    n: int

    def minus(self, other: Sample) -> Sample:
        """The difference, sample by sample."""
        return Sample(self.value - other.value, self.draws - other.draws, self.n)

    def estimate(self, label: str) -> Estimate:
        """With its 95 % percentile interval."""
        finite = self.draws[np.isfinite(self.draws)]
        low, high = np.percentile(finite, [2.5, 97.5]) if len(finite) else (None, None)
        ends = (None if low is None else float(low), None if high is None else float(high))
        return Estimate(label, self.value, ends[0], ends[1], self.n)

    @property
    def deviation(self) -> float:
        """Standard deviation over bootstrap samples."""
        finite = self.draws[np.isfinite(self.draws)]
        return float(finite.std()) if len(finite) else float("nan")


@dataclass(frozen=True, eq=False)
class Board:
    """The networks that reached the target loss, with their measures.

    Attributes
    ----------
    zoo : Zoo
    values : dict of str to ndarray
        Each measure, and ``"random"``: a number drawn at random, which says what chance gives.
    made : int
        Networks that were trained, those included that did not reach the target.
    """

    zoo: Zoo
    values: dict[str, Floats]
    made: int
    draws: int = field(default=DRAWS)

    @property
    def kept(self) -> int:
        """Networks that reached the target loss."""
        return self.zoo.size

    @property
    def names(self) -> list[str]:
        """Measures, in the order of the table."""
        return list(self.values)

    @cached_property
    def weights(self) -> list[Floats]:
        """The bootstrap samples, in parts."""
        whole = self.zoo.draws(self.draws)
        return [whole[i : i + CHUNK] for i in range(0, len(whole), CHUNK)]

    def kendall(self, names: Iterable[str]) -> dict[str, Sample]:
        """Kendall's τ of each measure."""
        return self._sampled(names, self.zoo.kendall, self.weights)

    def granulated(self, names: Iterable[str]) -> dict[str, Sample]:
        """Ψ of each measure."""
        return self._sampled(names, self.zoo.mean_granulated, self.weights)

    def information(self, names: Iterable[str]) -> dict[str, Sample]:
        """K of each measure."""
        return self._sampled(names, self.zoo.information, [self.zoo.draws(INFORMATION_DRAWS)])

    def errors(self, names: Iterable[str]) -> dict[str, dict[Environment, tuple[Sample, float]]]:
        """Sign error and effective number of pairs of each measure in each environment."""
        names = list(names)
        parts: dict[str, dict[Environment, list[Floats]]] = {name: {} for name in names}
        for weights in self.weights:  # outermost, so that pairs are weighted once for all measures
            for name in names:
                for place, (errors, _) in self.zoo.sign_errors(self.values[name], weights).items():
                    parts[name].setdefault(place, []).append(errors)
        found: dict[str, dict[Environment, tuple[Sample, float]]] = {}
        for name in names:
            points = self.zoo.sign_errors(self.values[name])
            found[name] = {
                place: (
                    Sample(float(point[0]), np.concatenate(parts[name][place]), self.kept),
                    effective,
                )
                for place, (point, effective) in points.items()
            }
        return found

    def _sampled(self, names: Iterable[str], criterion: Any, weights: Sequence[Floats]) -> dict[str, Sample]:
        names = list(names)
        parts: dict[str, list[Floats]] = {name: [] for name in names}
        for part in weights:
            for name in names:
                parts[name].append(criterion(self.values[name], part))
        return {
            name: Sample(float(criterion(self.values[name])[0]), np.concatenate(parts[name]), self.kept)
            for name in names
        }


def board_of(runs: Sequence[Run], family: str = "") -> Board | None:
    """The board of stored runs, of one family if named; None where fewer than two networks are there."""
    made = select(runs, {"family": family} if family else {})
    kept = [run for run in made if run.records[0]["reached"]]
    kept.sort(key=lambda run: tuple(str(run.config[name]) for name in ("family", *AXES, "seed")))
    if len(kept) < 2:
        return None
    zoo = Zoo(
        {axis: [run.config[axis] for run in kept] for axis in AXES},
        [float(run.records[0]["gap"]) for run in kept],
        [str(run.config["family"]) for run in kept],
        min(int(run.config["n_test"]) for run in kept),
    )
    values = {
        measure.name: np.array([float(run.records[0]["measures"][measure.name]) for run in kept])
        for measure in MEASURES
    }
    values[RANDOM] = np.random.default_rng(0).random(len(kept))
    return Board(zoo, values, len(made))


def twins(runs: Sequence[Run]) -> Board | None:
    """The networks that have a twin, which differs in the seed alone, and the twin's gap as their measure.

    It needs test data and is no measure; it says how well anything can rank that does not know the seed.
    """
    places: dict[tuple[Any, ...], list[Run]] = {}
    for run in select(runs, {}):
        if run.records[0]["reached"]:
            places.setdefault(tuple(run.config[name] for name in ("family", *AXES)), []).append(run)
    pairs = [sorted(group, key=lambda run: int(run.config["seed"]))[:2] for group in places.values()]
    pairs = [pair for pair in pairs if len(pair) == 2]
    if len(pairs) < 2:
        return None
    ordered = [(own, other) for pair in pairs for own, other in (pair, pair[::-1])]
    zoo = Zoo(
        {axis: [own.config[axis] for own, _ in ordered] for axis in AXES},
        [float(own.records[0]["gap"]) for own, _ in ordered],
        [f"{own.config['family']} {own.config['seed']}" for own, _ in ordered],
        min(int(own.config["n_test"]) for own, _ in ordered),
    )
    values = {TWIN: np.array([float(other.records[0]["gap"]) for _, other in ordered])}
    return Board(zoo, values, len(ordered))

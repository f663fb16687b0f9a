"""How well a measure ranks the generalization gap of a zoo of networks: four criteria, as pure functions.

All are functions of pairs of networks, and of the signs of two differences: of the measure and of the gap.
Each network may count several times, or not at all, which is what the bootstrap over networks does: a pair
then counts as often as the product says, and a network makes no pair with itself.

- Kendall's τ, and the granulated coefficient Ψ: Jiang, Neyshabur, Mobahi, Krishnan & Bengio (2020),
  arXiv 1912.02178.
- The conditional mutual information K, normalized and smallest over what is conditioned on: the same paper's
  conditional independence test.
- The sign error by environment, and its worst case: Dziugaite et al. (2020), arXiv 2010.11924.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from overt.studies.predict.environments import Environment, hoeffding_weight
from overt.studies.predict.pairs import Pairs, average, mean_over

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = ["Zoo"]


@dataclass(frozen=True, eq=False)
class Zoo:
    """Networks by their hyperparameters and generalization gaps.

    Parameters
    ----------
    axes : mapping of str to sequence
        For each hyperparameter its value in each network, as any values that can be compared for equality.
    gaps : sequence of float
        Generalization gap of each network: test error minus training error.
    families : sequence of str
        Networks of different families make no pair; criteria are means over the families.
    n_test : int
        Examples that each test error was measured on; what the weights of `sign_errors` need.

    Raises
    ------
    ValueError
        If lengths differ, there are fewer than two networks, or a gap is not finite.

    Examples
    --------
    >>> zoo = Zoo({"width": [1, 1, 2, 2], "depth": [2, 3, 2, 3]}, [0.1, 0.2, 0.3, 0.4], ["mlp"] * 4, 10_000)
    >>> zoo.kendall([1.0, 2.0, 3.0, 4.0]).item(), zoo.kendall([1.0, 1.0, 1.0, 1.0]).item()
    (1.0, 0.0)
    >>> {axis: psi.item() for axis, psi in zoo.granulated([1.0, 2.0, 0.0, 0.5]).items()}
    {'width': -1.0, 'depth': 1.0}
    """

    axes: Mapping[str, Sequence[Any]]
    gaps: Sequence[float]
    families: Sequence[str]
    n_test: int
    _codes: Integers = field(init=False, repr=False)
    _names: dict[str, list[str]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        n = len(self.gaps)
        for name, column in {**self.axes, "families": self.families}.items():
            if len(column) != n:
                raise ValueError(f"{name} must have one entry for each of {n} gaps, got {len(column)}")
        if n < 2:
            raise ValueError(f"gaps must hold at least two networks, got {n}")
        if not np.isfinite(np.asarray(self.gaps, dtype=np.float64)).all():
            raise ValueError("gaps must be finite; leave out networks whose training failed")
        names: dict[str, list[str]] = {}
        codes = np.zeros((len(self.axes), n), dtype=np.int64)
        for row, (axis, column) in enumerate(self.axes.items()):
            order = _ordered(column)
            codes[row] = [order.index(value) for value in column]
            names[axis] = [_short(value) for value in order]
        object.__setattr__(self, "_codes", codes)
        object.__setattr__(self, "_names", names)

    @property
    def size(self) -> int:
        """How many networks."""
        return len(self.gaps)

    @cached_property
    def _gaps(self) -> Floats:
        return np.asarray(self.gaps, dtype=np.float64)

    @cached_property
    def _pairs(self) -> dict[str, Pairs]:
        """The pairs of each family that has any."""
        members = {name: np.flatnonzero([name == own for own in self.families]) for name in self.family_names}
        return {
            name: Pairs(own, self._codes[:, own], self._gaps[own])
            for name, own in members.items()
            if len(own) > 1
        }

    @property
    def family_names(self) -> list[str]:
        """The families, in order."""
        return sorted(set(self.families))

    def draws(self, count: int, seed: int = 0) -> Floats:
        """How often each network counts in each of ``count`` bootstrap samples, drawn within families.

        Returns
        -------
        ndarray, shape (count, size)
        """
        rng = np.random.default_rng(seed)
        weights = np.zeros((count, self.size))
        for name in self.family_names:
            own = np.flatnonzero([name == other for other in self.families])
            weights[:, own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=count)
        return weights

    def kendall(self, measure: ArrayLike, weights: Floats | None = None) -> Floats:
        """Kendall's τ: the mean of sign(μ_i − μ_j) sign(g_i − g_j) over pairs, a mean over families.

        Parameters
        ----------
        measure : sequence of float
            The measure of each network; a larger one predicts a larger gap. May be infinite, not NaN.
        weights : ndarray, shape (B, size), optional
            How often each network counts; each once by default.

        Returns
        -------
        ndarray, shape (B,)
            Between −1 and 1; NaN where there is no pair. Ties count 0.
        """
        values, weights = self._values(measure), self._weights(weights)
        return mean_over(
            [
                average(pairs.product(values), pairs.weights(weights), np.ones(pairs.count))
                for pairs in self._pairs.values()
            ]
        )

    def granulated(self, measure: ArrayLike, weights: Floats | None = None) -> dict[str, Floats]:
        """ψ_i for each hyperparameter i: τ over networks that differ in i alone, averaged over all others.

        The granulated coefficient Ψ is the mean of these; see `mean_granulated`. Networks that differ in
        nothing but the seed are no pair.

        Returns
        -------
        dict of ndarray, shape (B,)
            By axis, for those in which any two networks differ alone.
        """
        values, weights = self._values(measure), self._weights(weights)
        found: dict[str, list[Floats]] = {}
        for pairs in self._pairs.values():
            product, count = pairs.product(values), pairs.weights(weights)
            for row, axis in enumerate(self.axes):
                chosen = pairs.alone == row
                if chosen.any():
                    share = pairs.group_shares(row)
                    found.setdefault(axis, []).append(
                        average(product[chosen], count[:, chosen], share[chosen])
                    )
        return {axis: mean_over(found[axis]) for axis in self.axes if axis in found}

    def mean_granulated(self, measure: ArrayLike, weights: Floats | None = None) -> Floats:
        """Ψ = the mean of ψ_i over hyperparameters, shape (B,); NaN where no two networks differ in one."""
        parts = list(self.granulated(measure, weights).values())
        return mean_over(parts) if parts else np.full(len(self._weights(weights)), np.nan)

    def information(
        self, measure: ArrayLike, weights: Floats | None = None, conditioned_on: int = 2
    ) -> Floats:
        """K = min_S I(V_μ; V_g | U_S)/H(V_g | U_S): what the measure tells beyond hyperparameters.

        V_μ and V_g are the signs of the differences of measure and gap over ordered pairs, U_S the values in
        both networks of the hyperparameters in S, and S runs over all sets of at most ``conditioned_on`` of
        those that vary. Pairs of equal gaps are left out. An order that is upside down tells as much.
        Estimated by counting, so it lies above its true value, the more so the fewer networks there are:
        compare with a measure that is drawn at random.

        Returns
        -------
        ndarray, shape (B,)
            Between 0 and 1, a mean over families; 0 where the hyperparameters determine V_g.
        """
        values, weights = self._values(measure), self._weights(weights)
        return mean_over(
            [pairs.information(values, weights, conditioned_on) for pairs in self._pairs.values()]
        )

    def sign_errors(
        self,
        measure: ArrayLike,
        weights: Floats | None = None,
        *,
        filter_noise: bool = True,
    ) -> dict[Environment, tuple[Floats, float]]:
        """The sign error in each environment: the mean of (1 − sign(μ_i − μ_j) sign(g_i − g_j))/2.

        An environment is a change of one hyperparameter from one value to another within a family, all others
        being equal in both networks, whatever they are. (Dziugaite et al. have an environment for each
        setting of all others, and average over seeds.)
        A pair weighs by how sure the order of its gaps is; see `hoeffding_weight`.

        Returns
        -------
        dict of Environment to (errors, effective)
            Errors of shape (B,), and the effective number of pairs (Σw)²/Σw² with each network counted once.
            Environments in which no pair has weight are left out.
        """
        values, weights = self._values(measure), self._weights(weights)
        found: dict[Environment, tuple[Floats, float]] = {}
        for family, pairs in self._pairs.items():
            sure = hoeffding_weight(pairs.distance, self.n_test) if filter_noise else np.ones(pairs.count)
            error, count = (1 - pairs.product(values)) / 2, pairs.weights(weights)
            for row, axis in enumerate(self.axes):
                for chosen, ends in pairs.changes(row):
                    names = tuple(self._names[axis][end] for end in ends)
                    place = Environment(family, axis, (names[0], names[1]))
                    own = sure[chosen]
                    if own.sum() > 0:
                        effective = float(own.sum() ** 2 / np.square(own).sum())
                        found[place] = (average(error[chosen], count[:, chosen], own), effective)
        return found

    def _values(self, measure: ArrayLike) -> Floats:
        values = np.asarray(measure, dtype=np.float64)
        if values.shape != (self.size,):
            raise ValueError(f"measure must hold one number for each of {self.size} networks")
        if np.isnan(values).any():
            raise ValueError("measure must not hold NaN; leave the measure out, or give infinity")
        return values

    def _weights(self, weights: Floats | None) -> Floats:
        if weights is None:
            return np.ones((1, self.size))
        if weights.ndim != 2 or weights.shape[1] != self.size:
            raise ValueError(f"weights must have shape (B, {self.size}), got {weights.shape}")
        return weights


def _ordered(column: Sequence[Any]) -> list[Any]:
    """The values in order of size where they have one, else of their names."""
    values = list(dict.fromkeys(column))
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=str)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

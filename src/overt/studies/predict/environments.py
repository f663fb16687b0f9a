"""Where a measure is tried: environments, and how sure the order of two gaps is (Dziugaite et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Environment", "hoeffding_weight"]

_LEAST_WEIGHT = 0.5  # of Dziugaite et al.: a pair counts by how far its weight is above this one


@dataclass(frozen=True)
class Environment:
    """One change of one hyperparameter within a family."""

    family: str
    axis: str
    values: tuple[str, str]

    def __str__(self) -> str:
        return f"{self.family}: {self.axis} {self.values[0]} → {self.values[1]}"


def hoeffding_weight(distance: NDArray[np.float64], n_test: int) -> NDArray[np.float64]:
    """How sure it is that two gaps differ: (max(0, 1 − 2 exp(−n d²/2))² − ½)₊.

    Each gap is within d/2 of its mean with a probability of at least 1 − 2 exp(−2 n (d/2)²) (Hoeffding 1963);
    below a chance of one half the pair does not count.

    References
    ----------
    Dziugaite et al. (2020), arXiv 2010.11924.

    Examples
    --------
    >>> hoeffding_weight(np.array([0.0, 0.01, 0.5]), 10_000).round(3).tolist()
    [0.0, 0.0, 0.5]
    """
    probability = np.maximum(0.0, 1 - 2 * np.exp(-n_test * np.square(distance) / 2)) ** 2
    weight: NDArray[np.float64] = np.maximum(0.0, probability - _LEAST_WEIGHT)
    return weight

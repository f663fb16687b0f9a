"""Noise stability of a network, as numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

__all__ = ["LayerStability", "NoiseStability"]


@dataclass(frozen=True)
class LayerStability:
    """Of layer i; all are minima over the data. See `noise_stability`.

    Attributes
    ----------
    cushion : float
        μ_i, layer cushion.
    interlayer : dict of float
        μ_{i,j}, interlayer cushion to each later layer j, by its name.
    minimal_interlayer : float
        μ_{i→} = min(1/√h_i, min_j μ_{i,j}), h_i the size of the layer's output.
    smoothness : dict of float
        ρ_{i,j}, interlayer smoothness to each later layer; infinite where the map is linear along the noise.
    """

    cushion: float
    interlayer: dict[str, float]
    minimal_interlayer: float
    smoothness: dict[str, float]


@dataclass(frozen=True)
class NoiseStability:
    """Noise stability of a network on data; see `noise_stability` for what it bounds.

    Attributes
    ----------
    layers : dict of LayerStability
        By name, in order.
    activation_contraction : float
        c, the largest ‖x^i‖/‖φ(x^i)‖.
    largest_output : float
        max_x ‖f(x)‖.
    smoothness : float
        ρ, the smallest of all ρ_{i,j}.
    n_samples : int
        Inputs.
    unmet : tuple of str
        What the theorem assumes and this network, or this computation, does not meet; empty if all is met.
    """

    layers: dict[str, LayerStability]
    activation_contraction: float
    largest_output: float
    smoothness: float
    n_samples: int
    unmet: tuple[str, ...] = field(default=())

    def complexity(self, margin: float) -> float:
        """c² d² max‖f(x)‖² Σ_i 1/(μ_i² μ_{i→}²)/γ², the paper's effective number of parameters at margin γ.

        Up to constants and logarithms, see `noise_stability`.

        Raises
        ------
        ValueError
            `margin` is not above 0.
        """
        if not (math.isfinite(margin) and margin > 0):
            raise ValueError(f"margin must be a finite number above 0, got {margin!r}")
        terms = [(layer.cushion * layer.minimal_interlayer) ** 2 for layer in self.layers.values()]
        if min(terms) == 0:
            return math.inf
        front = self.activation_contraction * len(self.layers) * self.largest_output / margin
        return front**2 * sum(1 / term for term in terms)

"""The methods: for each its name, its one knob, and the values of it that are tried.

The tuning budget is the same for all: four values of one knob, all else fixed. The values were placed by
pilot runs of 500 steps with seed 1000 (presets begin at 0) around the best validation score; they are the
same for every network and training-set size. Neighbours are a factor of 3 to 10 apart. In the pilot no
weight of the normalized penalties raised the accuracy, while the cross-entropy first rose and then fell with
the weight: their smallest values are next to nothing, the others are about the best cross-entropy.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["METHODS", "SPARSE", "Method"]


@dataclass(frozen=True)
class Method:
    """A way to train.

    Attributes
    ----------
    label : str
    knob : tuple of float
        The four values that are tried.
    factors : int
        Linear layers for each layer of the network.
    p, basis, normalized : float, str, bool
        Of a Jacobian penalty; ``p`` is 0 for the others.
    """

    label: str
    knob: tuple[float, ...]
    factors: int = 1
    p: float = 0.0
    basis: str = "identity"
    normalized: bool = False


_POWERS = {"1": 1.0, "2/3": 2 / 3}
_BASES = {"eigen": "eigen", "fourier": "Fourier", "identity": "pixels"}
_WEIGHTS = {
    ("1", False): (1e-3, 5e-3, 2.5e-2, 1.2e-1),
    ("2/3", False): (3e-4, 1.5e-3, 7.5e-3, 4e-2),
    ("1", True): (1e-2, 1e-1, 3e-1, 1.0),
    ("2/3", True): (3e-4, 3e-3, 1e-2, 5e-2),
}
_EIGEN = 5.0  # factor of the values for p = 2/3 in the eigenbasis, whose sum has fewer large terms


def _sparse() -> dict[str, Method]:
    found = {}
    for power, p in _POWERS.items():
        for basis, said in _BASES.items():
            for normalized in (False, True):
                factor = _EIGEN if power == "2/3" and basis == "eigen" and not normalized else 1.0
                knob = tuple(factor * value for value in _WEIGHTS[power, normalized])
                end, words = (" normalized", ", normalized") if normalized else ("", "")
                label = f"Jacobian p={power}, {said}{words}"
                found[f"jacobian {power} {basis}{end}"] = Method(label, knob, 1, p, basis, normalized)
    return found


_RATES = (1e-4, 3e-4, 1e-3, 3e-3)
SPARSE = _sparse()
METHODS: dict[str, Method] = {
    "nothing": Method("nothing", (3e-4, 1e-3, 3e-3, 1e-2)),  # learning rate; all of them fit the images
    "early_stopping": Method("early stopping", (0.05, 0.1, 0.2, 0.4)),  # share of the steps
    "weight_decay": Method("weight decay", (0.1, 0.3, 1.0, 3.0)),
    "dropout": Method("dropout", (0.1, 0.3, 0.5, 0.7)),
    "nuclear_norm": Method("nuclear norm of weights", (3e-4, 1e-3, 3e-3, 1e-2)),
    "normalized_nuclear_norm": Method("normalized nuclear norm of weights", (3e-3, 1e-2, 3e-2, 1e-1)),
    "overparameterized 2": Method("linear over-parameterization ×2", _RATES, factors=2),  # learning rate
    "overparameterized 3": Method("linear over-parameterization ×3", _RATES, factors=3),
    "composition": Method("composition, two Frobenius norms", (1e-3, 1e-2, 1e-1, 1.0)),
    # The trace is the same in each basis; the identity is the cheapest.
    "jacobian 2": Method("Jacobian p=2 (Frobenius)", (1e-3, 1e-2, 1e-1, 1.0), p=2.0),
    **SPARSE,
}

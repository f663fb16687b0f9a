"""The methods that networks are trained with: for each its one knob and the four values that are tried.

The tuning budget is the same for all: four values, all else fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["JACOBIAN", "METHODS", "WORDS", "Method"]


@dataclass(frozen=True)
class Method:
    """A way to train.

    Attributes
    ----------
    label : str
    knob : tuple of float
        The four values that are tried.
    p, basis : float, str
        Of a Jacobian penalty; ``p`` is 0 for the others.
    """

    label: str
    knob: tuple[float, ...]
    p: float = 0.0
    basis: str = "identity"


_BASES = {"identity": "axes", "eigen": "eigenbasis"}
_WEIGHTS = {2.0: (1e-2, 1e-1, 3e-1, 1.0), 1.0: (1e-2, 3e-2, 1e-1, 3e-1), 2 / 3: (3e-3, 1e-2, 3e-2, 1e-1)}
_POWERS = {"1": 1.0, "2/3": 2 / 3}
JACOBIAN: dict[str, Method] = {
    # The trace is the same in each basis; the identity is the cheapest.
    "jacobian 2": Method("Jacobian p=2", _WEIGHTS[2.0], 2.0),
    **{
        f"jacobian {power} {basis}": Method(f"Jacobian p={power}, {said}", _WEIGHTS[p], p, basis)
        for power, p in _POWERS.items()
        for basis, said in _BASES.items()
    },
}
METHODS: dict[str, Method] = {
    "nothing": Method("nothing", (2e-3, 4e-3, 8e-3, 1.6e-2)),  # learning rate
    "weight decay": Method("weight decay", (1.0, 3.0, 10.0, 30.0)),
    "group lasso": Method("group lasso on the first layer", (3e-3, 1e-2, 3e-2, 1e-1)),
    **JACOBIAN,
}
WORDS = {name: one.label for name, one in METHODS.items()}

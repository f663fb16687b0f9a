"""What became of a model that was compressed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class CompressionReport:
    """What `compress` did.

    Attributes
    ----------
    ranks : dict of int
        Of the layers that were factored, by their names in the original model.
    full_ranks : dict of int
        Of all layers that can be factored.
    parameters_before, parameters_after : int
        Numbers in the parameters of the models, each counted once.
    layers_before, layers_after : dict of int
        Numbers in the weights of all layers that can be factored.
    errors : dict of float
        ‖W − W_r‖_F/‖W‖_F of the factored layers: the truncation error.
    left_alone : dict of str
        Other layers with a weight, and why they are as they were.
    accuracy_before, accuracy_after : float or None
        What `evaluate` gave for the original and for the returned model; None without it.
    tolerance : float or None
        The loss of accuracy that was allowed, where it was asked for.
    evaluations : int
        Models that were evaluated.
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

"""What the figures of the measure share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from overt.studies.base import Estimate, Run
from overt.studies.report.charts import Interval


def estimated(label: str, found: Estimate | None, method: str) -> Interval:
    """A row of a forest plot."""
    if found is None:
        return Interval(label, None, note="loss not reached", method=method)
    return Interval(label, found.value, found.low, found.high, method=method)


def setting(group: Sequence[Run]) -> str:
    """Images and training, in words."""
    config: dict[str, Any] = group[0].config
    return (
        f"{config['n_train']} Fashion-MNIST images averaged to {config['side']}×{config['side']}, trained by "
        f"SGD to a cross-entropy of {config['target_loss']:g}, measured on "
        f"{config['n_measure']} held-out ones."
    )

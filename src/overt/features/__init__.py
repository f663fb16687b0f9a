"""Beyond linear: models that learn which directions of their inputs matter, by iterative reweighting."""

from __future__ import annotations

from overt.features.powers import reweighting_exponent, reweighting_root

__all__ = ["reweighting_exponent", "reweighting_root"]

"""The maximum margin solutions of a data set, and how far a direction is from them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from overt.studies.gunasekar2018 import margins as mg
from overt.studies.gunasekar2018.classification import SeparableProblem
from overt.studies.gunasekar2018.margins import Floats

__all__ = ["References"]


class References:
    """The solutions of largest ℓ2 and Fourier ℓ1 margin."""

    def __init__(self, problem: SeparableProblem) -> None:
        self.A: Floats = (problem.y[:, None] * problem.X).numpy()
        self.l2 = mg.l2_margin(self.A)
        self.l1, self.gap = mg.l1_margin(self.A)

    def compare(self, w: Floats) -> dict[str, Any]:
        """Margin, angles in degrees, and norms per margin in excess of their minima."""
        best1, best2 = mg.per_margin(self.l1, self.A, 1.0), mg.per_margin(self.l2, self.A, 2.0)
        return {
            "margin": float((self.A @ w).min()),
            "angle_l2": _angle(w, self.l2),
            "angle_l1": _angle(w, self.l1),
            "l1_excess": mg.per_margin(w, self.A, 1.0) / best1 - 1,
            "l2_excess": mg.per_margin(w, self.A, 2.0) / best2 - 1,
            "l2_solution_l1_excess": mg.per_margin(self.l2, self.A, 1.0) / best1 - 1,
            "bridge": mg.per_margin(w, self.A, 2 / 3),
            "dual_gap": self.gap,
        }

    def stationary(self, w: Floats, p: float) -> dict[str, Any]:
        """Measured exponent, and the residual of the optimality conditions at the predicted one."""
        if float((self.A @ w).min()) <= 0:
            return {"exponent": None, "residual": None}
        return {"exponent": mg.best_exponent(w, self.A), "residual": mg.stationarity(w, self.A, p)}


def _angle(w: Floats, reference: Floats) -> float:
    cosine = float(w @ reference) / float(np.linalg.norm(w) * np.linalg.norm(reference))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))

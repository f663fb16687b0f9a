"""The table of measures: what each is called, how it is computed, and where it is from.

All are written so that a larger value predicts a larger generalization gap, and are divided by √m, the root
of the number of training images, as in the bounds that they come from (√(C/m) for a capacity C); otherwise
hardly any could know how many images there were. Only the order that a measure gives matters, so products are
kept as logarithms.

Notation: m training images; L layers with weights W_1 … W_L of norms ‖·‖_F (Frobenius), ‖·‖₂ (spectral),
‖·‖_* (nuclear); W⁰ before training; γ the 10th percentile of the output margins over the training images;
σ = √diag(U M U*) for a basis U, M = E[JᵀJ] over the training images, J the Jacobian of the logits.
"""

from __future__ import annotations

import math

from overt.studies.predict.quantities import Measure, Quantities
from overt.studies.predict.sensitivity import SENSITIVITY

__all__ = ["MEASURES", "values_of"]

_JIANG = "Jiang et al. 2020"


def values_of(q: Quantities) -> dict[str, float]:
    """All measures of a network, by name."""
    return {measure.name: measure.value(q) for measure in MEASURES}


def _logs(q: Quantities, norm: str) -> float:
    return math.fsum(math.log(getattr(layer, norm)) for layer in q.layers)


def _log(value: float, q: Quantities, margin: bool = False) -> float:
    """The logarithm of a product of norms over √m, or over γ√m."""
    return value - 0.5 * math.log(q.n_train) - (math.log(q.margin) if margin else 0.0)


def _ratios(q: Quantities, above: str) -> float:
    return math.fsum((getattr(layer, above) / layer.spectral) ** 2 for layer in q.layers)


def _squares(q: Quantities, norm: str) -> float:
    return math.sqrt(sum(getattr(layer, norm) ** 2 for layer in q.layers) / q.n_train)


_WEIGHTS = (
    Measure(
        "spectral_product",
        "product of spectral norms",
        "weights",
        "log(Π‖W_i‖₂/√m)",
        f"{_JIANG}, 32",
        lambda q: _log(_logs(q, "spectral"), q),
    ),
    Measure(
        "spectral_product_margin",
        "product of spectral norms/γ",
        "weights",
        "log(Π‖W_i‖₂/(γ√m))",
        f"{_JIANG}, 31",
        lambda q: _log(_logs(q, "spectral"), q, True),
    ),
    Measure(
        "spectral_complexity",
        "spectral complexity/γ",
        "weights",
        "log(Π‖W_i‖₂ (Σ‖W_i − W_i⁰‖_F²/‖W_i‖₂²)^½/(γ√m))",
        f"Bartlett, Foster & Telgarsky 2017; {_JIANG}, 29",
        lambda q: _log(_logs(q, "spectral") + 0.5 * math.log(_ratios(q, "distance")), q, True),
    ),
    Measure(
        "stable_ranks",
        "sum of stable ranks",
        "weights",
        "√(Σ‖W_i‖_F²/‖W_i‖₂²/m)",
        f"{_JIANG}, 33",
        lambda q: math.sqrt(_ratios(q, "frobenius") / q.n_train),
    ),
    Measure(
        "frobenius_product",
        "product of Frobenius norms",
        "weights",
        "log(Π‖W_i‖_F/√m)",
        f"{_JIANG}, 37",
        lambda q: _log(_logs(q, "frobenius"), q),
    ),
    Measure(
        "frobenius_product_margin",
        "product of Frobenius norms/γ",
        "weights",
        "log(Π‖W_i‖_F/(γ√m))",
        f"{_JIANG}, 36",
        lambda q: _log(_logs(q, "frobenius"), q, True),
    ),
    Measure(
        "frobenius_sum",
        "Frobenius norm of all weights",
        "weights",
        "√(Σ‖W_i‖_F²/m)",
        f"{_JIANG}, 42",
        lambda q: _squares(q, "frobenius"),
    ),
    Measure(
        "normalized_weights",
        "normalized nuclear norms of weights",
        "weights",
        "Σ‖W_i‖_*/‖W_i‖_F/√m",
        "Overt; for a product matrix Zhao 2022",
        lambda q: sum(layer.nuclear / layer.frobenius for layer in q.layers) / q.root,
    ),
    Measure(
        "path_norm",
        "path norm",
        "weights",
        "√(Σ_paths Π w²/m)",
        f"{_JIANG}, 44",
        lambda q: math.sqrt(q.path_norm / q.n_train),
    ),
    Measure(
        "path_norm_margin",
        "path norm/γ",
        "weights",
        "√(Σ_paths Π w²/m)/γ",
        f"{_JIANG}, 43",
        lambda q: math.sqrt(q.path_norm / q.n_train) / q.margin,
    ),
)


_OTHERS = (
    Measure(
        "flatness",
        "flatness 1/σ",
        "flatness",
        "1/(σ√m): noise σ gives 10 % training error",
        f"{_JIANG}, 53",
        lambda q: 1 / (q.noise * q.root),
    ),
    Measure(
        "relative_flatness",
        "flatness 1/σ, relative to weights",
        "flatness",
        "1/(σ√m): noise of variance σ²w² + ε²",
        f"{_JIANG}, 61",
        lambda q: 1 / (q.relative_noise * q.root),
    ),
    Measure(
        "sharpness",
        "sharpness along the gradient",
        "flatness",
        "√((L(w + ρg/‖g‖) − L(w))/m)",
        "Foret et al. 2021",
        lambda q: math.sqrt(max(q.sharpness, 0.0) / q.n_train),
    ),
    Measure(
        "distance",
        "distance from initialization",
        "distance",
        "√(Σ‖W_i − W_i⁰‖_F²/m)",
        f"Nagarajan & Kolter 2019; {_JIANG}, 40",
        lambda q: _squares(q, "distance"),
    ),
    Measure(
        "spectral_distance",
        "spectral distance from initialization",
        "distance",
        "√(Σ‖W_i − W_i⁰‖₂²/m)",
        f"{_JIANG}, 41",
        lambda q: _squares(q, "spectral_distance"),
    ),
    Measure(
        "effective_parameters",
        "effective parameters",
        "count",
        "√(Σ r_i(out + in)/m), rank r_i keeps 90 % of Σσ² of W_i",
        "Overt",
        lambda q: math.sqrt(sum(layer.numbers for layer in q.layers) / q.n_train),
    ),
    Measure(
        "parameters",
        "number of parameters",
        "count",
        "√(ω/m)",
        f"{_JIANG}, 20 (baseline)",
        lambda q: math.sqrt(q.parameters / q.n_train),
    ),
    Measure(
        "inverse_margin",
        "inverse margin",
        "count",
        "1/(γ√m)",
        f"{_JIANG}, 22",
        lambda q: 1 / (q.margin * q.root),
    ),
    Measure("size", "training-set size alone", "count", "1/√m", "baseline", lambda q: 1 / q.root),
)


MEASURES: tuple[Measure, ...] = (*SENSITIVITY, *_WEIGHTS, *_OTHERS)

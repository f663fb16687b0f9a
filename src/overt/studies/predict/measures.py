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
from collections.abc import Callable, Iterator

from overt.studies.predict.quantities import Measure, Quantities
from overt.studies.predict.sensitivity import SENSITIVITY

__all__ = ["MEASURES", "values_of"]


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


_VALUES: dict[str, Callable[[Quantities], float]] = {
    "spectral_product": lambda q: _log(_logs(q, "spectral"), q),
    "spectral_product_margin": lambda q: _log(_logs(q, "spectral"), q, True),
    "spectral_complexity": lambda q: _log(
        _logs(q, "spectral") + 0.5 * math.log(_ratios(q, "distance")), q, True
    ),
    "stable_ranks": lambda q: math.sqrt(_ratios(q, "frobenius") / q.n_train),
    "frobenius_product": lambda q: _log(_logs(q, "frobenius"), q),
    "frobenius_product_margin": lambda q: _log(_logs(q, "frobenius"), q, True),
    "frobenius_sum": lambda q: _squares(q, "frobenius"),
    "normalized_weights": lambda q: sum(layer.nuclear / layer.frobenius for layer in q.layers) / q.root,
    "path_norm": lambda q: math.sqrt(q.path_norm / q.n_train),
    "path_norm_margin": lambda q: math.sqrt(q.path_norm / q.n_train) / q.margin,
    "flatness": lambda q: 1 / (q.noise * q.root),
    "relative_flatness": lambda q: 1 / (q.relative_noise * q.root),
    "sharpness": lambda q: math.sqrt(max(q.sharpness, 0.0) / q.n_train),
    "distance": lambda q: _squares(q, "distance"),
    "spectral_distance": lambda q: _squares(q, "spectral_distance"),
    "effective_parameters": lambda q: math.sqrt(sum(layer.numbers for layer in q.layers) / q.n_train),
    "parameters": lambda q: math.sqrt(q.parameters / q.n_train),
    "inverse_margin": lambda q: 1 / (q.margin * q.root),
    "size": lambda q: 1 / q.root,
}
_TABLE = """\
# weights
spectral_product | product of spectral norms | log(Π‖W_i‖₂/√m) | Jiang, 32
spectral_product_margin | product of spectral norms/γ | log(Π‖W_i‖₂/(γ√m)) | Jiang, 31
spectral_complexity | spectral complexity/γ | log(Π‖W_i‖₂ (Σ‖W_i − W_i⁰‖_F²/‖W_i‖₂²)^½/(γ√m)) | Jiang, 29
stable_ranks | sum of stable ranks | √(Σ‖W_i‖_F²/‖W_i‖₂²/m) | Jiang, 33
frobenius_product | product of Frobenius norms | log(Π‖W_i‖_F/√m) | Jiang, 37
frobenius_product_margin | product of Frobenius norms/γ | log(Π‖W_i‖_F/(γ√m)) | Jiang, 36
frobenius_sum | Frobenius norm of all weights | √(Σ‖W_i‖_F²/m) | Jiang, 42
normalized_weights | normalized nuclear norms of weights | Σ‖W_i‖_*/‖W_i‖_F/√m | Overt; Zhao 2022
path_norm | path norm | √(Σ_paths Π w²/m) | Jiang, 44
path_norm_margin | path norm/γ | √(Σ_paths Π w²/m)/γ | Jiang, 43
# flatness
flatness | flatness 1/σ | 1/(σ√m): noise σ gives 10 % training error | Jiang, 53
relative_flatness | flatness 1/σ, relative to weights | 1/(σ√m): noise of variance σ²w² + ε² | Jiang, 61
sharpness | sharpness along the gradient | √((L(w + ρg/‖g‖) − L(w))/m) | Foret et al. 2021
# distance
distance | distance from initialization | √(Σ‖W_i − W_i⁰‖_F²/m) | Nagarajan & Kolter 2019; Jiang, 40
spectral_distance | spectral distance from initialization | √(Σ‖W_i − W_i⁰‖₂²/m) | Jiang, 41
# count
effective_parameters | effective parameters | √(Σ r_i(out + in)/m), rank r_i keeps 90 % of Σσ² of W_i | Overt
parameters | number of parameters | √(ω/m) | Jiang, 20 (baseline)
inverse_margin | inverse margin | 1/(γ√m) | Jiang, 22
size | training-set size alone | 1/√m | baseline
"""  # name | title | formula | source, where Jiang is Jiang et al. 2020


def _rows() -> Iterator[Measure]:
    group = ""
    for line in _TABLE.splitlines():
        if line.startswith("# "):
            group = line[2:]
            continue
        name, title, formula, source = line.split(" | ")
        source = source.replace("Jiang,", "Jiang et al. 2020,")
        yield Measure(name, title, group, formula, source, _VALUES[name])


MEASURES: tuple[Measure, ...] = (*SENSITIVITY, *_rows())

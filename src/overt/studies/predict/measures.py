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
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from overt.studies.predict.quantities import BASES, Quantities

__all__ = ["MEASURES", "Measure", "values_of"]

_JIANG = "Jiang et al. 2020"


@dataclass(frozen=True)
class Measure:
    """One row of the table.

    Attributes
    ----------
    name, title : str
        In records, and for readers.
    group : str
        ``"sensitivity"`` (spectra of M), ``"weights"``, ``"flatness"``, ``"distance"``, ``"count"``.
    formula, source : str
    value : callable
        From quantities to a number.
    """

    name: str
    title: str
    group: str
    formula: str
    source: str
    value: Callable[[Quantities], float]


def values_of(q: Quantities) -> dict[str, float]:
    """All measures of a network, by name."""
    return {measure.name: measure.value(q) for measure in MEASURES}


def _root(q: Quantities) -> float:
    return math.sqrt(q.n_train)


def _sum(q: Quantities, basis: str, margin: bool) -> float:
    return q.spectra[basis].cost(1.0) / (_root(q) * (q.margin if margin else 1.0))


def _depth_cost(q: Quantities, basis: str, margin: bool) -> float:
    p = 2 / q.depth
    return math.sqrt(q.depth * q.spectra[basis].cost(p) / q.n_train) / (
        q.margin ** (p / 2) if margin else 1.0
    )


def _normalized(q: Quantities, basis: str) -> float:
    return q.spectra[basis].normalized_nuclear_norm / _root(q)


def _frobenius(q: Quantities, margin: bool) -> float:
    return math.sqrt(q.spectra["eigen"].cost(2.0)) / (_root(q) * (q.margin if margin else 1.0))


def _misalignment(q: Quantities, basis: str) -> float:
    return q.spectra[basis].cost(1.0) / q.spectra["eigen"].cost(1.0) / _root(q)


def _sensitivity() -> list[Measure]:
    names = {"eigen": "eigen", "fourier": "Fourier", "identity": "identity"}
    ours = "Overt: P_p,U(M)"
    table: list[Measure] = []
    for basis in BASES:
        words = names[basis]
        for margin in (False, True):
            end, over, by = ("_margin", "/γ", "γ") if margin else ("", "", "")
            table += [
                Measure(f"cost_1_{basis}{end}", f"P₁ {words}{over}", "sensitivity", f"Σσ/({by}√m)",
                        f"{ours}, p = 1", partial(_sum, basis=basis, margin=margin)),
                Measure(f"cost_depth_{basis}{end}", f"P of depth {words}{over}", "sensitivity",
                        "√(L Σ(σ/γ)^{2/L}/m)" if margin else "√(L Σσ^{2/L}/m)",
                        f"{ours}, p = 2/L; for linear networks Dai, Karzand & Srebro 2021",
                        partial(_depth_cost, basis=basis, margin=margin)),
            ]  # fmt: skip
        table.append(
            Measure(f"normalized_{basis}", f"P₁ {words}, normalized", "sensitivity", "Σσ/(Σσ²)^½/√m",
                    "Overt; for matrices Zhao 2022", partial(_normalized, basis=basis))
        )  # fmt: skip
    for basis in BASES[1:]:
        table.append(
            Measure(f"misalignment_{basis}", f"misalignment with {names[basis]}", "sensitivity",
                    "P₁,U(M)/(P₁,eig(M) √m)", "Overt: 1/a_U", partial(_misalignment, basis=basis))
        )  # fmt: skip
    for margin in (False, True):
        end, over = ("_margin", "/γ") if margin else ("", "")
        table.append(
            Measure(f"jacobian{end}", f"Jacobian Frobenius{over}", "sensitivity",
                    "(Σσ²)^½/(γ√m)" if margin else "(Σσ²)^½/√m",
                    "Novak et al. 2018; Hoffman et al. 2019: p = 2, any basis",
                    partial(_frobenius, margin=margin))
        )  # fmt: skip
    table.append(
        Measure("effective_rank", "effective rank of M", "sensitivity", "√(exp H(σ/Σσ)/m), eigenbasis",
                "Roy & Vetterli 2007", lambda q: math.sqrt(q.spectra["eigen"].effective_rank / q.n_train))
    )  # fmt: skip
    return table


def _logs(q: Quantities, norm: str) -> float:
    return math.fsum(math.log(getattr(layer, norm)) for layer in q.layers)


def _log(value: float, q: Quantities, margin: bool = False) -> float:
    """The logarithm of a product of norms over √m, or over γ√m."""
    return value - 0.5 * math.log(q.n_train) - (math.log(q.margin) if margin else 0.0)


def _ratios(q: Quantities, above: str) -> float:
    return math.fsum((getattr(layer, above) / layer.spectral) ** 2 for layer in q.layers)


def _squares(q: Quantities, norm: str) -> float:
    return math.sqrt(sum(getattr(layer, norm) ** 2 for layer in q.layers) / q.n_train)


def _weights() -> list[Measure]:
    return [
        Measure("spectral_product", "product of spectral norms", "weights", "log(Π‖W_i‖₂/√m)",
                f"{_JIANG}, 32", lambda q: _log(_logs(q, "spectral"), q)),
        Measure("spectral_product_margin", "product of spectral norms/γ", "weights", "log(Π‖W_i‖₂/(γ√m))",
                f"{_JIANG}, 31", lambda q: _log(_logs(q, "spectral"), q, True)),
        Measure("spectral_complexity", "spectral complexity/γ", "weights",
                "log(Π‖W_i‖₂ (Σ‖W_i − W_i⁰‖_F²/‖W_i‖₂²)^½/(γ√m))",
                f"Bartlett, Foster & Telgarsky 2017; {_JIANG}, 29",
                lambda q: _log(_logs(q, "spectral") + 0.5 * math.log(_ratios(q, "distance")), q, True)),
        Measure("stable_ranks", "sum of stable ranks", "weights", "√(Σ‖W_i‖_F²/‖W_i‖₂²/m)",
                f"{_JIANG}, 33", lambda q: math.sqrt(_ratios(q, "frobenius") / q.n_train)),
        Measure("frobenius_product", "product of Frobenius norms", "weights", "log(Π‖W_i‖_F/√m)",
                f"{_JIANG}, 37", lambda q: _log(_logs(q, "frobenius"), q)),
        Measure("frobenius_product_margin", "product of Frobenius norms/γ", "weights", "log(Π‖W_i‖_F/(γ√m))",
                f"{_JIANG}, 36", lambda q: _log(_logs(q, "frobenius"), q, True)),
        Measure("frobenius_sum", "Frobenius norm of all weights", "weights", "√(Σ‖W_i‖_F²/m)",
                f"{_JIANG}, 42", lambda q: _squares(q, "frobenius")),
        Measure("normalized_weights", "normalized nuclear norms of weights", "weights",
                "Σ‖W_i‖_*/‖W_i‖_F/√m", "Overt; for a product matrix Zhao 2022",
                lambda q: sum(layer.nuclear / layer.frobenius for layer in q.layers) / _root(q)),
        Measure("path_norm", "path norm", "weights", "√(Σ_paths Π w²/m)", f"{_JIANG}, 44",
                lambda q: math.sqrt(q.path_norm / q.n_train)),
        Measure("path_norm_margin", "path norm/γ", "weights", "√(Σ_paths Π w²/m)/γ", f"{_JIANG}, 43",
                lambda q: math.sqrt(q.path_norm / q.n_train) / q.margin),
    ]  # fmt: skip


def _others() -> list[Measure]:
    return [
        Measure("flatness", "flatness 1/σ", "flatness", "1/(σ√m): noise σ gives 10 % training error",
                f"{_JIANG}, 53", lambda q: 1 / (q.noise * _root(q))),
        Measure("relative_flatness", "flatness 1/σ, relative to weights", "flatness",
                "1/(σ√m): noise of variance σ²w² + ε²", f"{_JIANG}, 61",
                lambda q: 1 / (q.relative_noise * _root(q))),
        Measure("sharpness", "sharpness along the gradient", "flatness", "√((L(w + ρg/‖g‖) − L(w))/m)",
                "Foret et al. 2021", lambda q: math.sqrt(max(q.sharpness, 0.0) / q.n_train)),
        Measure("distance", "distance from initialization", "distance", "√(Σ‖W_i − W_i⁰‖_F²/m)",
                f"Nagarajan & Kolter 2019; {_JIANG}, 40", lambda q: _squares(q, "distance")),
        Measure("spectral_distance", "spectral distance from initialization", "distance",
                "√(Σ‖W_i − W_i⁰‖₂²/m)", f"{_JIANG}, 41", lambda q: _squares(q, "spectral_distance")),
        Measure("effective_parameters", "effective parameters", "count",
                "√(Σ r_i(out + in)/m), rank r_i keeps 90 % of Σσ² of W_i", "Overt",
                lambda q: math.sqrt(sum(layer.numbers for layer in q.layers) / q.n_train)),
        Measure("parameters", "number of parameters", "count", "√(ω/m)", f"{_JIANG}, 20 (baseline)",
                lambda q: math.sqrt(q.parameters / q.n_train)),
        Measure("inverse_margin", "inverse margin", "count", "1/(γ√m)", f"{_JIANG}, 22",
                lambda q: 1 / (q.margin * _root(q))),
        Measure("size", "training-set size alone", "count", "1/√m", "baseline", lambda q: 1 / _root(q)),
    ]  # fmt: skip


MEASURES: tuple[Measure, ...] = (*_sensitivity(), *_weights(), *_others())

"""The measures made of spectra of M, each in three bases; notation as in `overt.studies.predict.measures`."""

from __future__ import annotations

import math
from functools import partial

from overt.studies.predict.quantities import BASES, Measure, Quantities

__all__ = ["SENSITIVITY"]


def _sum(q: Quantities, basis: str, margin: bool) -> float:
    return q.spectra[basis].cost(1.0) / (q.root * (q.margin if margin else 1.0))


def _depth_cost(q: Quantities, basis: str, margin: bool) -> float:
    p = 2 / q.depth
    return math.sqrt(q.depth * q.spectra[basis].cost(p) / q.n_train) / (
        q.margin ** (p / 2) if margin else 1.0
    )


def _normalized(q: Quantities, basis: str) -> float:
    return q.spectra[basis].normalized_nuclear_norm / q.root


def _frobenius(q: Quantities, margin: bool) -> float:
    return math.sqrt(q.spectra["eigen"].cost(2.0)) / (q.root * (q.margin if margin else 1.0))


def _misalignment(q: Quantities, basis: str) -> float:
    return q.spectra[basis].cost(1.0) / q.spectra["eigen"].cost(1.0) / q.root


def _sensitivity() -> list[Measure]:
    names = {"eigen": "eigen", "fourier": "Fourier", "identity": "identity"}
    ours = "Overt: P_p,U(M)"
    table: list[Measure] = []
    for basis in BASES:
        words = names[basis]
        for margin in (False, True):
            end, over, by = ("_margin", "/γ", "γ") if margin else ("", "", "")
            table += [
                Measure(
                    f"cost_1_{basis}{end}",
                    f"P₁ {words}{over}",
                    "sensitivity",
                    f"Σσ/({by}√m)",
                    f"{ours}, p = 1",
                    partial(_sum, basis=basis, margin=margin),
                ),
                Measure(
                    f"cost_depth_{basis}{end}",
                    f"P of depth {words}{over}",
                    "sensitivity",
                    "√(L Σ(σ/γ)^{2/L}/m)" if margin else "√(L Σσ^{2/L}/m)",
                    f"{ours}, p = 2/L; for linear networks Dai, Karzand & Srebro 2021",
                    partial(_depth_cost, basis=basis, margin=margin),
                ),
            ]
        table.append(
            Measure(
                f"normalized_{basis}",
                f"P₁ {words}, normalized",
                "sensitivity",
                "Σσ/(Σσ²)^½/√m",
                "Overt; for matrices Zhao 2022",
                partial(_normalized, basis=basis),
            )
        )
    for basis in BASES[1:]:
        table.append(
            Measure(
                f"misalignment_{basis}",
                f"misalignment with {names[basis]}",
                "sensitivity",
                "P₁,U(M)/(P₁,eig(M) √m)",
                "Overt: 1/a_U",
                partial(_misalignment, basis=basis),
            )
        )
    for margin in (False, True):
        end, over = ("_margin", "/γ") if margin else ("", "")
        table.append(
            Measure(
                f"jacobian{end}",
                f"Jacobian Frobenius{over}",
                "sensitivity",
                "(Σσ²)^½/(γ√m)" if margin else "(Σσ²)^½/√m",
                "Novak et al. 2018; Hoffman et al. 2019: p = 2, any basis",
                partial(_frobenius, margin=margin),
            )
        )
    table.append(
        Measure(
            "effective_rank",
            "effective rank of M",
            "sensitivity",
            "√(exp H(σ/Σσ)/m), eigenbasis",
            "Roy & Vetterli 2007",
            lambda q: math.sqrt(q.spectra["eigen"].effective_rank / q.n_train),
        )
    )
    return table


SENSITIVITY = tuple(_sensitivity())

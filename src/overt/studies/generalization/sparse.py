"""Every sparse Jacobian penalty against the Frobenius norm, with one correction for all comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from overt.studies.base import Run
from overt.studies.claims.quantities import MissingRunsError, select
from overt.studies.claims.statistics import Span, median_of_spans
from overt.studies.claims.verdict_rules import Decision, State
from overt.studies.generalization.methods import METHODS, SPARSE

__all__ = ["SMALLEST", "sparse_is_better", "tests"]

SMALLEST = {"error": 0.005, "cross_entropy": 0.02}
NETWORKS = ("mlp", "cnn")
FEWEST = 6  # seeds


def sparse_is_better(runs: Sequence[Run]) -> Decision:
    """Whether some sparse penalty is better somewhere, or none is and they are not so in the mean either."""
    found = tests(runs)
    better = [key for key, (gains, p) in found.items() if p <= 0.05 and gains.mean() >= SMALLEST[key[1]]]
    averages = []
    for network in NETWORKS:
        for field in SMALLEST:
            rows = [gains for key, (gains, _) in found.items() if key[:2] == (network, field)]
            spans = [Span.of(float(value)) for value in np.mean(rows, axis=0)]
            label = f"mean gain of {len(rows)} sparse penalties in {field.replace('_', ' ')}, {network}"
            averages.append((SMALLEST[field], median_of_spans(spans, label=label)))
    none = not better and all(one.high is not None and one.high < bar for bar, one in averages)
    state: State = "holds" if better else "fails" if none else "open"
    best = max(found, key=lambda key: found[key][0].mean() / SMALLEST[key[1]])
    said = f"{METHODS[best[2]].label}, {best[1].replace('_', ' ')}, {best[0]}"
    reason = (
        f"{len(better)} of {len(found)} comparisons with p = 2 are better after correction; the largest mean "
        f"gain is {found[best][0].mean():+.3f} ({said}, corrected p = {found[best][1]:.2g})"
    )
    return Decision(state, reason, tuple(one for _, one in averages))


def tests(runs: Sequence[Run]) -> dict[tuple[str, str, str], tuple[Any, float]]:
    """By network, field and penalty: its gains over p = 2, seed by seed, and Holm's corrected p-value."""
    from scipy.stats import ttest_1samp

    found, raw = {}, {}
    for network in NETWORKS:
        for field in SMALLEST:
            plain = _numbers(runs, network, "jacobian 2", field)
            for method in SPARSE:
                own = _numbers(runs, network, method, field)
                if len(own) < FEWEST or set(own) != set(plain):
                    raise MissingRunsError(f"six seeds of {METHODS[method].label} and of p = 2 are needed")
                gains = np.array([plain[seed] - own[seed] for seed in sorted(own)])
                key = (network, field, method)
                found[key] = gains
                flat = np.ptp(gains) == 0
                p = float(gains[0] <= 0) if flat else ttest_1samp(gains, 0.0, alternative="greater").pvalue
                raw[key] = float(p)
    corrected, largest = {}, 0.0
    for place, key in enumerate(sorted(raw, key=lambda one: raw[one])):
        largest = max(largest, min(1.0, (len(raw) - place) * raw[key]))
        corrected[key] = largest
    return {key: (gains, corrected[key]) for key, gains in found.items()}


def _numbers(runs: Sequence[Run], network: str, method: str, field: str) -> dict[int, float]:
    some = select(runs, {"network": network, "method": method})
    return {int(run.config["seed"]): float(run.records[0][field]) for run in some}

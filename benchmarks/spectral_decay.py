"""Steps of fixed relative length beside a decoupled step on (‖W‖_*/‖W‖_F)², at equal tuning.

    python benchmarks/spectral_decay.py [--quick] [--threads N] [--out FILE.json]

Completion of a 30×30 matrix of rank 3 from 300 entries, half the sum of squares, one matrix:

squared ratio, AdamW   after AdamW's step W ← W − lr·λ ∇(‖W‖_*/‖W‖_F)², written from the formula that SLORR
                       (González-Martínez & Liu 2026, arXiv 2607.08754) names for its decoupled form; exact
                       polar factors in the place of its approximation
relative, AdamW        SpectralDecay with AdamW inside
relative, SGD          SpectralDecay with plain gradient descent inside
nothing, AdamW / SGD   without a step of either kind, at eight rates

Each has two rates and four strengths, or eight rates, and two starts, as many steps, and a strength that
falls linearly to zero. The setting with the smallest median error on the first seeds is run on others. No
weight decay, no refit.
Only this task is compared, and not the networks that SLORR was made for.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from _report import parser, print_table, write_json
from overt import functional as F
from overt.models import DeepLinear
from overt.optim import SpectralDecay
from overt.penalties import SpectralPenalty
from overt.problems import matrix_completion

SIZE, RANK, ENTRIES, STEPS = 30, 3, 300, 1000
STARTS = (1e-3, 1e-1)
LENGTHS = (0.01, 0.02, 0.04, 0.08)
# About equal steps at rate 0.1 and the solution's norm of 30: there the gradient of the square is about one.
FACTORS = (1.0, 3.0, 10.0, 30.0)
RATES = {
    "squared ratio, AdamW": (0.1, 0.3),
    "relative, AdamW": (0.1, 0.3),
    "relative, SGD": (0.5, 1.0),
    "nothing, AdamW": (3e-3, 1e-2, 3e-2, 6e-2, 0.1, 0.2, 0.3, 0.6),
    "nothing, SGD": (1e-2, 3e-2, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0),
}
Step = Callable[[int], None]


def squared_ratio(model: DeepLinear, inside: Optimizer, factor: float) -> Step:
    """The step on the squared ratio, after that of the optimizer."""
    penalty = SpectralPenalty(model, "participation_ratio")
    (W,) = model.parameters()

    def step(number: int) -> None:
        inside.step()
        (gradient,) = torch.autograd.grad(penalty.value(), W)
        rate = inside.param_groups[0]["lr"] * factor * (1 - number / STEPS)
        with torch.no_grad():
            W.sub_(gradient, alpha=rate)

    return step


def relative(model: DeepLinear, inside: Optimizer, length: float) -> Step:
    """The step of a SpectralDecay."""
    decay = SpectralDecay(inside, model, length=length, schedule=lambda number: 1 - number / STEPS)
    return lambda _: decay.step()


def trained(arm: str, rate: float, strength: float, start: float, seed: int) -> tuple[float, int]:
    """Error and rank at the end; an infinite error where entries are no longer finite."""
    problem = matrix_completion((SIZE, SIZE), rank=RANK, n_observed=ENTRIES, seed=seed, min_per_line=RANK)
    model = DeepLinear((SIZE, SIZE), scale=start, seed=seed, dtype=torch.float64)
    kind: Any = torch.optim.SGD if arm.endswith("SGD") else torch.optim.AdamW
    inside = kind(model.parameters(), lr=rate, weight_decay=0.0)
    step = (squared_ratio if arm.startswith("squared") else relative)(model, inside, strength)
    for number in range(STEPS):
        inside.zero_grad()
        (problem.loss(model.product()) * (ENTRIES / 2)).backward()
        step(number)
        if not bool(torch.isfinite(model.product()).all()):
            return float("inf"), 0
    W = model.product().detach()
    s = F.singular_values(W)
    return problem.error(W), int((s > 1e-3 * s[0]).sum())


def compared(arm: str, tuning: range, test: range) -> dict[str, Any]:
    """The best setting on the first seeds, and what it gives on the others."""
    strengths = {"relative": LENGTHS, "squared ratio": FACTORS, "nothing": (0.0,)}[arm.split(",")[0]]
    settings = list(itertools.product(RATES[arm], strengths, STARTS))
    began = time.process_time()
    medians = [statistics.median(trained(arm, *one, seed)[0] for seed in tuning) for one in settings]
    best = settings[medians.index(min(medians))]
    found = [trained(arm, *best, seed) for seed in test]
    errors = sorted(error for error, _ in found)
    return {
        "arm": arm,
        "rate": best[0],
        "strength": best[1],
        "start": best[2],
        "settings": len(settings),
        "settings below 0.05": sum(error < 0.05 for error in medians),
        "median error": statistics.median(errors),
        "worst error": min(errors[-1], 1e300),
        "exact rank": sum(rank == RANK for _, rank in found),
        "seeds": len(found),
        "cpu seconds": time.process_time() - began,
    }


def main() -> None:
    options = parser(__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(options.threads or 1)
    tuning, test = (range(1), range(100, 102)) if options.quick else (range(2), range(100, 108))
    rows = []
    for arm in RATES:
        rows.append(compared(arm, tuning, test))
        print_table(rows[-1:])
    write_json(
        options.out,
        "spectral_decay",
        rows,
        {"n": SIZE, "rank": RANK, "entries": ENTRIES, "steps": STEPS, "quick": options.quick},
    )


if __name__ == "__main__":
    main()

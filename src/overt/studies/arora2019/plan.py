"""Which runs each preset makes.

The authors train with a GroupRMSprop of learning rate 1e-3 for up to a million steps, to a mean squared
residual of 1e-6, from layers whose product has ‖W‖_F = s√n, s = 1e-3 (their published code). The plan takes
plain gradient descent at the largest rate of a few that trained without oscillation on one pilot instance,
which gets to the same residual in thousands of steps; `--set optimizer=grouprmsprop --set lr=1e-3` is theirs.
`init_scale` is the standard deviation of the entries of W: their s = 1e-3 at n = 100 is 1e-4 here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from overt.studies.arora2019.config import Arora2019Config

Runs = Iterator[Arora2019Config]

_RATES = {2: 10.0, 3: 5.0, 4: 3.0}  # of completion at n = 100 and rank 5
_SENSING_RATES = {2: 8.0, 3: 4.0, 4: 2.0}  # likewise


def plan(preset: str, seed: int) -> list[Arora2019Config]:
    """Return all runs of a preset, the long ones first."""
    quick = preset == "quick"
    parts = [
        movielens(quick, range(seed, seed + 3)),
        dynamics(quick, range(seed, seed + (3 if quick else 5))),
        sensing(quick, range(seed, seed + (3 if quick else 5))),
        scales(quick, range(seed, seed + (3 if quick else 10))),
        completion(quick, range(seed, seed + (3 if quick else 10))),
    ]
    return [run for part in parts for run in part]


def rate(depth: int, n: int, rank: int, rates: dict[int, float]) -> float:
    """The learning rate of a depth: curvature goes as σ^{2−2/N}/n², and σ as n/√rank."""
    flatter = min(1.0, rank / 5) ** (1 - 1 / depth)
    return float(f"{rates[depth] * (n / 100) ** (2 / depth) * flatter:.2g}")


def completion(quick: bool, seeds: range) -> Runs:
    """A1: two ranks (quick: one), depths 2–4 and the minimum nuclear norm over the observed entries."""
    n = 50 if quick else 100
    sizes: dict[int, tuple[tuple[int, str], ...]] = (
        {3: ((600, "few"), (1250, "many"))}
        if quick
        else {
            5: ((1500, "between"), (2000, "few"), (3000, "between"), (5000, "many")),
            10: ((3000, "between"), (4000, "few"), (5500, "between"), (8000, "many")),
        }
    )
    yield from _grid("completion", n, sizes, _RATES, 2_500 if quick else 5_000, seeds)


def sensing(quick: bool, seeds: range) -> Runs:
    """A2: the same with Gaussian measurements."""
    n = 20 if quick else 40
    sizes: dict[int, tuple[tuple[int, str], ...]] = (
        {2: ((150, "few"), (260, "many"))}
        if quick
        else {5: ((560, "few"), (1200, "many")), 10: ((1050, "few"), (1500, "many"))}
    )
    yield from _grid("sensing", n, sizes, _SENSING_RATES, 2_000 if quick else 3_000, seeds)


def _grid(
    group: str,
    n: int,
    sizes: dict[int, tuple[tuple[int, str], ...]],
    rates: dict[int, float],
    steps: int,
    seeds: range,
) -> Runs:
    for depth in (4, 3, 2):
        for rank, counts in sizes.items():
            for count, regime in counts:
                for seed in seeds:
                    shared: dict[str, Any] = {"group": group, "n": n, "rank": rank, "seed": seed}
                    shared |= {"n_observed": count, "regime": regime, "max_steps": steps}
                    yield Arora2019Config(depth=depth, lr=rate(depth, n, rank, rates), **shared)
                    if depth == 2:
                        yield Arora2019Config(method="nuclear_norm", **shared)


def scales(quick: bool, seeds: range) -> Runs:
    """A3, A4: initialization scales at depths 2 and 3, beside the minimum nuclear norm."""
    n, rank = (50, 3) if quick else (100, 5)
    counts = ((600, "few"), (1250, "many")) if quick else ((2000, "few"), (5000, "many"))
    for count, regime in counts:
        for seed in seeds:
            shared: dict[str, Any] = {"group": "scales", "n": n, "rank": rank, "seed": seed}
            shared |= {"n_observed": count, "regime": regime, "max_steps": 6_000 if quick else 10_000}
            yield Arora2019Config(method="nuclear_norm", **shared)
            for depth in (2, 3):
                for scale in (1e-7, 1e-3, 1e-1) if quick else (1e-7, 1e-5, 1e-3, 1e-2, 1e-1):
                    yield Arora2019Config(
                        depth=depth, lr=rate(depth, n, rank, _RATES), init_scale=scale, **shared
                    )


def dynamics(quick: bool, seeds: range) -> Runs:
    """A5: gradient flow on the instance of Figure 3 (quick: a smaller one)."""
    size: dict[str, Any] = (
        {"n": 20, "rank": 2, "n_observed": 200, "leading": 5}
        if quick
        else {"n": 100, "rank": 5, "n_observed": 2000}
    )
    for depth in (4, 3, 2):
        for seed in seeds:
            yield Arora2019Config(
                group="dynamics", method="flow", init="balanced", depth=depth, seed=seed, **size
            )


def movielens(quick: bool, seeds: range) -> Runs:
    """A6: gradient flow on 10 000 ratings, as in Figure 3; until the loss is a small part of the first."""
    size: dict[str, Any] = {"width": 5, "leading": 5, "until": 0.1} if quick else {"width": 10, "until": 0.05}
    for depth in (4, 3, 2):
        for seed in seeds:
            yield Arora2019Config(
                group="movielens",
                method="flow",
                init="balanced",
                depth=depth,
                n_observed=10_000,
                seed=seed,
                **size,
            )

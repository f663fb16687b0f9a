"""Which runs each preset makes. Scales were chosen on one pilot seed, so that a flow takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

from overt.studies.li2021.config import Li2021Config

Runs = Iterator[Li2021Config]

SCALES: dict[int, tuple[float, ...]] = {2: (1e-12, 1e-3, 1e-1), 3: (1e-5, 1e-3, 1e-1), 4: (1e-4, 1e-3, 1e-1)}
_MORE: dict[int, tuple[float, ...]] = {2: (1e-9, 1e-6), 3: (), 4: ()}
WEIGHTS = (0.003, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.5, 0.8, 1.2, 2.0, 3.0)
_FEWER = (0.01, 0.03, 0.1, 0.3, 0.6, 1.2, 2.5)


def plan(preset: str, seed: int) -> list[Li2021Config]:
    """Return all runs of a preset, the long ones first."""
    quick = preset == "quick"
    seeds = range(seed, seed + (3 if quick else 10))
    return [*path(quick, seeds), *flows(quick, seeds)]


def flows(quick: bool, seeds: range) -> Runs:
    """L1–L3: depths and initialization scales."""
    for depth in (4, 3, 2):
        scales = SCALES[depth] if quick else (*SCALES[depth], *_MORE[depth])
        for scale in sorted(scales):
            for seed in seeds:
                until = 1e-5 if quick else 1e-6
                yield Li2021Config(group="flow", depth=depth, init_scale=scale, until=until, seed=seed)


def path(quick: bool, seeds: range) -> Runs:
    """L4: the explicit penalty over its weights."""
    weights, steps = (_FEWER, 1_000) if quick else (WEIGHTS, 2_000)
    for seed in seeds[:5]:
        yield Li2021Config(group="path", depth=1, weights=weights, max_steps=steps, seed=seed)

"""Which runs each preset makes: every proxy under every optimizer, with one budget of settings for all."""

from __future__ import annotations

from collections.abc import Iterator

from overt.studies.proxies.config import PenaltyConfig
from overt.studies.proxies.functionals import PROXIES

# Learning rates chosen on pilot instances: a safe one and a bold one, or the one that was best there.
RATES: dict[str, tuple[float, ...]] = {
    "adam": (1e-2, 3e-2),
    "rmsprop": (1e-2,),
    "gd": (10.0, 30.0),
    "muon": (2e-2, 1e-1),
    "lbfgs": (1.0,),
}
# The dearest first, so that two workers end together.
ORDER = ("adam", "muon", "rmsprop", "lbfgs", "gd")
QUICK = ("adam", "gd")
# A step of L-BFGS is up to 20 iterations of one or more evaluations; the others make one evaluation per step.
LBFGS_EVALUATIONS = 25
WEIGHTS = (1e-3, 1e-2, 1e-1)
DECADES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
SCALES = (1e-6, 1e-3, 1.0)


def plan(preset: str, seed: int) -> Iterator[PenaltyConfig]:
    """One run per proxy and optimizer."""
    quick = preset == "quick"
    for optimizer in QUICK if quick else ORDER:
        for proxy in PROXIES:
            yield _quick(optimizer, proxy, seed) if quick else _full(optimizer, proxy, seed)


def _full(optimizer: str, proxy: str, seed: int) -> PenaltyConfig:
    windows = optimizer == "adam"
    return PenaltyConfig(
        proxy=proxy,
        optimizer=optimizer,
        rates=RATES[optimizer],
        weights=WEIGHTS,
        window_seeds=2 if windows else 0,
        window_weights=DECADES if windows else (),
        window_scales=SCALES if windows else (),
        max_steps=_steps(optimizer, 2_200),
        seed=seed,
    )


def _quick(optimizer: str, proxy: str, seed: int) -> PenaltyConfig:
    """One setting for all, so that there is nothing to tune, and no windows."""
    return PenaltyConfig(
        proxy=proxy,
        optimizer=optimizer,
        rates=(2e-2,) if optimizer == "adam" else RATES[optimizer][:1],
        weights=(1e-2,),
        judged_seeds=3,
        n=20,
        rank=1,
        n_observed=150,
        max_steps=_steps(optimizer, 1_800),  # the slowest of the proxies that work need some 1500
        seed=seed,
    )


def _steps(optimizer: str, steps: int) -> int:
    return steps // LBFGS_EVALUATIONS if optimizer == "lbfgs" else steps

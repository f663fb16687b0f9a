"""Each proxy of rank as a penalty, under three optimizers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.claims.vocabulary import RECOVERED, ended, recovered
from overt.studies.part import Grid, Part
from overt.studies.plots import Heat, Panel
from overt.studies.proxies.config import BLIND, NAMES, OURS, PLAIN, SHARE, STEPS, ProxyConfig

# Two learning rates and two weights each, from pilot runs with seeds that no preset uses.
RATES: dict[str, tuple[float, ...]] = {"muon": (2e-2, 1e-1), "gd": (30.0, 100.0), "adam": (3e-2, 1e-1)}
WEIGHTS = (1e-2, 1e-1)
SLOW = 4_000  # the budget of the others than Adam
TUNED = ("lr", "weight")
PENALIZED = {"weight": WEIGHTS}
OWN = "Own hypothesis; Zhao 2022 for the normalized nuclear norm"


class PenaltiesConfig(ProxyConfig):
    """One run of one proxy under one optimizer."""

    part: Literal["penalties"] = "penalties"


def steps_or_never(run: Run) -> float | None:
    """Steps to recovery; a run that ended elsewhere counts as one that takes a thousand times its budget."""
    step = run.records[0].get("recovery_step")
    if step is not None:
        return float(step)
    over = run.records[0].get("status") != "diverged" and ended(run)
    return 1e3 * float(run.config["max_steps"]) if over else None


def _grids(seeds: int, quick: bool, **shared: Any) -> list[Grid]:
    found = []
    for name in ("gd", "adam") if quick else RATES:
        rates = RATES[name][:1] if quick else RATES[name]
        weights = WEIGHTS[:1] if quick else WEIGHTS
        budget = {} if quick or name == "adam" else {"max_steps": SLOW}
        arms = ({"proxy": NAMES, "weight": weights}, {"weight": 0.0})
        found += [Grid(seeds, optimizer=name, lr=rates, **arm, **budget, **shared) for arm in arms]
    return found


def _error(name: str, first: str, second: str) -> Ratio:
    """The ratio of errors after the refit; below 1e-5, the matrix counts as recovered."""
    return Ratio(
        "error",
        f"error after the refit, {name}",
        {"optimizer": "adam", **PENALIZED},
        tuned=TUNED,
        least=RECOVERED,
        of_={"proxy": first},
        over={"proxy": second},
    )


class Penalties(Part[PenaltiesConfig]):
    """Which proxy of rank, with which optimizer, recovers the matrix?"""

    config = PenaltiesConfig
    grids = {
        "quick": _grids(6, True, n=20, rank=2, n_observed=110, max_steps=800),
        "full": _grids(10, False),
    }
    claims = (
        Claim(
            "N1",
            "Normalizing the nuclear norm halves its error",
            "Under Adam and after the refit the nuclear norm over the Frobenius norm has at most half the "
            "error of the nuclear norm itself.",
            OWN,
            Rule(below(_error("normalized / plain", OURS, "nuclear"), 0.5)),
            kind="own",
        ),
        Claim(
            "N2",
            "Normalizing halves the error of every other proxy",
            "The same holds for Schatten ½ and ⅔, log-det and the truncated nuclear norm.",
            "Own hypothesis",
            Rule(
                *(
                    below(_error(f"{name}, normalized / plain", f"{name} / F", name), 0.5)
                    for name in PLAIN[1:]
                )
            ),
            kind="own",
        ),
        Claim(
            "N3",
            "No proxy that is not told the rank has half the error of the normalized nuclear norm",
            "Under Adam and after the refit the normalized nuclear norm has at most twice the error of any "
            "other proxy that does not know the rank.",
            "Own hypothesis",
            Rule(
                *(
                    below(_error(f"{OURS}, relative to {name}", OURS, name), 2.0)
                    for name in BLIND
                    if name != OURS
                )
            ),
            kind="own",
        ),
        Claim(
            "N4",
            "Proxies of rank work under Adam only",
            "Under Adam the normalized nuclear norm recovers the matrix in most seeds; under gradient "
            "descent and Muon no proxy that is not told the rank does.",
            OWN,
            Rule(
                above(SHARE.at(optimizer="adam", proxy=OURS, **PENALIZED), 0.5),
                below(
                    replace(
                        SHARE.at(optimizer=("gd", "muon"), proxy=BLIND, **PENALIZED),
                        each=("optimizer", "proxy"),
                    ),
                    0.5,
                ),
            ),
            kind="own",
        ),
        Claim(
            "N7",
            "No proxy recovers the matrix in half the steps of the normalized nuclear norm",
            "Under Adam the normalized nuclear norm takes at most twice the steps of any other proxy that "
            "does not know the rank.",
            "Own hypothesis",
            Rule(
                *(
                    below(
                        Ratio(
                            steps_or_never,
                            f"steps, {OURS}, relative to {name}",
                            {"optimizer": "adam", **PENALIZED},
                            tuned=TUNED,
                            over_time=True,
                            of_={"proxy": OURS},
                            over={"proxy": name},
                        ),
                        2.0,
                    )
                    for name in BLIND
                    if name != OURS
                )
            ),
            kind="own",
        ),
        Claim(
            "N8",
            "Without a penalty the refit does not recover the matrix",
            "At weight zero no optimizer ends where the refit recovers the matrix.",
            "Own hypothesis; the control of all others",
            Rule(below(replace(SHARE.at(weight=0.0), each=("optimizer",)), 0.5)),
            kind="own",
        ),
    )
    figures = tuple(
        Heat(
            id_,
            title,
            (Panel(one.at(**PENALIZED), log=log, limits=limits),),
            claim=claim,
            caption=(
                "Each at the best of its learning rates and weights. “/ F”: over the Frobenius norm; the "
                "truncated nuclear norm is told the rank."
            ),
            row="proxy",
            col="optimizer",
        )
        for id_, title, one, log, limits, claim in (
            ("shares", "Which proxies recover the matrix", SHARE, False, (0.0, 1.0), "N4"),
            ("steps", "Steps to recovery", STEPS, True, (10.0, 1e4), "N7"),
            (
                "raw",
                "The error before the refit",
                Median("raw_error", "relative error before the refit", tuned=TUNED),
                True,
                (1e-3, 1.0),
                "N1",
            ),
        )
    )

    def execute(self, config: PenaltiesConfig, context: RunContext) -> RunOutput:
        """Train, then refit."""
        from overt.studies.proxies.training import execute

        del context
        return execute(config)

    def ended(self, run: Run) -> bool:
        """Whether the matrix is recovered, or the whole objective stationary."""
        return recovered(run) or ended(run)

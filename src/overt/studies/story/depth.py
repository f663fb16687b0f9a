"""Depth, and the penalty in its place, on the same matrices with the same refit."""

from __future__ import annotations

from typing import Any

from overt.studies.base import Claim
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median, Share
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.claims.vocabulary import RECOVERED, recovered
from overt.studies.part import Grid
from overt.studies.plots import Lines, Panel
from overt.studies.shared.spectra import spectra
from overt.studies.zhao2022.methods import Methods

TUNED = ("setting",)
NETWORKS = ("penalty", "depth 3", "weight 0")
PENALTY, DEEP, FLAT = ({"method": name} for name in NETWORKS)


def _problems(n: int, rank: int, few: int, some: int, many: int) -> tuple[dict[str, Any], ...]:
    size = {"n": n, "rank": rank}
    return (
        size | {"n_observed": few, "dense": False},
        size | {"n_observed": some},
        size | {"n_observed": many},
    )


QUICK = _problems(50, 4, 576, 768, 1920)
FULL = _problems(100, 5, 1500, 2000, 5000)


def _grids(
    seeds: int, problems: tuple[dict[str, Any], ...], settings: tuple[int, ...], steps: int
) -> list[Grid]:
    few = problems[:2]
    return [
        Grid(seeds, method="penalty", problem=few, setting=settings, max_steps=steps),
        Grid(seeds, method=("depth 3", "weight 0"), problem=problems, setting=settings, max_steps=steps),
        Grid(seeds, method="nuclear_norm", problem=problems),
    ]


class Depth(Methods):
    """Does depth find low rank, and does the penalty without depth find it as well?"""

    grids = {"quick": _grids(6, QUICK, (0,), 7_000), "full": _grids(10, FULL, (0, 1, 2), 15_000)}
    claims = (
        Claim(
            "S1",
            "Depth lowers rank and error, also where the minimum nuclear norm fails",
            "A deep linear network under gradient descent or Adam, whichever is better, ends at a lower "
            "effective rank and a lower error than depth 1. With two observations for each degree of "
            "freedom its error is at most half that of the minimum nuclear norm.",
            "Arora et al. 2019, sections 2 and 3",
            Rule(
                *(
                    below(
                        Ratio(name, said, {"dense": True}, ("n_observed",), None, TUNED, of_=DEEP, over=FLAT),
                        bar,
                    )
                    for name, said, bar in (
                        ("raw_error", "error without refit, depth 3 / depth 1", 0.5),
                        ("effective_rank", "effective rank, depth 3 / depth 1", 0.9),
                    )
                ),
                below(
                    Ratio(
                        "raw_error",
                        "error without refit, depth 3 / minimum nuclear norm",
                        {"n_observed": (768, 2000)},
                        tuned=TUNED,
                        of_=DEEP,
                        over={"method": "nuclear_norm"},
                    ),
                    0.5,
                ),
            ),
        ),
        Claim(
            "S2",
            "The penalty without depth recovers what depth recovers",
            "One layer with ‖W‖⁎/‖W‖F recovers most matrices with one and a half and with two observations "
            "for each degree of freedom; after the same refit its error is at most twice that of depth 3. "
            "Where entries are fewer the refit alone (weight 0) does not do it.",
            "Own hypothesis, after Zhao 2022",
            Rule(
                above(
                    Share(
                        recovered,
                        "recovered by the penalty",
                        PENALTY,
                        ("n_observed",),
                        tuned=TUNED,
                    ),
                    0.5,
                ),
                below(
                    Ratio(
                        "error",
                        "error after the refit, penalty / depth 3",
                        {"n_observed": (576, 768, 1500, 2000)},
                        ("n_observed",),
                        tuned=TUNED,
                        least=RECOVERED,
                        of_=PENALTY,
                        over=DEEP,
                    ),
                    2.0,
                ),
                below(
                    Ratio(
                        "error",
                        "error after the refit, penalty / weight 0",
                        {"dense": False},
                        tuned=TUNED,
                        least=RECOVERED,
                        of_=PENALTY,
                        over=FLAT,
                    ),
                    0.5,
                ),
            ),
            kind="own",
        ),
    )
    figures = (
        spectra,
        Lines(
            "entries",
            "Recovery over the number of entries",
            (
                Panel(
                    Share(recovered, "share recovered after the refit", tuned=TUNED),
                    limits=(0.0, 1.0),
                ),
                Panel(
                    Median("raw_error", "relative error without refit", tuned=TUNED),
                    log=True,
                    limits=(1e-9, 3.0),
                ),
            ),
            claim="S2",
            caption="All methods get the same refit, at the largest gap of singular values.",
            words={"penalty": "one layer, penalty", "weight 0": "one layer, weight 0"},
            x="n_observed",
            by="method",
        ),
    )

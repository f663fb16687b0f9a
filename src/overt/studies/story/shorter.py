"""Parts of other studies with small plans of the story's own."""

from __future__ import annotations

from dataclasses import replace

from overt.studies.base import Claim
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Share
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.claims.vocabulary import RECOVERED, felt, recovered
from overt.studies.part import Grid
from overt.studies.shared.movielens import ARMS, Ratings, lead
from overt.studies.woodworth2020.sparse import ENOUGH, ERROR, Sparse
from overt.studies.zhao2022.optimizers import PLAIN, RATES, TUNED, WEIGHT, WITH, Optimizers
from overt.studies.zhao2022.penalties import OURS, Penalties

OWN = "Own hypothesis, after Zhao 2022"
SMALL = {"n": 20, "rank": 1, "n_observed": 150}
THREE = ("adam", *PLAIN)


def _steps(seeds: int, quick: bool) -> list[Grid]:
    size = SMALL if quick else {}
    arms = tuple({"weight": weight} for weight in (WEIGHT, 0.0))
    found = []
    for name in THREE:
        rates, thousands = RATES[name]
        steps = int((400 if quick else 1_000) * thousands)
        lr = rates[-1:] if quick else rates
        found.append(Grid(seeds, optimizer=name, lr=lr, arm=arms, max_steps=steps, **size))
    return found


class Steps(Optimizers):
    """Does gradient descent recover the matrix with the penalty, as Adam does?"""

    grids = {"quick": _steps(6, True), "full": _steps(10, False)}
    claims = (
        Claim(
            "S3",
            "With the penalty gradient descent recovers the matrix as Adam does",
            "Adam, gradient descent and momentum all feel the penalty and all recover most matrices after "
            "the same refit, if each goes on until loss and penalty together stand still.",
            OWN,
            Rule(
                felt(WITH, where={"optimizer": THREE}, each=("optimizer",), tuned=TUNED),
                above(
                    Share(recovered, "recovered", WITH | {"optimizer": THREE}, ("optimizer",), tuned=TUNED),
                    0.5,
                ),
            ),
            kind="own",
        ),
    )
    figures = tuple(replace(one, claim="S3") for one in Optimizers.figures)


class Nuclear(Penalties):
    """Does the nuclear norm do it, without the normalization?"""

    grids = {
        preset: [
            Grid(seeds, penalty=(OURS, "nuclear"), strength=strengths, max_steps=steps),
            Grid(seeds, penalty="weight 0", max_steps=steps),
        ]
        for preset, seeds, strengths, steps in (("quick", 6, (1,), 2_500), ("full", 10, (0, 1, 2), 5_000))
    }
    claims = (
        Claim(
            "S5",
            "Without its normalization the nuclear norm does not do it",
            "In the place of ‖W‖⁎/‖W‖F the nuclear norm has at least ten times the error, at as many weights "
            "and after the same refit.",
            OWN,
            Rule(
                below(
                    Ratio(
                        "error",
                        "error after the refit, normalized / nuclear norm",
                        tuned=("strength",),
                        least=RECOVERED,
                        of_={"penalty": OURS},
                        over={"penalty": "nuclear"},
                    ),
                    0.1,
                )
            ),
            kind="own",
        ),
    )
    figures = tuple(replace(one, claim="S5") for one in Penalties.figures)


class Regression(Sparse):
    """Is it the same in linear regression?"""

    grids = {
        preset: [
            Grid(seeds, method=("depth 3", "ℓ1/ℓ2"), strength=strengths, max_steps=steps),
            Grid(seeds, method="weight 0", max_steps=steps),
        ]
        for preset, seeds, strengths, steps in (("quick", 6, (1,), 6_000), ("full", 20, (0, 1, 2), 12_000))
    }
    claims = (
        Claim(
            "S6",
            "In regression ‖w‖₁/‖w‖₂ finds the sparse truth that depth finds",
            "Depth 3 from a small start and ‖w‖₁/‖w‖₂ without depth find the sparse truth; at weight zero "
            "the same refit does not.",
            "Own hypothesis, after Woodworth et al. 2020",
            Rule(
                below(ERROR.at(n_observed=ENOUGH, method=("depth 3", "ℓ1/ℓ2")), 0.05),
                below(
                    Ratio(
                        "error",
                        "error after the refit, ℓ1/ℓ2 / weight 0",
                        tuned=("strength",),
                        of_={"method": "ℓ1/ℓ2"},
                        over={"method": "weight 0"},
                    ),
                    0.5,
                ),
            ),
            kind="own",
        ),
    )
    figures = ()


class Movielens(Ratings):
    """Does the penalty predict ratings as depth does, and better than the same factors without it?"""

    grids = {
        "quick": Grid(6, arm=tuple(ARMS), settings=1, max_steps=120),
        "full": Grid(10, arm=tuple(ARMS)),
    }
    claims = (
        Claim(
            "S9",
            "On MovieLens the penalty keeps up with depth and lowers the test error",
            "On the published splits two factors with the penalty are as accurate as depth 3, and more "
            "accurate than the same two factors at weight zero.",
            OWN,
            Rule(below(lead("depth 3"), 0.005), below(lead("weight 0"), 0.0)),
            kind="own",
        ),
    )

"""MovieLens 100K, on published and on random splits."""

from __future__ import annotations

from overt.studies.base import Claim
from overt.studies.claims.verdict_rules import Rule, below
from overt.studies.part import Grid
from overt.studies.shared.movielens import ARMS, Ratings, lead

MARGIN = 0.005  # stars
SPLIT = ("split",)


class ZhaoRatings(Ratings):
    """Does the penalty predict ratings as depth does, and better than the same factors without it?"""

    grids = {
        "quick": Grid(6, arm=tuple(ARMS), split=("published", "random"), settings=1, max_steps=120),
        "full": Grid(10, arm=tuple(ARMS), split=("published", "random")),
    }
    claims = (
        Claim(
            "Z8",
            "On MovieLens the penalty keeps up with depth",
            "On MovieLens 100K two factors with the penalty are as accurate as depth 3 and better than the "
            "biases of users and films.",
            "After Zhao (2022), MovieLens 100K with random splits; the published splits, and two factors in "
            "the place of one layer, are ours",
            Rule(
                below(lead("depth 3", each=SPLIT), MARGIN),
                below(lead("biases", each=SPLIT), 0.0),
            ),
        ),
        Claim(
            "Z9",
            "On MovieLens the penalty lowers the test error",
            "At weight zero the same two factors, with as many settings and the same stopping predict worse.",
            "Own hypothesis: what Z8 owes to the penalty",
            Rule(below(lead("weight 0", each=SPLIT), 0.0)),
            kind="own",
        ),
    )

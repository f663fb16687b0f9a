"""Does one weight of a penalty serve other networks, sizes and units?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.quantities import MissingRunsError, PerSeed
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.generalization.methods import METHODS
from overt.studies.generalization.settings import SMALL, TunedConfig
from overt.studies.part import Grid, Part
from overt.studies.paths import Curve, Paths

PLAIN, NORMALIZED = "jacobian 1 eigen", "jacobian 1 eigen normalized"
PLACES = {
    "source": "where the weight is from",
    "network": "convolutional network",
    "few": "a fifth of the images",
    "many": "ten times the images",
    "units": "pixels a hundred times larger",
}
WORST = 10.0  # nats: a worse setting is as useless


class TransferConfig(TunedConfig):
    """One penalty, tuned at a place.

    Attributes
    ----------
    place : str
        What differs from the source, which has the network and images of the other fields: a convolutional
        network; a fifth of the images; ten times the images; or pixels a hundred times larger, of which the
        network's first layer takes the factor away again.
    """

    part: Literal["transfer"] = "transfer"
    place: Literal["source", "network", "few", "many", "units"] = "source"


def placed(config: TransferConfig) -> tuple[TransferConfig, float]:
    """The settings at the place, and the units of the pixels there."""
    changes: dict[str, dict[str, Any]] = {
        "network": {"network": "cnn", "widths": ()},
        "few": {"n_train": max(10, config.n_train // 5)},
        "many": {"n_train": 10 * config.n_train},
    }
    units = 100.0 if config.place == "units" else 1.0
    return config.model_copy(update=changes.get(config.place, {})), units


def regret(runs: Sequence[Run]) -> float:
    """What the source's best weight costs elsewhere, in nats of validation cross-entropy, in the mean."""
    scores = {
        run.config["place"]: {row["setting"]: row["cross_entropy"] for row in run.records[0]["trials"]}
        for run in runs
    }
    if set(scores) != set(PLACES):
        raise MissingRunsError(f"all places are needed: {', '.join(PLACES)}")
    source = scores["source"]
    weight = min(source, key=lambda w: source[w])
    costs = []
    for place, row in scores.items():
        # In other units the problem is the same: the best is that in the usual ones.
        best = min((source if place == "units" else row).values())
        costs.append(0.0 if place == "source" else min(row[weight], WORST) - best)
    return sum(costs) / (len(costs) - 1)


def saved(runs: Sequence[Run]) -> float:
    """How much smaller the regret of the normalized penalty is."""
    plain, normalized = (
        [run for run in runs if run.config["method"] == method] for method in (PLAIN, NORMALIZED)
    )
    return regret(plain) - regret(normalized)


class Transfer(Part[TransferConfig]):
    """Does one weight of a penalty serve other networks, sizes and units?"""

    config = TransferConfig
    grids = {
        "quick": Grid(6, **SMALL | {"n_train": 100}, place=tuple(PLACES), method=(PLAIN, NORMALIZED)),
        "full": Grid(10, place=tuple(PLACES), method=(PLAIN, NORMALIZED), n_test=10),
    }
    claims = (
        Claim(
            "G7",
            "The weight of the normalized penalty serves elsewhere, that of the plain one does not",
            "The weight of the Jacobian penalty (p = 1, eigen) with the least validation cross-entropy at "
            "one network, size and unit is used with another network, other sizes and pixels in other units. "
            "If the penalty is normalized, it costs at most 0.05 nats there in the mean, against the best of "
            "the four weights; if not, it costs more.",
            "Own hypothesis, from the scale invariance of the normalized nuclear norm",
            Rule(
                below(
                    PerSeed(
                        regret,
                        "cost of a weight kept from elsewhere (nats)",
                        {"method": NORMALIZED},
                        across=("place",),
                    ),
                    0.05,
                ),
                above(
                    PerSeed(
                        saved,
                        "what normalization saves of that cost (nats)",
                        {"method": (PLAIN, NORMALIZED)},
                        across=("method", "place"),
                    ),
                    0,
                ),
            ),
            kind="own",
        ),
    )
    figures = (
        Paths(
            "weights",
            "Does one weight serve all places?",
            tuple(
                Curve("cross_entropy", METHODS[method].label, {"method": method})
                for method in (PLAIN, NORMALIZED)
            ),
            x="weight",
            by="place",
            claim="G7",
            caption="Validation cross-entropy over the weight of the penalty, wherever it was tuned: where "
            "the curves have their lowest points one above the other, one weight serves all.",
            words=PLACES,
        ),
    )

    def execute(self, config: TransferConfig, context: RunContext) -> RunOutput:
        """Try the four weights; nothing is tested."""
        import numpy as np

        from overt.studies.generalization.data import Data
        from overt.studies.generalization.training import tuned

        there, units = placed(config)
        trials, _ = tuned(there, Data(there, units), context)
        arrays = {
            "weight": np.array([row["setting"] for row in trials]),
            "cross_entropy": np.array([min(row["cross_entropy"], WORST) for row in trials]),
        }
        return RunOutput([{"status": "tuned", "trials": trials}], arrays)

"""Is a Jacobian penalty worth more where there are fewer training images?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.quantities import Median, MissingRunsError, PerSeed
from overt.studies.claims.verdict_rules import Rule, above
from overt.studies.generalization.settings import CAPTION, SMALL, WORDS, TunedConfig
from overt.studies.part import Grid, Part
from overt.studies.plots import Lines, Panel

METHODS_COMPARED = ("jacobian 2", "nothing")


class SizesConfig(TunedConfig):
    """One method at one number of training images."""

    part: Literal["sizes"] = "sizes"


def growth(runs: Sequence[Run]) -> float:
    """The gain of the penalty over nothing with the fewest images, less that with the most."""
    errors = {(run.config["method"], run.config["n_train"]): run.records[0]["error"] for run in runs}
    counts = sorted({count for _, count in errors})
    if len(counts) < 2 or len(errors) < 2 * len(counts):
        raise MissingRunsError("each size needs both methods, and there must be two sizes")
    few, many = (errors["nothing", count] - errors["jacobian 2", count] for count in (counts[0], counts[-1]))
    return float(few - many)


class Sizes(Part[SizesConfig]):
    """Is a Jacobian penalty worth more where there are fewer training images?"""

    config = SizesConfig
    grids = {
        "quick": Grid(6, **SMALL | {"n_train": (400, 50)}, network=("cnn", "mlp"), method=METHODS_COMPARED),
        "full": Grid(
            10,
            size=({"n_train": 5000, "max_steps": 2000}, {"n_train": 100}),
            network=("cnn", "mlp"),
            method=METHODS_COMPARED,
        ),
    }
    claims = (
        Claim(
            "G10",
            "A Jacobian penalty gains half a point more with few images than with many",
            "The gain in accuracy of the Jacobian penalty (p = 2) over nothing is larger with the fewest "
            "images than with the most, by half a point, on both networks.",
            "Varga, Csiszárik & Zombori (2017), abstract: the more so where the training data are few",
            Rule(
                *(
                    above(
                        PerSeed(
                            growth,
                            f"gain with the fewest images less gain with the most ({WORDS[network]})",
                            {"network": network},
                            across=("method", "n_train", "max_steps"),
                        ),
                        0.005,
                    )
                    for network in ("mlp", "cnn")
                )
            ),
        ),
    )
    figures = (
        Lines(
            "sizes",
            "Over the number of training images",
            tuple(
                Panel(Median(field, label, {"network": network}), f"{label}, {WORDS[network]}")
                for network in ("mlp", "cnn")
                for field, label in (("error", "test error"), ("cross_entropy", "test cross-entropy"))
            ),
            claim="G10",
            caption=CAPTION,
            words=WORDS,
            x="n_train",
            by="method",
            log_x=True,
            x_label="training images",
        ),
    )

    def execute(self, config: SizesConfig, context: RunContext) -> RunOutput:
        """Tune and test."""
        from overt.studies.generalization.training import run

        return run(config, context, properties=False)

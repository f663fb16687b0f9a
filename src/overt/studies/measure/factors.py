"""One factor of training at a time: what lowers the effective rank of M on images?"""

from __future__ import annotations

from typing import Any, Literal

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule, below, between
from overt.studies.measure.images import CAPTION, ImagesConfig, reached
from overt.studies.part import Grid, Part
from overt.studies.paths import Curve, Paths
from overt.studies.plots import Dots, Panel

ARORA = "Arora, Cohen, Hu & Luo 2019, arXiv 1905.13655"
USUAL: dict[str, Any] = {"depth": 3, "scale": 1.0, "width": 64, "lr": 0.1, "batch_size": 100}
SMALL = 1e-2  # a start near zero, where the theory of linear networks is stated
RANK = Median("effective_rank", "effective rank of M", {"activation": "relu", **USUAL})


class FactorsConfig(ImagesConfig):
    """One fully connected network, its training, and how it is measured."""

    part: Literal["factors"] = "factors"


def compared(factor: str, of: Any, over: Any, **where: Any) -> Ratio:
    """The ratio of effective ranks at two values of a factor, all others as usual."""
    usual = {name: value for name, value in USUAL.items() if name not in (factor, *where)}
    return Ratio(
        "effective_rank",
        "effective rank at the same training loss",
        {"activation": "relu", **usual, **where},
        of_={factor: of},
        over={factor: over},
    )


def around(factor: str, activation: str = "relu") -> dict[str, Any]:
    """The settings of the runs at all values of a factor."""
    return {"activation": activation, **{name: value for name, value in USUAL.items() if name != factor}}


def _grids(seeds: int, quick: bool) -> list[Grid]:
    sizes: dict[str, Any] = {"n_train": 300, "n_measure": 200} if quick else {}
    levels: dict[str, tuple[Any, ...]] = {
        "depth": (2, 5) if quick else (2, 4, 5),
        "scale": (1e-4, 10.0) if quick else (1e-4, SMALL, 10.0),
        "width": (16, 256) if quick else (16, 256, 1024),
        "lr": (0.03, 0.3) if quick else (0.01, 0.03, 0.3),
        "batch_size": (10, 300) if quick else (10, 300, 1000),
    }
    small = tuple({"depth": depth, "scale": SMALL} for depth in (2, 5))
    linear = tuple(
        dict.fromkeys((factor,), value) for factor, value in (("depth", 2), ("depth", 5), ("scale", 1e-4))
    )
    return [
        Grid(seeds, case=small, max_steps=20_000, **sizes),
        *(Grid(seeds, **{factor: values}, **sizes) for factor, values in levels.items()),
        Grid(seeds, **sizes),
        Grid(seeds, activation="linear", case=({}, *linear), **sizes),
    ]


class Factors(Part[FactorsConfig]):
    """Which factors of training lower the effective rank of M on images?"""

    config = FactorsConfig
    grids = {"quick": _grids(6, quick=True), "full": _grids(10, quick=False)}
    claims = (
        Claim(
            "M3",
            "Training lowers the effective rank",
            "Gradient descent on images takes the effective rank of M below that of the untrained network.",
            f"Own hypothesis, in the sense of {ARORA}, section 3 (linear networks)",
            Rule(
                below(
                    Ratio(
                        "effective_rank",
                        "effective rank, end / start",
                        RANK.where,
                        baseline="start_effective_rank",
                    ),
                    1,
                )
            ),
            kind="own",
        ),
        Claim(
            "M4",
            "Depth lowers the effective rank",
            "At the same training loss networks of depth 5 have a lower effective rank than those of depth "
            "2, as deep linear networks do: from a usual initialization and from one near zero.",
            f"Own hypothesis: {ARORA}, theorem 3 and section 3, carried over to ReLU networks",
            Rule(below(compared("depth", 5, 2), 1), below(compared("depth", 5, 2, scale=SMALL), 1)),
            kind="own",
        ),
        Claim(
            "M5",
            "A small initialization lowers the effective rank",
            "At the same training loss networks that start smaller have the lower effective rank, as deep "
            "linear networks do.",
            f"Own hypothesis: {ARORA}, section 3; Li, Luo & Lyu 2021, arXiv 2012.09839 (linear networks), "
            "carried over to ReLU networks",
            Rule(below(compared("scale", 1e-4, 10.0), 1)),
            kind="own",
        ),
        Claim(
            "M6",
            "Width, learning rate and batch size do not matter",
            "Gradient flow of a linear network from balanced layers depends on the product alone, so that "
            "width, learning rate and batch size leave the effective rank as it is within a tenth; so they "
            "do for ReLU networks.",
            f"Own hypothesis: {ARORA}, theorem 3 (gradient flow), carried over to ReLU networks",
            Rule(
                *(
                    between(compared(factor, of, over), 0.9, 1 / 0.9)
                    for factor, of, over in (("width", 256, 16), ("lr", 0.3, 0.03), ("batch_size", 300, 10))
                )
            ),
            kind="own",
        ),
    )
    figures = (
        Paths(
            "trajectories",
            "The effective rank of M along training",
            (
                Curve("effective_rank", "by depth, ReLU", around("depth"), log=True),
                Curve("effective_rank", "by depth, no ReLU", around("depth", "linear"), log=True),
            ),
            by="depth",
            claim="M4",
            caption=CAPTION,
        ),
        Paths(
            "scales",
            "The effective rank of M along training, by the size of the start",
            (
                Curve("effective_rank", "by initial scale, ReLU", around("scale"), log=True),
                Curve("effective_rank", "by initial scale, no ReLU", around("scale", "linear"), log=True),
            ),
            by="scale",
            claim="M5",
            caption=CAPTION,
        ),
        *(
            Dots(
                f"rank-by-{factor.replace('_', '-')}",
                f"The effective rank at the same training loss, by {factor.replace('_', ' ')}",
                (Panel(Median("effective_rank", "effective rank of M", around(factor)), log=True),),
                claim={"depth": "M4", "scale": "M5"}.get(factor, "M6"),
                caption=CAPTION,
                rows=(factor,),
            )
            for factor in USUAL
        ),
    )

    def execute(self, config: FactorsConfig, context: RunContext) -> RunOutput:
        """Train and measure."""
        from overt.studies.measure.training import run

        return run(config, context)

    def ended(self, run: Run) -> bool:
        """Whether the run came to the training loss."""
        return reached(run)

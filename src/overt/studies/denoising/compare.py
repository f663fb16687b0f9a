"""Is the pointwise penalty at weight σ², which nothing tunes, better than what Stein's estimate tunes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Bar, Rule, below
from overt.studies.denoising.settings import LEAST_STEPS, CompareConfig
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Lines, Panel

RIVALS = ("frobenius", "bottleneck", "stein", "wiener")
TUNED = ("frobenius", "bottleneck", "stein")
METHODS = (*TUNED, "pointwise", "weight 0", "wiener")
WORDS = {
    "pointwise": "pointwise p=1 at σ², untuned",
    "frobenius": "Jacobian p=2, tuned",
    "bottleneck": "bottleneck, tuned",
    "stein": "trained by Stein's estimate",
    "wiener": "Wiener filter",
    "weight 0": "weight 0",
    "manifold": "curved manifold",
}
BETTER, LEAST = 0.9, 1e-6  # no error is smaller than the latter
SOURCE = "Own hypothesis, from a prototype at σ = 0.5: 0.0356 against 0.043, 0.043, 0.055 and 0.083"


PLACES = (
    {"data": "images", "sigma": 0.5},
    {"data": "manifold", "sigma": 0.5},
    {"data": "manifold", "sigma": 0.25},
    {"data": "manifold", "sigma": 1.0},
)
SMALL = {"n_train": 500, "n_validation": 200, "n_test": 300, "max_steps": 150, "width": 64}


def _ratio(ours: str, theirs: str, **where: Any) -> Ratio:
    return Ratio(
        "error",
        f"error, {WORDS[ours]} / {WORDS[theirs]}",
        where,
        least=LEAST,
        of_={"method": ours},
        over={"method": theirs},
    )


def _better(bar: float, rivals: Sequence[str] = RIVALS, **where: Any) -> list[Bar]:
    return [below(_ratio("pointwise", one, data="manifold", **where), bar, refuted=1.0) for one in rivals]


class Compare(Part[CompareConfig]):
    """Is the pointwise penalty at weight σ², which nothing tunes, better than what Stein's estimate tunes?"""

    config = CompareConfig
    grids: ClassVar[Mapping[str, Grid | Sequence[Grid]]] = {
        "quick": Grid(6, place=PLACES[:2], method=METHODS, **SMALL),
        "full": Grid(10, place=PLACES, method=METHODS),
    }
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            "DN1",
            "On a curved manifold the untuned pointwise penalty denoises best",
            "From noisy points near a 3-dimensional curved manifold in R⁶⁴, σ = 0.5, the pointwise nuclear "
            "norm of the Jacobian at weight σ² has a smaller error, by a tenth, than the Frobenius norm, "
            "bottlenecks and networks trained on Stein's estimate, all tuned by that estimate, and than the "
            "Wiener filter.",
            SOURCE,
            Rule(*_better(BETTER, sigma=0.5)),
            kind="own",
        ),
        Claim(
            "DN2",
            "At half and at twice the noise the weight σ² needs no tuning either",
            "At σ = 0.25 and σ = 1, where nobody has looked, the untuned pointwise penalty has a smaller "
            "error than each of the four rivals.",
            f"{SOURCE}; that the weight follows the noise is exact for linear maps",
            Rule(*(bar for sigma in (0.25, 1.0) for bar in _better(1.0, sigma=sigma))),
            kind="own",
        ),
        Claim(
            "DN3",
            "On images the Wiener filter denoises better than the pointwise penalty",
            "On Fashion-MNIST at half resolution with noise σ = 0.5 the untuned pointwise penalty loses to "
            "the linear filter: a fully connected network knows nothing of images, and their clean points "
            "need more directions.",
            "Own hypothesis, from a prototype: 0.095 against 0.106",
            Rule(below(_ratio("wiener", "pointwise", data="images", sigma=0.5), 1.0)),
            kind="own",
        ),
        Claim(
            "DN4",
            "Without the penalty the same network keeps most of the noise",
            "At weight 0 the same steps end at more than twice the error of the pointwise penalty.",
            "The control of DN1",
            Rule(below(_ratio("pointwise", "weight 0", data="manifold", sigma=0.5), 0.5, refuted=1.0)),
            kind="own",
        ),
        Claim(
            "DN5",
            "Stein's estimate chooses nearly as well as the clean points would",
            "The setting that it chooses for each tuned rival has at most a twentieth more error than the "
            "best setting on the clean test points: the comparison is not won by bad tuning.",
            "Own check of DN1",
            Rule(
                *(
                    below(
                        Ratio(
                            "error",
                            f"error as tuned / at the best setting, {WORDS[one]}",
                            {"data": "manifold", "sigma": 0.5},
                            least=LEAST,
                            of_={"method": one},
                            over={"method": one},
                            baseline="best_error",
                        ),
                        1.05,
                    )
                    for one in TUNED
                )
            ),
            kind="own",
        ),
    )
    figures: ClassVar[tuple[Any, ...]] = (
        Dots(
            "errors",
            "Error of every denoiser at σ = 0.5",
            tuple(
                Panel(
                    Median("error", "mean squared error", {"data": data, "sigma": 0.5}),
                    said,
                )
                for data, said in (("manifold", "curved manifold"), ("images", "Fashion-MNIST"))
            ),
            claim="DN1",
            caption="The error of what is seen is 0.25. Tuned methods: of three settings the one that "
            "Stein's estimate chooses on noisy validation points.",
            words=WORDS,
            rows=("method",),
        ),
        Lines(
            "noise",
            "Error over the noise, curved manifold",
            (Panel(Median("error", "mean squared error", {"data": "manifold"}), log=True),),
            claim="DN2",
            words=WORDS,
            x="sigma",
            by="method",
            log_x=True,
            x_label="standard deviation of the noise, σ",
        ),
        Dots(
            "seconds",
            "Seconds with all settings",
            (Panel(Median("seconds", "seconds of training", {"data": "manifold", "sigma": 0.5}), log=True),),
            caption="Other runs went on at the same time: an order of magnitude.",
            words=WORDS,
            rows=("method",),
        ),
    )

    def execute(self, config: CompareConfig, context: RunContext) -> RunOutput:
        """Train each setting, choose, score."""
        from overt.studies.denoising.training import run

        return RunOutput([run(config, context)])

    def ended(self, run: Run) -> bool:
        """Whether training was long enough to say where it ends; the Wiener filter is not trained."""
        return bool(run.config["method"] == "wiener" or run.config["max_steps"] >= LEAST_STEPS)

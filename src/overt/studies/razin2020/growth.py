"""Gradient flow on the 2×2 problem: the open entry, the norms and the rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule, above, below, between
from overt.studies.claims.vocabulary import fitted
from overt.studies.part import Grid, Part
from overt.studies.razin2020.settings import FlowConfig

if TYPE_CHECKING:
    from overt.studies.report.figures import Figure

PAPER = "Razin & Cohen 2020, arXiv 2005.06398"
REACHED = 1e-6  # the loss that a flow must come to
SLACK = 1e-3  # of the bound: the solver's accuracy
DEPTHS = (2, 3, 4)
POSITIVE = {"determinant": "positive"}
NEGATIVE = {"determinant": "negative"}


class GrowthConfig(FlowConfig):
    """One flow."""

    part: Literal["growth"] = "growth"


def least_growth(run: Run) -> float:
    """The growth since ℓ = 1e-2 of the norm that grows least."""
    return float(min(run.records[0]["growth"].values()))


def rank_over_start(run: Run) -> float:
    """The effective rank at the end over that at the start."""
    return float(run.records[0]["effective_rank"] / run.records[0]["effective_rank_start"])


def paths(part: Part[Any], runs: Sequence[Run]) -> Figure | None:
    """The open entry over the loss, and norms and ranks at depth 3."""
    import numpy as np

    from overt.studies.claims.statistics import Span, median_of_spans
    from overt.studies.report.charts import Series, line_chart
    from overt.studies.report.figures import Cell, Figure

    own = [run for run in part.own(runs) if "loss" in run.arrays]
    if not own:
        return None
    title = "The open entry of the 2×2 problem, norms and rank over the loss"
    data: list[dict[str, Cell]] = []

    def line(name: str, some: Sequence[Run], what: str) -> Series:
        length = min(len(run.arrays["loss"]) for run in some)
        loss = some[0].arrays["loss"][:length].tolist()
        table = np.stack([_along(run.arrays)[what][:length] for run in some])
        middle = [median_of_spans([Span.of(float(v)) for v in column]).value for column in table.T]
        data.extend(
            {"line": name, "quantity": what, "loss": x, "median": y}
            for x, y in zip(loss, middle, strict=True)
        )
        return Series(name, loss, middle)

    panels = []
    for sign in ("positive", "negative"):
        some = [run for run in own if run.config["determinant"] == sign]
        by_depth = {d: [run for run in some if run.config["depth"] == d] for d in DEPTHS}
        lines = [line(f"depth {d}", found, "|w₁₁|") for d, found in by_depth.items() if found]
        if sign == "positive":
            loss = 10.0 ** np.arange(-1, -6.3, -0.25)
            lines.append(Series("lower bound", loss, (1 - np.sqrt(2 * loss)) ** 2 / np.sqrt(2 * loss)))
        panels.append((f"initial determinant {sign}", lines, True))
    deep = [run for run in own if (run.config["depth"], run.config["determinant"]) == (3, "positive")]
    for name, kinds, log in (
        ("norms, depth 3", ("nuclear norm", "Frobenius norm", "Schatten ½"), True),
        ("rank, depth 3", ("effective rank", "normalized nuclear norm"), False),
    ):
        panels.append((name, [line(kind, deep, kind) for kind in kinds if deep], log))
    svg = [
        line_chart(
            lines,
            title=title,
            panel=name,
            x_label="loss ℓ",
            y_label=name.split(",")[0],
            log_x=True,
            log_y=log,
            id=f"path-{number}",
        )
        for number, (name, lines, log) in enumerate(panels)
        if lines
    ]
    caption = "Gradient flow on balanced layers; training goes from right to left. Medians over seeds."
    return Figure("paths", title, caption, svg=svg, data=data)


def _along(arrays: Any) -> dict[str, Any]:
    import numpy as np

    s = np.asarray(arrays["singular_values"])
    share = s / s.sum(axis=1, keepdims=True)
    nuclear, frobenius = s.sum(axis=1), np.sqrt((s**2).sum(axis=1))
    return {
        "|w₁₁|": np.abs(arrays["entry"]),
        "nuclear norm": nuclear,
        "Frobenius norm": frobenius,
        "Schatten ½": (s**0.5).sum(axis=1) ** 2,
        "normalized nuclear norm": nuclear / frobenius,
        "effective rank": np.exp(-(share * np.log(np.maximum(share, 1e-300))).sum(axis=1)),
    }


class Growth(Part[GrowthConfig]):
    """Does gradient flow drive the open entry, and with it every norm, to infinity?"""

    config = GrowthConfig
    grids = {
        "quick": Grid(6, determinant=("positive", "negative"), depth=DEPTHS),
        "full": Grid(10, determinant=("positive", "negative"), depth=DEPTHS),
    }
    claims = (
        Claim(
            "R1",
            "The open entry runs to infinity as the loss falls",
            "In the 2×2 problem with w₁₂ = w₂₁ = 1 and w₂₂ = 0 observed, gradient flow on a balanced deep "
            "linear network of depth 2 or more, started with a positive determinant, drives |w₁₁| to "
            "infinity: det W > 0 forces |w₁₁| ≥ (1 − √(2ℓ))² / √(2ℓ) for ℓ = ½ Σ (w_ij − b_ij)² < ½.",
            f"{PAPER}, section 3, theorem 1",
            Rule(
                between(
                    Median("slope", "slope of log |w₁₁| over log ℓ", POSITIVE, each=("depth",)), -0.55, -0.45
                ),
                above(
                    Median("least_over_bound", "least |w₁₁| / bound", POSITIVE, each=("depth",)), 1 - SLACK
                ),
            ),
        ),
        Claim(
            "R2",
            "All norms grow while the effective rank falls",
            "Along the same trajectories every norm and quasi-norm grows without bound, while the effective "
            "rank falls to its infimum over the solutions, one, and the distance to the matrices of rank one "
            "to zero (σ₂ ≤ 3√2 · √ℓ).",
            f"{PAPER}, theorems 1 and 2, figure 1",
            Rule(
                above(
                    Median(least_growth, "least growth of five norms since ℓ = 1e-2", POSITIVE, ("depth",)),
                    10,
                ),
                below(Median("effective_rank", "effective rank at the end", POSITIVE, ("depth",)), 1.01),
                below(Median(rank_over_start, "effective rank, end / start", POSITIVE, ("depth",)), 1),
                below(Median("rank_distance", "largest σ₂ / (3√2 · √ℓ)", POSITIVE, ("depth",)), 1),
            ),
        ),
        Claim(
            "R3",
            "With a negative determinant at the start the open entry stays bounded",
            "With a negative determinant at the start the solution stays bounded.",
            f"{PAPER}, section 3 (the theorem asks for a positive determinant, of probability one half)",
            Rule(
                below(Ratio("open_entry", "|w₁₁|", each=("depth",), of_=NEGATIVE, over=POSITIVE), 0.1),
                below(Median("late_growth", "growth of |w₁₁| since ℓ = 1e-4", NEGATIVE, ("depth",)), 1.1),
            ),
        ),
    )
    figures = (paths,)

    def execute(self, config: GrowthConfig, context: RunContext) -> RunOutput:
        """Follow the flow."""
        from overt.studies.razin2020.two_by_two import follow

        return follow(config, context)

    def ended(self, run: Run) -> bool:
        """Whether the loss came to 1e-6."""
        return fitted(run, REACHED)

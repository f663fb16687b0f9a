"""Which functional is what training found stationary for?

The ratio of a functional is the share of its gradient in the null space of the measurements over that of
random solutions of the same data and rank: 0 is stationary, 1 is chance. See ``overt.infer_penalty``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, model_validator

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Difference, Ratio
from overt.studies.claims.quantities import Median, Share
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.claims.vocabulary import fitted
from overt.studies.fields import OptimizerName, check_instance
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel
from overt.studies.report.figures import Cell, Figure

STATIONARY = 0.1  # a ratio up to it is nearly stationary
TINY, SMALL, LARGE = 1e-6, 1e-3, 0.3  # the initialization scales
FIT = 1e-4  # relative loss: the residual of 1 % at which infer_penalty warns
GD_SHARE = 0.9  # of the largest stable learning rate of gradient descent at a matrix of the data's size
NORMS = ("schatten_norm",)
INVARIANT = ("normalized_schatten_norm", "effective_rank", "stable_rank")


class InverseConfig(StudyConfig):
    """One run: train a deep linear network on a completion problem, then ask for its functional.

    Attributes
    ----------
    depth, optimizer, init_scale, max_steps
        Of the training, without any penalty.
    lr : float
        0 takes ``GD_SHARE`` of the stable rate for ``gd``, and 2e-3 for any other optimizer.
    n, rank, n_observed : int
        Of the matrix. With fewer entries than degrees of freedom the data do not determine the solution, and
        the question has an answer.
    zero, references
        Of ``infer_penalty``.
    """

    part: Literal["inverse"] = "inverse"
    depth: int = Field(default=2, ge=1)
    optimizer: OptimizerName = "gd"
    lr: float = Field(default=0.0, ge=0)
    init_scale: float = Field(default=SMALL, gt=0)
    n: int = Field(default=16, ge=2)
    rank: int = Field(default=3, ge=1)
    n_observed: int = Field(default=80, ge=1)
    max_steps: int = Field(default=10_000, ge=1)
    zero: float = Field(default=1e-3, gt=0, lt=1)
    references: int = Field(default=3, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> InverseConfig:
        # Each row needs as many entries as the rank.
        check_instance(self.n, self.rank, self.n_observed, least=self.rank * self.n)
        return self

    @property
    def rate(self) -> float:
        """The learning rate."""
        if self.lr > 0:
            return self.lr
        if self.optimizer != "gd":
            return 2e-3
        largest = 1.3 * self.n / math.sqrt(self.rank)
        return float(GD_SHARE * self.n_observed / (self.depth * largest ** (2 - 2 / self.depth)))


def lowest(names: Sequence[str] = (), p: float | None = None) -> Callable[[Run], float | None]:
    """The lowest ratio of some functionals, of all where none is named; None where there is no answer."""

    def of(run: Run) -> float | None:
        members = run.records[0].get("members", ())
        some = [m["ratio"] for m in members if (not names or m["name"] in names) and p in (None, m["p"])]
        return min((ratio for ratio in some if not math.isnan(ratio)), default=None)

    return of


def answered(run: Run) -> bool:
    """Have an answer: trained without divergence, and not determined by their data."""
    return bool(run.records[0].get("members"))


def frobenius_is_best(run: Run) -> bool:
    """At which p = 2 has the lowest ratio of the Schatten family."""
    return bool(run.records[0].get("p") == 2)


def _at(depth: int | tuple[int, ...], scale: float = SMALL, optimizer: str = "gd") -> dict[str, Any]:
    return {"depth": depth, "init_scale": scale, "optimizer": optimizer}


FROBENIUS = Median(lowest(NORMS, 2.0), "ratio of the Frobenius norm")
NUCLEAR = Median(lowest(NORMS, 1.0), "ratio of the nuclear norm")
BEST_NORM = Median(lowest(NORMS), "lowest ratio of a Schatten norm")
BEST_INVARIANT = Median(lowest(INVARIANT), "lowest ratio of a scale-invariant functional")


def exponents(part: Part[Any], runs: Sequence[Run]) -> Figure | None:
    """Ratios of the Schatten family over p, a line per depth."""
    from overt.studies.report.charts import Series, line_chart

    made = [run for run in part.own(runs) if run.records and run.records[0].get("members")]
    lines, data = [], list[dict[str, Cell]]()
    for depth in sorted({run.config["depth"] for run in made}):
        one = replace(NUCLEAR, where=_at(depth))
        some = one.chosen(made)
        ps = sorted({m["p"] for run in some for m in run.records[0]["members"] if m["name"] in NORMS})
        found = [replace(one, value=lowest(NORMS, p)).estimate(some, part.ended) for p in ps]
        if found:
            middle, low, high = (
                [v if math.isfinite(v := getattr(e, end)) else None for e in found]
                for end in ("value", "low", "high")
            )
            lines.append(Series(f"depth {depth}", ps, middle, low, high))
            data += [
                {"depth": depth, "p": p, "ratio": e.value, "n": e.n} for p, e in zip(ps, found, strict=True)
            ]
    if not lines:
        return None
    title = "Which Schatten norm is stationary at the solutions of gradient descent"
    svg = line_chart(
        lines,
        title=title,
        x_label="exponent p",
        y_label="ratio to chance",
        y_lim=(0.0, 1.2),
        reference=(STATIONARY, "0.1"),
        id="exponents",
    )
    caption = (
        f"Deep linear networks without penalty, from scale {SMALL:g}. Share of the norm's gradient in the "
        "null space of the measurements, over that of random solutions of the same data and rank: 0 is "
        "stationary, 1 is chance."
    )
    return Figure("exponents", title, caption, svg=[svg], data=data)


def _grids(seeds: int, scales: tuple[float, ...], steps: int) -> list[Grid]:
    return [
        Grid(seeds, depth=(4, 3, 2, 1), max_steps=steps),
        Grid(seeds, depth=2, init_scale=scales, max_steps=steps),
        Grid(seeds, depth=2, optimizer="adam", max_steps=steps),
    ]


def _claim(id_: str, title: str, statement: str, source: str, *bars: Any) -> Claim:
    return Claim(id_, title, statement, source, Rule(*bars), kind="own")


def _quotient(label: str, value: Any, of: Mapping[str, Any], over: Mapping[str, Any], **more: Any) -> Ratio:
    return Ratio(value, label, of_=of, over=over, **more)


class Inverse(Part[InverseConfig]):
    """What are networks stationary for, by depth, initialization scale and optimizer?"""

    config = InverseConfig
    grids = {"quick": _grids(6, (TINY, LARGE), 5_000), "full": _grids(10, (TINY, LARGE), 15_000)}
    claims = (
        _claim(
            "I1",
            "Depth 1 from a small start minimizes the Frobenius norm",
            "Gradient descent on a single matrix from near zero ends where the Frobenius norm, and no other "
            "Schatten norm, is stationary among the solutions that fit.",
            "Well known for the minimum norm solution; a check of the instrument",
            below(replace(FROBENIUS, where=_at(1)), STATIONARY),
            above(Share(frobenius_is_best, "at which p = 2 is best", _at(1)), 0.5),
        ),
        _claim(
            "I2",
            "Depth 2 from a small start minimizes the nuclear norm",
            "Gradient descent on two factors from near zero (scale 1e-6) ends where the nuclear norm is "
            "stationary.",
            "After the conjecture of Gunasekar et al. 2017, for full-dimensional factorization",
            below(replace(NUCLEAR, where=_at(2, TINY)), STATIONARY),
        ),
        _claim(
            "I3",
            "Depth lowers the exponent",
            "The best Schatten exponent falls from depth 1 to 2 and from depth 2 to 4.",
            "Arora et al. 2019, §3.1, discuss Schatten quasi-norms of exponent 2/N",
            *(
                below(
                    Difference("p", f"best exponent, depth {b} − depth {a}", of_=_at(b), over=_at(a)), -0.01
                )
                for a, b in ((1, 2), (2, 4))
            ),
        ),
        _claim(
            "I4",
            "From depth 3 on no norm is minimized",
            "What networks of depth 3 and 4 find is not stationary for any Schatten norm or quasi-norm.",
            "Razin & Cohen 2020, Theorem 1 (another problem); Arora et al. 2019, §3.1",
            above(replace(BEST_NORM, where=_at((3, 4)), each=("depth",), only=answered), STATIONARY),
        ),
        _claim(
            "I5",
            "A scale-invariant functional is nearer to it than any norm",
            "At depth 3 the best of the effective rank, the stable rank and S_p/S_q has a lower ratio than "
            "the best norm.",
            "Razin & Cohen 2020, who propose to look at rank rather than norms; own measurement",
            below(
                _quotient(
                    "lowest ratio, scale-invariant functionals / norms",
                    lowest(INVARIANT),
                    _at(3),
                    _at(3),
                    baseline=lowest(NORMS),
                ),
                1.0,
            ),
        ),
        _claim(
            "I6",
            "A large start undoes it",
            "From a start as large as the data the solution of depth 2 is nearly stationary for nothing: the "
            "lowest ratio of all functionals is at least twice that of a small start.",
            "Woodworth et al. 2020 for the role of the scale; own measurement",
            below(_quotient("lowest ratio, scale 1e-3 / 0.3", lowest(), _at(2), _at(2, LARGE)), 0.5),
        ),
        _claim(
            "I7",
            "Adam's bias is another one",
            "At depth 2, from the same start, the solution that Adam finds is farther from the nuclear norm "
            "than that of gradient descent.",
            "Own measurement",
            below(
                _quotient(
                    "ratio of the nuclear norm, gradient descent / Adam",
                    lowest(NORMS, 1.0),
                    _at(2),
                    _at(2, SMALL, "adam"),
                ),
                1.0,
            ),
        ),
    )
    figures = (
        exponents,
        Dots(
            "functionals",
            "How near the solutions are to stationary",
            tuple(
                Panel(one, limits=(0.0, 1.5), reference=(STATIONARY, "0.1"))
                for one in (FROBENIUS, NUCLEAR, BEST_NORM, BEST_INVARIANT)
            ),
            claim="I4",
            rows=("depth", "optimizer", "init_scale"),
        ),
    )

    def execute(self, config: InverseConfig, context: RunContext) -> RunOutput:
        """Train, and ask."""
        from overt.measures import infer_penalty
        from overt.models import DeepLinear
        from overt.problems import matrix_completion
        from overt.studies.shared.training_runs import how, summary, teller
        from overt.training import train

        problem = matrix_completion(
            (config.n, config.n),
            rank=config.rank,
            n_observed=config.n_observed,
            seed=config.seed,
            min_per_line=config.rank,
        )
        sizes = (config.n,) * (config.depth + 1)
        model = DeepLinear(sizes, scale=config.init_scale, seed=config.seed, dtype=problem.y.dtype)
        result = train(
            model,
            problem,
            optimizer=config.optimizer,
            lr=config.rate,
            max_steps=config.max_steps,
            tolerance=1e-10,
            callback=teller(context),
        )
        record = summary(result.W, problem) | how(result)
        if result.status == "diverged":
            return RunOutput([record | {"error": math.inf}])
        found = infer_penalty(
            result.W, problem, zero=config.zero, references=config.references, seed=config.seed
        )
        names = ("name", "p", "q", "ratio", "label")
        return RunOutput(
            [
                record
                | {"p": found.p, "found_rank": found.rank, "warnings": list(found.warnings)}
                | {"members": [{name: getattr(m, name) for name in names} for m in found.members]}
            ]
        )

    def ended(self, run: Run) -> bool:
        """Whether the data are fitted."""
        return fitted(run, FIT)

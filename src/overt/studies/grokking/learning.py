"""How many steps, seconds and pairs does a network need until it adds modulo p?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median, Share
from overt.studies.claims.verdict_rules import Rule, below
from overt.studies.grokking.settings import FEW, MANY, LearningConfig
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel

CELL = ("modulus", "share")
TUNED = ("setting",)
POWER = "Power, Burda, Edwards, Babuschkin & Misra 2022, Grokking, arXiv 2201.02177"
FACT = "Own hypothesis, from a prototype with p = 31"
WORDS = {
    "weight decay": "weight decay",
    "nuclear": "nuclear norm of the weights",
    "jacobian 2": "Jacobian p=2",
    "jacobian 1": "Jacobian p=1, inputs",
    "fourier 1": "Jacobian p=1, Fourier",
    "weight 0": "weight 0",
    "mlp": "one hidden layer",
    "transformer": "transformer",
}


def generalizes(run: Run) -> bool:
    """Generalizes: above 95 % of the test pairs are answered within the budget."""
    return run.records[0]["steps_to_generalize"] is not None


METHODS = ("jacobian 2", "fourier 1", "nuclear", "weight decay", "weight 0")
MLP = tuple(
    {"network": "mlp", "modulus": modulus, "share": share}
    for modulus, share in ((47, FEW), (31, FEW), (31, MANY), (23, MANY))
)
TRANSFORMER = ({"network": "transformer", "width": 64, "modulus": 31, "share": MANY},)


def _grids(
    cells: tuple[dict[str, Any], ...], seeds: int, settings: tuple[int, ...], steps: int
) -> list[Grid]:
    other = tuple(cell for cell in cells if cell["network"] == "mlp")  # GK5 is about it alone
    grids = [Grid(seeds, cell=cells, method=METHODS, setting=settings, max_steps=steps)]
    if other:
        grids.append(Grid(seeds, cell=other, method="jacobian 1", setting=settings, max_steps=steps))
    return grids


def _sooner(ours: str, theirs: str, field: str = "steps", **where: Any) -> Ratio:
    return Ratio(
        f"{field}_to_generalize",
        f"{field} to 95 %, {WORDS[ours]} / {WORDS[theirs]}",
        where,
        each=CELL,
        tuned=TUNED,
        over_time=True,
        budget=field,
        of_={"method": ours},
        over={"method": theirs},
    )


def _across(said: str, of_: Mapping[str, Any], over: Mapping[str, Any]) -> Ratio:
    return Ratio(
        "steps_to_generalize",
        f"steps to 95 %, {said}",
        {"network": "mlp", "modulus": 31},
        tuned=TUNED,
        over_time=True,
        of_=of_,
        over=over,
    )


def _panel(value: str, label: str, network: str, budget: str = "steps") -> Panel:
    quantity = Median(value, label, {"network": network}, tuned=TUNED, over_time=True, budget=budget)
    return Panel(quantity, f"{label}, {WORDS[network]}", log=True)


class Learning(Part[LearningConfig]):
    """How many steps, seconds and pairs does a network need until it adds modulo p?"""

    config = LearningConfig
    grids: ClassVar[Mapping[str, Grid | Sequence[Grid]]] = {
        "quick": [
            *_grids(tuple(one | {"width": 32} for one in TRANSFORMER), 6, (1,), 150),
            *_grids(MLP[1:3], 6, (2,), 200),
        ],
        "full": [*_grids(TRANSFORMER, 10, (1, 2), 800), *_grids(MLP, 10, (0, 1, 2), 1_500)],
    }
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            "GK1",
            "From fewer pairs a network needs more steps to generalize",
            "Smaller data sets require more optimization for generalization: with weight decay, half of the "
            "pairs take more steps than 70 % of them.",
            f"{POWER}, abstract; a network with one hidden layer and p = 31 are ours",
            Rule(
                below(
                    _across(
                        "70 % / 50 % of the pairs, weight decay",
                        {"method": "weight decay", "share": MANY},
                        {"method": "weight decay", "share": FEW},
                    ),
                    1.0,
                )
            ),
        ),
        Claim(
            "GK2",
            "Weight decay generalizes sooner than no regularizer",
            "With one hidden layer and 70 % of the pairs AdamW with weight decay needs at most half of the "
            "steps that it needs without, at the best of three learning rates.",
            f"The control of GK3 to GK5, after {POWER}, section 3.3",
            Rule(
                below(
                    _sooner("weight decay", "weight 0", network="mlp", share=MANY),
                    0.5,
                    refuted=1.0,
                )
            ),
            kind="own",
        ),
        Claim(
            "GK3",
            "The nuclear norm of the weights generalizes sooner than weight decay",
            "With one hidden layer, three moduli and both shares, the nuclear norm of the weights needs at "
            "most four fifths of the steps of weight decay, each at the best of three strengths.",
            f"{FACT}: 300 steps against 567; for transformers with normalized layers see Li 2026, arXiv "
            "2606.04405 (a preliminary draft)",
            Rule(below(_sooner("nuclear", "weight decay", network="mlp"), 0.8, refuted=1.0)),
            kind="own",
        ),
        Claim(
            "GK4",
            "A Jacobian penalty generalizes in half the steps of weight decay",
            "With one hidden layer, three moduli and both shares, the squared Jacobian as a penalty needs at "
            "most half of the steps of weight decay, each at the best of three strengths.",
            f"{FACT}: 125 steps against 567",
            Rule(
                below(
                    _sooner("jacobian 2", "weight decay", network="mlp"),
                    0.5,
                    refuted=1.0,
                )
            ),
            kind="own",
        ),
        Claim(
            "GK5",
            "Sparsity in the Fourier basis generalizes sooner than p = 2",
            "The answer has few frequencies: P₁ of M in the Fourier basis needs fewer steps than the squared "
            "Jacobian and than P₁ in the inputs' own basis, with one hidden layer, three moduli and both "
            "shares.",
            f"{FACT}: 100 steps against 125",
            Rule(
                *(
                    below(_sooner("fourier 1", other, network="mlp"), 1.0)
                    for other in ("jacobian 2", "jacobian 1")
                )
            ),
            kind="own",
        ),
        Claim(
            "GK6",
            "A transformer generalizes sooner with a Jacobian penalty than with weight decay, too",
            "For a small transformer and p = 31 the squared Jacobian needs fewer steps than weight decay, "
            "each at the better of two strengths.",
            "Own hypothesis; nobody has looked",
            Rule(below(_sooner("jacobian 2", "weight decay", network="transformer"), 1.0)),
            kind="own",
        ),
        Claim(
            "GK7",
            "A Jacobian penalty generalizes in fewer seconds of computing than weight decay",
            "What a step with the penalty costs is earned back: processor seconds until the test pairs are "
            "answered, with one hidden layer.",
            "Own measurement",
            Rule(
                below(
                    _sooner("jacobian 2", "weight decay", "seconds", network="mlp"),
                    1.0,
                )
            ),
            kind="own",
        ),
        Claim(
            "GK8",
            "From half of the pairs a Jacobian penalty generalizes sooner than weight decay from 70 %",
            "With p = 31 and one hidden layer the squared Jacobian needs fewer steps from 50 % of the pairs "
            "than weight decay from 70 %.",
            f"{FACT}: 262 steps against 567",
            Rule(
                below(
                    _across(
                        "Jacobian p=2 from 50 % / weight decay from 70 %",
                        {"method": "jacobian 2", "share": FEW},
                        {"method": "weight decay", "share": MANY},
                    ),
                    1.0,
                )
            ),
            kind="own",
        ),
    )
    figures: ClassVar[tuple[Any, ...]] = (
        Dots(
            "steps",
            "Steps until 95 % of the test pairs are answered",
            tuple(_panel("steps_to_generalize", "steps to 95 %", one) for one in ("mlp", "transformer")),
            claim="GK4",
            caption="At the best setting of each method. A run that its budget ended would have taken "
            "longer.",
            words=WORDS,
            rows=("modulus", "share", "method"),
        ),
        Dots(
            "seconds",
            "Processor seconds until 95 % of the test pairs are answered",
            tuple(
                _panel("seconds_to_generalize", "seconds to 95 %", one, "seconds")
                for one in ("mlp", "transformer")
            ),
            claim="GK7",
            words=WORDS,
            rows=("modulus", "share", "method"),
        ),
        Dots(
            "reached",
            "How many runs generalize within the budget",
            tuple(
                Panel(
                    Share(generalizes, "share of runs", {"network": one}, tuned=TUNED),
                    WORDS[one],
                    limits=(0.0, 1.0),
                )
                for one in ("mlp", "transformer")
            ),
            claim="GK8",
            words=WORDS,
            rows=("modulus", "share", "method"),
        ),
    )

    def execute(self, config: LearningConfig, context: RunContext) -> RunOutput:
        """Train until the test pairs are answered, or to the end of the budget."""
        from overt.studies.grokking.training import run

        return RunOutput([run(config, context)])

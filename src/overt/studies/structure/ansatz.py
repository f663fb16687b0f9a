"""Is the first layer of a network a power of M, and which one?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median, Value
from overt.studies.claims.verdict_rules import Rule, above, below, between
from overt.studies.claims.vocabulary import ended
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel

NFA = (
    "Radhakrishnan, Beaglehole, Pandit & Belkin 2024, Mechanism for feature learning in neural networks and "
    "backpropagation-free machine learning models, Science 383 (arXiv 2212.13881)"
)
DEEP = (
    "Tansley, Massart & Cartis 2025, On the neural feature ansatz for deep neural networks, arXiv 2510.15563"
)
FACT = "Boix-Adserà, Mallinar, Simon & Belkin 2025, The features at convergence theorem, arXiv 2507.05644"
HIGH = 0.9  # a correlation
LINEAR, NONLINEAR = {"network": "linear", "target": "linear"}, {"network": "gelu"}
SMOOTH = ("staircase", "multi-index")
WORDS = {
    "linear": "linear",
    "staircase": "staircase, 3 of 12",
    "multi-index": "rotated, rank 3 of 12",
    "rare": "one input matters rarely",
}


class AnsatzConfig(StudyConfig):
    """One network, trained with weight decay until its gradient vanishes.

    Attributes
    ----------
    target : str
        "linear" has six outputs and four singular values; "rare" is the counterexample; the others are those
        of `overt.problems` in 12 inputs.
    network : str
        Linear layers without biases, or with GELU between them.
    depth : int
        Number of layers L.
    decay : float
        λ of (λ/2) Σ‖W‖².
    lr, max_steps
        Of Adam over all rows, whose rate falls to zero.
    """

    part: Literal["ansatz"] = "ansatz"
    target: Literal["linear", "staircase", "multi-index", "rare"] = "linear"
    network: Literal["linear", "gelu"] = "linear"
    depth: int = Field(default=2, ge=2, le=6)
    decay: float = Field(default=1e-2, gt=0)
    lr: float = Field(default=1e-2, gt=0)
    max_steps: int = Field(default=6000, ge=1)


def first_exponent_times_depth(run: Run) -> float:
    """L times the exponent of M that W₁ᵀW₁ follows: 1 for M^{1/L}."""
    return float(run.records[0]["exponent"]) * int(run.config["depth"])


def rest_over_alpha(run: Run) -> float:
    """The exponent of M that all layers but the last follow, over α = 1 − 1/L."""
    return float(run.records[0]["exponent_of_rest"]) / (1 - 1 / int(run.config["depth"]))


def _grids(seeds: int, depths: tuple[int, ...], **fields: Any) -> list[Grid]:
    return [
        Grid(seeds, **NONLINEAR, target=SMOOTH, depth=tuple(d for d in reversed(depths) if d < 4), **fields),
        Grid(seeds, **NONLINEAR, target="rare", depth=2, **fields),
        Grid(seeds, **LINEAR, depth=depths, decay=0.1, **{"max_steps": 2000} | fields),
    ]


def value(name: Value, label: str, **where: Any) -> Median:
    """A recorded number, for each depth and target."""
    return Median(name, label, where, each=("target", "depth"))


class Ansatz(Part[AnsatzConfig]):
    """Is W₁ᵀW₁ of a trained network a power of M = E[JᵀJ], and is 1/L the exponent?"""

    config = AnsatzConfig
    grids: ClassVar[Mapping[str, Grid | Sequence[Grid]]] = {
        "quick": _grids(6, (2,), max_steps=2000),
        "full": _grids(10, (2, 3, 4)),
    }
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            "T23",
            "The first layer of a deep linear network is M to the power 1/L",
            "In linear networks of L layers W₁ᵀW₁ is proportional to M^{1/L}: throughout training from a "
            "balanced start, and from any start in the limit if weight decay is applied, as here.",
            DEEP,
            Rule(
                above(value("correlation", "correlation of W₁ᵀW₁ and M^{1/L}", **LINEAR), 0.99),
                between(value(first_exponent_times_depth, "exponent times L", **LINEAR), 0.9, 1.1),
            ),
        ),
        Claim(
            "T24",
            "All layers but the last multiply inputs by M to the power α/2, α = 1 − 1/L",
            "In linear networks of L layers with weight decay the product P of all layers but the last has "
            "PᵀP proportional to M^α, α = 1 − 1/L: the weights of a feature machine and of iterative "
            "reweighting for P_p(M), p = 2/L.",
            "Own hypothesis: α is the depth dial",
            Rule(between(value(rest_over_alpha, "exponent / (1 − 1/L)", **LINEAR), 0.9, 1.1)),
            kind="own",
        ),
        Claim(
            "T25",
            "A step of reweighting at α = 1 − 1/L leaves a trained linear network where it is",
            "Ridge regression with the network's own λ on inputs times M^{α/2} gives the network's matrix "
            "back, within 1 %, at α = 1 − 1/L; the step at one layer more is at least twice as long.",
            "Own hypothesis: weight decay on L layers is (λ/2) L ‖W‖_{2/L}^{2/L}, which it minimizes",
            Rule(
                below(value("step", "length of the step / norm", **LINEAR), 0.01),
                below(
                    Ratio(
                        "step",
                        "length of the step / that at one layer more",
                        LINEAR,
                        each=("depth",),
                        least=1e-6,
                        of_={"network": "linear"},
                        over={"network": "linear"},
                        baseline="step_of_next",
                    ),
                    0.5,
                ),
            ),
            kind="own",
        ),
        Claim(
            "T26",
            "In nonlinear networks the first layer is highly correlated with M",
            "In trained fully connected networks the neural feature matrix W₁ᵀW₁ is proportional to a power "
            "of the average gradient outer product. (Here: a correlation above 0.9 with M^{1/2}, the square "
            "root that the authors' code takes; the number is ours.)",
            NFA,
            Rule(
                above(
                    value("correlation_half", "correlation of W₁ᵀW₁ and M^{1/2}", **NONLINEAR, target=SMOOTH),
                    HIGH,
                )
            ),
        ),
        Claim(
            "T27",
            "There is a nonlinear network that fits its data and whose first layer is no power of M",
            "The ansatz does not hold for some network architectures with nonlinear activations, even where "
            "these fit the training data arbitrarily well. (The example is ours: of two inputs the one that "
            "matters rarely has the larger weights and the smaller gradients. No exponent from 0.05 to 2 "
            "gives a correlation of 0.9, and 1 % of the variance is left.)",
            DEEP,
            Rule(
                below(value("correlation_best", "best correlation over α", **NONLINEAR, target="rare"), HIGH),
                below(value("left", "training loss / variance", **NONLINEAR, target="rare"), 0.01),
            ),
        ),
        Claim(
            "T28",
            "At convergence the first layer is −(1/(nλ)) Σ ∇ℓ(x) xᵀ",
            "Where the gradient of a network trained with weight decay λ vanishes, W₁ᵀW₁ equals "
            "−(1/(nλ)) Σ ∇ℓ(x) xᵀ, ∇ℓ being the gradient by the input. (Here: a correlation above 0.99.)",
            FACT,
            Rule(
                above(value("correlation_fact", "correlation of the two", **NONLINEAR), 0.99),
                above(value("correlation_fact", "correlation of the two, linear", **LINEAR), 0.99),
            ),
        ),
        Claim(
            "T29",
            "At convergence that matrix agrees better with the first layer than M does",
            "It obtains greater agreement with the learned features at convergence than the neural feature "
            "ansatz: one minus its correlation is the smaller one, on each target and at each depth.",
            FACT,
            Rule(
                below(
                    Ratio(
                        "missing_fact",
                        "1 − correlation, over that of M^{1/L}",
                        NONLINEAR,
                        each=("target", "depth"),
                        of_={"network": "gelu"},
                        over={"network": "gelu"},
                        baseline="missing",
                    ),
                    1.0,
                )
            ),
        ),
    )
    figures = (
        Dots(
            "ansatz",
            "The first layer and M",
            (
                *(
                    Panel(
                        Median(name, "correlation", {"network": "gelu"}),
                        f"nonlinear: W₁ᵀW₁ and M^α, {said}",
                        limits=(0.0, 1.0),
                        reference=(HIGH, f"bar of {claim}"),
                    )
                    for name, said, claim in (
                        ("correlation_half", "α = ½", "T26"),
                        ("correlation_best", "the best α", "T27"),
                    )
                ),
                Panel(
                    Median("correlation_fact", "correlation", {"network": "gelu"}),
                    "nonlinear: W₁ᵀW₁ and −(1/(nλ)) Σ ∇ℓ xᵀ",
                    limits=(0.0, 1.0),
                ),
                Panel(
                    Median("exponent", "exponent of M", {"network": "linear"}),
                    "linear: exponent of W₁ᵀW₁",
                    limits=(0.0, 1.0),
                ),
                Panel(
                    Median("exponent_of_rest", "exponent of M", {"network": "linear"}),
                    "linear: exponent of all layers but the last",
                    limits=(0.0, 1.0),
                ),
            ),
            claim="T26",
            caption="Trained with weight decay, over all rows, until the gradient vanishes.",
            words=WORDS,
            rows=("target", "depth"),
        ),
    )

    def execute(self, config: AnsatzConfig, context: RunContext) -> RunOutput:
        """Train until the gradient vanishes, then compare W₁ᵀW₁ with powers of M."""
        from overt.studies.structure import layers

        data = _data(config)
        model = layers.make_network(
            config.network, data.X.shape[1], data.Y.shape[1], config.depth, config.seed
        )
        context.progress(f"{config.network}, {config.target}, depth {config.depth}")
        left = layers.descend(model, data, config.decay, lr=config.lr, max_steps=config.max_steps)
        record = {"status": "trained", "steps": config.max_steps, "relative_gradient": left}
        record |= layers.compared(model, data, config.decay)
        if config.network == "linear":
            record |= layers.compared_linear(model, data, config.decay)
        return RunOutput([record])

    def ended(self, run: Run) -> bool:
        """Whether the gradient of the whole objective has vanished beside that of weight decay."""
        return ended(run)


def _data(config: AnsatzConfig) -> Any:
    from overt.problems import multi_index, staircase
    from overt.studies.structure import layers

    if config.target == "linear":
        return layers.linear_data(config.seed)
    if config.target == "rare":
        return layers.rare_data(config.seed)
    make = staircase if config.target == "staircase" else multi_index
    problem = make(12, n_samples=400 if make is staircase else 600, seed=config.seed)
    return layers.Data(problem.X, problem.y[:, None])

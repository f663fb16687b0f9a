"""Linear models, whose spectra are known without the measure."""

from __future__ import annotations

from overt.studies.base import Claim, RunContext, RunOutput
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.measure.pictures_of_runs import spectra_along_training
from overt.studies.measure.settings import CollapseConfig
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel

MODELS = (
    {"model": "linear", "width": 15, "scale": 1e-2, "lr": 0.1},
    {"model": "bottleneck", "width": 4, "scale": 1e-2, "lr": 0.1},
    {"model": "convolution, 1-D", "scale": 1e-3, "lr": 2e-3},
    {"model": "convolution, 2-D", "scale": 1e-3, "size": 6, "lr": 5e-4},
    {"model": "diagonal", "scale": 1e-6, "lr": 0.1},
)
EACH = ("model", "depth")
DEVIATION = Median("worst_error", "largest deviation from the known spectrum", each=EACH)
COST = Median("cost_ratio", "mean squared norm of the layers / P_{2/L} at the end", each=EACH)


class Collapse(Part[CollapseConfig]):
    """Is the measure, on linear models, the spectrum that they are known by?"""

    config = CollapseConfig
    grids = {"quick": Grid(6, depth=(2, 3), case=MODELS), "full": Grid(10, depth=(2, 3), case=MODELS)}
    claims = (
        Claim(
            "M1",
            "On linear models the measure is the spectrum they are known by",
            "The values of M = E[JᵀJ] are the singular values of the product for a deep linear network (also "
            "with a bottleneck), |ĥ| for deep circular convolutions in one and two dimensions, and the "
            "moduli of the coordinates for a diagonal network: at the start, along training and at its end, "
            "in double precision.",
            "Definition of the measure; for the convolution Gunasekar, Lee, Soudry & Srebro 2018, arXiv "
            "1806.00468, section 2",
            Rule(below(DEVIATION, 1e-10)),
        ),
        Claim(
            "M2",
            "P_{2/L} is the representation cost",
            "Σ σ^{2/L} is the least mean squared norm (1/L) Σ ‖W_j‖² of weights that compute the same map "
            "with L layers; gradient descent from balanced layers stays at that least norm.",
            "Dai, Karzand & Srebro 2021, Representation costs of linear neural networks; balancedness: "
            "Arora, Cohen & Hazan 2018, arXiv 1802.06509, theorem 1",
            Rule(
                above(
                    Median("least_cost_ratio", "least mean squared norm / P_{2/L} along training", each=EACH),
                    1 - 1e-8,
                ),
                below(COST, 1.01, refuted=1.05),
            ),
        ),
    )
    figures = (
        spectra_along_training,
        Dots(
            "cost",
            "The representation cost of the trained layers",
            (Panel(COST, reference=(1.01, "bar")),),
            claim="M2",
            rows=EACH,
        ),
    )

    def execute(self, config: CollapseConfig, context: RunContext) -> RunOutput:
        """Train, and compare at recorded steps."""
        from overt.studies.measure import linear_models

        context.progress(f"{config.model}, depth {config.depth}")
        return linear_models.run(config)

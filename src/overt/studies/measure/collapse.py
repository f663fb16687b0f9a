"""Linear models, whose spectra are known without the measure."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from overt.studies.base import Claim, RunContext, RunOutput, StudyConfig
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.measure.pictures_of_runs import spectra_along_training
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


class CollapseConfig(StudyConfig):
    """One linear model, trained by gradient descent towards a map of a few modes of size one.

    Attributes
    ----------
    model : str
        A deep ``linear`` network (a ``bottleneck`` is one), a deep circular convolution of signals or of
        images, or a ``diagonal`` network.
    depth, width, scale : int, int, float
        Layers, width of the hidden ones, size of the start end to end. Starts are balanced; the diagonal
        network starts at zero, as close to balanced as it can be.
    size, outputs, teacher_rank : int
        Length of an input (side, for images), outputs of the linear network, modes of the map.
    lr, max_steps, points
        Of gradient descent, and how often the measure is taken.
    """

    part: Literal["collapse"] = "collapse"
    model: Literal["linear", "bottleneck", "convolution, 1-D", "convolution, 2-D", "diagonal"] = "linear"
    depth: int = Field(default=3, ge=1)
    width: int = Field(default=15, ge=1)
    scale: float = Field(default=1e-2, gt=0)
    size: int = Field(default=12, ge=4)
    outputs: int = Field(default=10, ge=1)
    teacher_rank: int = Field(default=3, ge=1)
    lr: float = Field(default=0.1, gt=0)
    max_steps: int = Field(default=1000, ge=1)
    points: int = Field(default=8, ge=0)


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

"""The directions that networks and feature machines find, beside those that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from overt.studies.base import Claim, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule, below
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel
from overt.studies.structure import problems
from overt.studies.structure.penalties import GAIN, OWN

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("multi-index", "staircase", "parity")
AGREE = 30.0  # degrees: the largest principal angle of two subspaces that agree
WORDS = problems.WORDS
PAIRS = {
    "network": "M of the network with p = ⅔, and the truth",
    "first_layer": "W₁ᵀW₁ of that network, and the truth",
    "machine": "M of the feature machine, and the truth",
    "between": "M of that network, and M of the machine",
    "decayed": "M of the network with weight decay, and the truth",
}


class FeaturesConfig(StudyConfig):
    """One instance, on which two networks are tuned and a feature machine is fitted.

    Attributes
    ----------
    problem : str
        Of `overt.studies.structure.problems`.
    n_samples : int, optional
        Training rows; by default those of the problem.
    width, lr, batch_size, max_steps
        Of the networks, as in the part ``penalties``.
    """

    part: Literal["features"] = "features"
    problem: Literal["multi-index", "staircase", "parity"] = "multi-index"
    n_samples: int | None = Field(default=None, ge=10)
    width: int = Field(default=96, ge=1)
    lr: float = Field(default=4e-3, gt=0)
    batch_size: int = Field(default=64, ge=1)
    max_steps: int = Field(default=1000, ge=1)


def angle(name: str) -> Median:
    """The largest principal angle of a pair of subspaces, on each problem."""
    return Median(f"angle_{name}", f"largest angle in degrees: {PAIRS[name]}", each=("problem",))


class Features(Part[FeaturesConfig]):
    """Do networks and feature machines find the directions that are there, and the same ones?"""

    config = FeaturesConfig
    grids: ClassVar[Mapping[str, Grid | Sequence[Grid]]] = {
        "quick": Grid(6, problem="staircase"),
        "full": Grid(10, problem=NAMES),
    }
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            "T20",
            "Networks, feature machines and theory agree on the directions",
            "The three leading directions of M of a network with p = ⅔, those of M of the feature machine "
            "and those on which the target depends have principal angles below 30° with each other.",
            OWN,
            Rule(*(below(angle(name), AGREE) for name in ("network", "machine", "between"))),
            kind="own",
        ),
        Claim(
            "T21",
            "The first layer of a network has the directions that matter",
            "The three leading directions of W₁ᵀW₁ of the network with p = ⅔ have principal angles below 30° "
            "with those on which the target depends.",
            f"{OWN}; the neural feature ansatz (Radhakrishnan, Beaglehole, Pandit & Belkin 2024) says that "
            "they are those of M",
            Rule(below(angle("first_layer"), AGREE)),
            kind="own",
        ),
        Claim(
            "T22",
            "p = ⅔ finds the directions more exactly than weight decay",
            "The largest principal angle between M and the truth with p = ⅔ is below 0.8 times that with "
            "weight decay, on each problem.",
            OWN,
            Rule(
                below(
                    Ratio(
                        "angle_network",
                        "largest angle to the truth, p = ⅔ / weight decay",
                        each=("problem",),
                        of_={"part": "features"},
                        over={"part": "features"},
                        baseline="angle_decayed",
                    ),
                    GAIN,
                )
            ),
            kind="own",
        ),
    )
    figures = (
        Dots(
            "angles",
            "Largest principal angles of three leading directions",
            tuple(
                Panel(
                    Median(f"angle_{name}", "largest angle in degrees"),
                    said,
                    limits=(0.0, 90.0),
                    reference=(AGREE, "agree"),
                )
                for name, said in PAIRS.items()
            ),
            claim="T20",
            caption="Networks are those of the part penalties, in the basis that suits the problem.",
            words=WORDS,
            rows=("problem",),
        ),
    )

    def execute(self, config: FeaturesConfig, context: RunContext) -> RunOutput:
        """Tune two networks, fit a machine, compare their leading directions."""
        import torch

        import overt
        from overt.studies.structure.networks import Recipe
        from overt.studies.structure.tuning import chosen

        problem = problems.instance(config.problem, config.seed, n_samples=config.n_samples)
        recipe = Recipe(config.seed, config.width, 2, config.lr, config.max_steps, config.batch_size)
        found: dict[str, Tensor] = {}
        for name, method in (
            ("network", f"jacobian 2/3 {problems.RIGHT[config.problem]}"),
            ("decayed", "weight decay"),
        ):
            context.progress(f"{config.problem}, {name}")
            model = chosen(problem, method, recipe)[0].model
            found[name] = _moment(model, problem.X)
            if name == "network":
                weight: Tensor = model[0].weight.detach()  # type: ignore[operator]
                found["first_layer"] = (weight.mT @ weight).double()
        context.progress(f"{config.problem}, feature machine")
        machine = overt.RFMRegressor(random_state=config.seed)
        machine.fit(problem.X.double().numpy(), problem.y.double().numpy())
        found["machine"] = torch.from_numpy(machine.M_)
        truth = problem.subspace.double()
        tops = {name: _leading(M, problem.rank) for name, M in found.items()}
        record: dict[str, Any] = {f"angle_{name}": _angle(top, truth) for name, top in tops.items()}
        record["angle_between"] = _angle(tops["network"], tops["machine"])
        return RunOutput([{"status": "trained", **record}])


def _moment(model: Any, X: Tensor) -> Tensor:
    from overt.studies.structure.layers import moment

    return moment(model, X).double()


def _leading(M: Tensor, rank: int) -> Tensor:
    from overt.linalg import eigh

    return eigh(M)[1][:, :rank]


def _angle(one: Tensor, other: Tensor) -> float:
    """The largest principal angle of two subspaces of equal dimension, in degrees."""
    import math

    from overt.linalg import svd

    left = one - other @ (other.mT @ one)  # its largest singular value is the sine, exact at small angles
    return math.degrees(math.asin(min(1.0, float(svd(left)[1][0]))))

"""Which measures of a trained network rank its generalization gap, over a zoo of small networks?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.verdict_rules import FunctionRule
from overt.studies.part import Grid, Part
from overt.studies.predict.decisions import LEAST_REACHED, better, no_robust, wrong_way
from overt.studies.predict.settings import PredictConfig

if TYPE_CHECKING:
    from overt.studies.report.figures import Figure

OURS = "cost_1_eigen_margin"
RIVALS = ("spectral_product_margin", "frobenius_product_margin", "parameters")
NORMS = ("spectral_product_margin", "frobenius_product_margin", "path_norm_margin", "distance")
BASES = ("eigen", "fourier", "identity")
JIANG = "Jiang et al. 2020 (arXiv 1912.02178)"
SHARED: dict[str, tuple[Any, ...]] = {
    "lr": (0.004, 0.015),
    "batch_size": (128, 32),
    "weight_decay": (0.0, 4e-3),
    "penalty": ("none", "jacobian", "nuclear"),
    "n_train": (600, 200),
}
FAMILIES: dict[str, dict[str, tuple[Any, ...]]] = {
    "cnn": {"depth": (1, 3), "width": (32, 8), **SHARED},
    "mlp": {"depth": (1, 3), "width": (128, 24), **SHARED},
}
"""The levels, of pilots with seed 100: as far apart as most networks still reach the target loss at."""
JACOBIAN_WEIGHT = {"mlp": 2e-3, "cnn": 7e-4}


def _quick(family: str, seeds: int) -> Grid:
    """One network, and what becomes of it when one hyperparameter changes."""
    usual = {"depth": 1, "lr": 0.015, "batch_size": 128, "weight_decay": 0.0, "penalty": "none"}
    base: dict[str, Any] = {**usual, "n_train": 200, "width": FAMILIES[family]["width"][1]}
    changes: list[dict[str, Any]] = [
        {axis: next(value for value in values if value != base[axis])}
        for axis, values in FAMILIES[family].items()
    ]
    cases = tuple(base | change for change in ({}, *changes))
    return Grid(seeds, family=family, jacobian_weight=JACOBIAN_WEIGHT[family], case=cases)


def _better(
    what: str, pairs: Sequence[tuple[str, str]], criterion: str = "Ψ", family: str = ""
) -> FunctionRule:
    """The first measure of each pair ranks better than the second."""
    return FunctionRule(
        partial(better, pairs=tuple(pairs), criterion=criterion, family=family),
        f"{what}: the 95 % bootstrap interval, over networks, of each difference of {criterion} lies above "
        "0. It fails where one lies below. Networks that do not reach the loss are left out; where they are "
        f"more than {1 - LEAST_REACHED:.0%}, nothing is decided.",
        {"family": family} if family else {},
    )


def _drawn(part: Part[Any], runs: Sequence[Run]) -> Sequence[Figure]:
    """All figures; they share what is computed of the zoo."""
    from overt.studies.predict.figures import figures

    return figures(part.own(runs))


class Zoo(Part[PredictConfig]):
    """Which measures of a trained network rank its generalization gap?

    The gap is training minus test accuracy. Networks are trained to the same cross-entropy, and measured on
    their training images alone.
    """

    config = PredictConfig
    over_seeds = False
    grids = {
        "quick": [_quick("cnn", 4), _quick("mlp", 6)],
        "full": [
            Grid(2, family=family, jacobian_weight=JACOBIAN_WEIGHT[family], **levels)
            for family, levels in FAMILIES.items()
        ],
    }
    claims = (
        Claim(
            "P1",
            "The Jacobian's nuclear norm ranks the gap better than norms of weights and their number",
            "P₁(M) in the eigenbasis over the margin has a higher granulated coefficient Ψ than the products "
            "of spectral and of Frobenius norms over the margin, and than the number of parameters.",
            f"Own hypothesis; the rivals are measures 31, 36 and 20 of {JIANG}",
            _better("P₁ eigen over the margin against each rival", [(OURS, rival) for rival in RIVALS]),
            kind="own",
        ),
        Claim(
            "P2",
            "The Jacobian's nuclear norm tells more beyond the hyperparameters than these rivals",
            "P₁(M) in the eigenbasis over the margin has a higher conditional mutual information K with the "
            "gap, given any two hyperparameters; an order that is upside down tells as much.",
            f"Own hypothesis; the criterion is the conditional independence test of {JIANG}",
            _better("P₁ eigen over the margin against each rival", [(OURS, rival) for rival in RIVALS], "K"),
            kind="own",
        ),
        Claim(
            "P3",
            "Normalization helps a Jacobian measure to rank the gap",
            "Σσ/(Σσ²)^½ ranks the gap better than Σσ, in the eigen, the Fourier and the identity basis.",
            "Own hypothesis, from the normalized nuclear norm in matrix completion (Zhao 2022)",
            _better(
                "Normalized against plain, in each basis",
                [(f"normalized_{basis}", f"cost_1_{basis}") for basis in BASES],
            ),
            kind="own",
        ),
        Claim(
            "P4",
            "For convolutional networks the Fourier basis ranks best",
            "Among convolutional networks P₁ in the Fourier basis over the margin ranks the gap better than "
            "in the eigen and the identity basis.",
            "Own hypothesis, from linear convolutional networks (Gunasekar et al. 2018, Theorem 2)",
            _better(
                "Fourier against each other basis, among convolutional networks",
                [("cost_1_fourier_margin", f"cost_1_{basis}_margin") for basis in ("eigen", "identity")],
                family="cnn",
            ),
            kind="own",
        ),
        Claim(
            "P5",
            "A sparse form of the Jacobian ranks the gap better than its Frobenius norm",
            "p = 1 in the eigenbasis ranks the gap better than p = 2, both over the margin.",
            "Own hypothesis; p = 2 is the sensitivity of Novak et al. 2018",
            _better("p = 1 against p = 2", [(OURS, "jacobian_margin")]),
            kind="own",
        ),
        Claim(
            "P6",
            "Flatness ranks the gap better than norms",
            "Measures of sharpness rank the gap best of some forty. Here: one over the noise on the weights "
            "that raises the training error to a tenth, against products of norms, path norm and distance.",
            f"{JIANG}, section 6 (CIFAR-10 and SVHN; networks in networks)",
            _better("Flatness against each norm", [("flatness", norm) for norm in NORMS]),
        ),
        Claim(
            "P7",
            "Products of norms rank the gap the wrong way",
            "Many norm-based measures correlate negatively with the gap. Here: the products of spectral and "
            "of Frobenius norms are larger where the gap is smaller.",
            f"{JIANG}, section 5 (CIFAR-10 and SVHN; networks in networks)",
            FunctionRule(
                partial(wrong_way, names=("spectral_product", "frobenius_product")),
                "The 95 % bootstrap interval of Ψ lies below 0 for both products. It fails where one lies "
                "above.",
            ),
        ),
        Claim(
            "P8",
            "No measure is robust",
            "Each measure has an environment, one change of one hyperparameter, in which it orders two "
            "networks no better than a coin.",
            "Dziugaite et al. 2020 (arXiv 2010.11924): no measure has a robust sign error below one half "
            "(CIFAR-10 and SVHN)",
            FunctionRule(
                no_robust,
                "Every measure has an environment in which the interval of its sign error does not reach "
                "below one half. It fails where one measure has intervals below one half in all. An "
                "environment is a change of one hyperparameter within a family, all others equal; pairs "
                "weigh by how sure the order of their gaps is, and 12 effective pairs are needed. Intervals "
                "hold for all environments together (Bonferroni, bootstrap deviations). Fewer than 7 "
                "environments decide nothing.",
            ),
        ),
    )
    figures = (_drawn,)

    def execute(self, config: PredictConfig, context: RunContext) -> RunOutput:
        """Train and measure one network."""
        from overt.studies.predict.training import run

        return run(config, context)

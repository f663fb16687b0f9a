"""Convolutional and fully connected networks on three kinds of images: which basis are they aligned with?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.comparisons import Difference
from overt.studies.claims.quantities import Median, PerSeed
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.measure.images import CAPTION, ImagesConfig, reached
from overt.studies.measure.pictures_of_runs import sensitivities
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel

OWN = "Own hypothesis"
NEGLIGIBLE = 0.02  # a difference of alignments of no consequence
NETWORKS: dict[str, dict[str, Any]] = {
    "conv, circular": {"model": "conv", "padding": "circular"},
    "conv, zeros": {"model": "conv", "padding": "zeros"},
    "fully connected": {"model": "fc", "padding": "circular", "width": 0},
}
DATA = ("real", "scrambled", "permuted")


class AlignmentConfig(ImagesConfig):
    """One network of three layers, the images, and how it is measured; ``network`` names the architecture."""

    part: Literal["alignment"] = "alignment"
    network: Literal["conv, circular", "conv, zeros", "fully connected"] = "conv, circular"


def _grids(seeds: int, **sizes: int) -> list[Grid]:
    """3×3 convolutions of 16 and 32 channels and a linear layer: 20 490 parameters, as the others have."""
    cases = tuple(
        {"network": network, "data": data, **NETWORKS[network]}
        for network in NETWORKS
        for data in (DATA if network != "conv, zeros" else ("real", "permuted"))
    )
    return [Grid(seeds, case=cases, points=4, **sizes)]


def advantage(data: str, field: str = "alignment", network: str = "conv, circular") -> Difference:
    """An alignment of a convolutional network less that of the fully connected one."""
    name = "corrected a_Fourier" if field.startswith("corrected") else "a_Fourier"
    return Difference(
        field,
        f"{name}, {network} − fully connected, {data} images",
        {"data": data},
        of_={"network": network},
        over={"network": "fully connected"},
    )


def lost(field: str) -> PerSeed:
    """The advantage on real images less that on permuted ones, for each seed."""

    def of_a_seed(runs: Sequence[Run]) -> float:
        found = {(run.config["network"], run.config["data"]): run.records[0][field] for run in runs}
        gains = [
            found["conv, circular", data] - found["fully connected", data] for data in ("real", "permuted")
        ]
        return float(gains[0] - gains[1])

    name = "corrected a_Fourier" if field.startswith("corrected") else "a_Fourier"
    return PerSeed(
        of_a_seed,
        f"advantage in {name}, real − permuted images",
        {"data": ("real", "permuted"), "network": ("conv, circular", "fully connected")},
        across=("network", "data", "model", "padding", "width"),
    )


def only_where_sparse(field: str) -> Rule:
    """There on real images, gone on permuted ones."""
    return Rule(
        above(advantage("real", field), 0),
        below(advantage("permuted", field), NEGLIGIBLE),
        above(lost(field), 0),
    )


ALIGNMENT = Median("alignment", "a_Fourier", each=("network", "data"))


class Alignment(Part[AlignmentConfig]):
    """Are networks sensitive in the basis in which images are sparse?"""

    config = AlignmentConfig
    grids = {
        "quick": _grids(6, n_train=200, n_measure=200, check_every=5),
        "full": _grids(10, n_train=1000, n_measure=500, check_every=10),
    }
    claims = (
        Claim(
            "M7",
            "Convolutional networks align with the Fourier basis of images",
            "On real images a_Fourier is higher for convolutional than for fully connected networks of as "
            "many parameters and layers, trained to the same loss (circular padding, held-out images).",
            f"{OWN}; for linear full-width convolutions Gunasekar et al. 2018, arXiv 1806.00468, theorem 2",
            Rule(above(advantage("real"), 0)),
            kind="own",
        ),
        Claim(
            "M8",
            "They do only where the data is sparse in Fourier",
            "With pixels permuted, which makes the power spectrum flat, convolutional networks lose that "
            "advantage.",
            OWN,
            only_where_sparse("alignment"),
            kind="own",
        ),
        Claim(
            "M9",
            "The power spectrum is enough for it",
            "With phases scrambled, which keeps the power spectrum and removes the edges, convolutional "
            "networks keep the advantage.",
            OWN,
            Rule(above(advantage("scrambled"), 0)),
            kind="own",
        ),
        Claim(
            "M10",
            "The alignment is learned",
            "On real images training raises a_Fourier of a convolutional network over that of the same "
            "network untrained.",
            OWN,
            Rule(
                above(
                    Difference(
                        "alignment",
                        "a_Fourier, trained − untrained",
                        {"data": "real", "network": "conv, circular"},
                        baseline="start_alignment",
                    ),
                    0,
                )
            ),
            kind="own",
        ),
        Claim(
            "M11",
            "The padding does not decide",
            "The advantage on real images is there with zero padding, too, with which a convolution is no "
            "longer diagonal in the Fourier basis.",
            OWN,
            Rule(above(advantage("real"), 0), above(advantage("real", network="conv, zeros"), 0)),
            kind="own",
        ),
        Claim(
            "M12",
            "The alignment is not a matter of rank",
            "a_Fourier of any M grows with its rank: for M turned at random it is about Σσ/√(D Σσ²). "
            "Corrected for that chance level, (a_Fourier − a_random) / (1 − a_random), convolutional "
            "networks are still ahead on real images.",
            OWN,
            Rule(above(advantage("real", "corrected_alignment"), 0)),
            kind="own",
        ),
        Claim(
            "M13",
            "Corrected for rank, it is there only where the data is sparse in Fourier",
            "With pixels permuted, convolutional networks lose the advantage in corrected alignment.",
            OWN,
            only_where_sparse("corrected_alignment"),
            kind="own",
        ),
    )
    figures = (
        Dots(
            "alignment",
            "Alignment with the Fourier basis",
            (
                Panel(ALIGNMENT, "trained", limits=(0.0, 1.0)),
                Panel(Median("start_alignment", "a_Fourier"), "untrained", limits=(0.0, 1.0)),
                Panel(Median("corrected_alignment", "corrected a_Fourier"), "trained, corrected for rank"),
            ),
            claim="M7",
            caption=f"{CAPTION} a_Fourier is 1 where the Fourier basis diagonalizes M. Networks have three "
            "layers and as many parameters.",
            rows=("data", "network"),
        ),
        sensitivities,
    )

    def execute(self, config: AlignmentConfig, context: RunContext) -> RunOutput:
        """Train and measure."""
        from overt.studies.measure.training import run

        return run(config, context)

    def ended(self, run: Run) -> bool:
        """Whether the run came to the training loss."""
        return reached(run)

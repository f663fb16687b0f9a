"""Tensor completion by CP factorization."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from overt._utils.checks import check_integer
from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.quantities import Median, Share
from overt.studies.claims.verdict_rules import Rule, above
from overt.studies.claims.vocabulary import fitted
from overt.studies.part import Grid, Part
from overt.studies.plots import Lines, Panel
from overt.studies.razin2020.growth import PAPER

FIT = 1e-4  # a relative loss: residuals of 1 %, a fifth of the errors that count
COMPLETED = 0.05
JUDGED = {3: 300, 4: 1000}  # entries that the claim is judged at


def completed(run: Run) -> bool:
    """Completed at its rank: an error of at most 5 %, and no CP model of fewer terms is as near."""
    record = run.records[0]
    error = record["error"]
    return error is not None and error <= COMPLETED and record["tensor_rank"] == run.config["rank"]


class TensorsConfig(StudyConfig):
    """One tensor of an order, ``n`` places in each mode and a CP rank; a CP factorization that completes it.

    The optimizer is the authors': gradient descent of steps of one length, which here falls by two decades
    over the second half of the run.
    """

    part: Literal["tensors"] = "tensors"
    order: int = Field(default=3, ge=2)
    n: int = Field(default=8, ge=2)
    rank: int = Field(default=1, ge=1)
    n_observed: int = Field(default=300, ge=1)
    components: int = Field(default=64, ge=1)
    init_scale: float = Field(default=1e-4, gt=0)
    lr: float = Field(default=1e-2, gt=0)
    max_steps: int = Field(default=8_000, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> TensorsConfig:
        size = self.n**self.order
        check_integer(self.n_observed, "n_observed", most=size, remedy="there are no more entries")
        return self


def _grid(seeds: int, order: int, counts: tuple[int, ...]) -> Grid:
    components = {3: 64, 4: 128}[order]
    return Grid(seeds, order=order, rank=(3, 1), n_observed=counts, components=components)


SHARE = Share(completed, "completed at the true rank", each=("order", "rank"))


class Tensors(Part[TensorsConfig]):
    """Does CP factorization from near zero find low tensor rank?"""

    config = TensorsConfig
    grids = {
        "quick": [_grid(6, 3, (300,))],
        "full": [_grid(10, 4, (2000, 1000, 500, 200)), _grid(10, 3, (300, 150, 100, 60))],
    }
    claims = (
        Claim(
            "R5",
            "CP factorization from near zero completes tensors of low rank at their rank",
            "CP factorization with far more components than needed, trained by gradient descent from "
            "near-zero initialization, completes tensors of low rank with solutions of low rank (orders 3 "
            "and 4, rank 1 and 3, from 300 of 512 and 1000 of 4096 entries).",
            f"{PAPER}, tensor factorization experiments (8 in each mode, as in the authors' code)",
            Rule(*(above(SHARE.at(order=order, n_observed=count), 0.5) for order, count in JUDGED.items())),
        ),
    )
    figures = tuple(
        Lines(
            f"tensors-{order}",
            f"Tensors of order {order} by CP factorization",
            (
                Panel(Median("error", "relative error", {"order": (order,)}), log=True, limits=(1e-4, 2.0)),
                Panel(
                    Median("zero_filling", "relative error of zeros elsewhere", {"order": (order,)}),
                    log=True,
                    limits=(1e-4, 2.0),
                ),
                Panel(
                    Share(completed, "share completed at the true rank", {"order": (order,)}),
                    limits=(0.0, 1.0),
                ),
            ),
            claim="R5",
            x="n_observed",
            by="rank",
            log_x=True,
            x_label="observed entries",
        )
        for order in JUDGED
    )

    def execute(self, config: TensorsConfig, context: RunContext) -> RunOutput:
        """Train, and measure the tensor's rank."""
        import torch

        from overt.models.cp import CPTensor
        from overt.problems.tensor import tensor_completion
        from overt.studies.razin2020.ranks import tensor_rank
        from overt.studies.shared.training_runs import how
        from overt.training import train

        shape, half = (config.n,) * config.order, config.max_steps / 2
        problem = tensor_completion(shape, rank=config.rank, n_observed=config.n_observed, seed=config.seed)
        model = CPTensor(shape, config.components, config.init_scale, seed=config.seed, dtype=torch.float64)
        result = train(
            model,
            problem,
            optimizer="grouprmsprop",
            lr=config.lr,
            max_steps=config.max_steps,
            tolerance=1e-6,
            lr_schedule=lambda step: float(10.0 ** (-2 * max(0.0, step / half - 1))),
            checkpoint=context.directory / "run.safetensors",
        )
        rank, residuals = tensor_rank(result.W, limit=config.rank + 1, seed=config.seed)
        record = {
            "error": problem.error(result.W),
            "loss": float(problem.loss(result.W)) / float(problem.y.square().mean()),
            "tensor_rank": rank,
            "residuals": residuals,
            "zero_filling": problem.error(problem.adjoint(problem.y)),
        }
        return RunOutput([how(result) | record])

    def ended(self, run: Run) -> bool:
        """Whether the entries were fitted."""
        return fitted(run, FIT)

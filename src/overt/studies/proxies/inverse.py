"""Part two: which functional is what training found stationary for?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from overt.studies.base import Run, RunContext, RunOutput, StudyConfig, Verdict
from overt.studies.fields import OptimizerName, check_instance
from overt.studies.proxies.inverse_claims import CLAIMS, LARGE, SMALL, TINY
from overt.studies.proxies.part import Part
from overt.studies.report.figures import Figure

# Of the largest stable learning rate of gradient descent at a matrix of the data's size.
GD_SHARE = 0.9


class InverseConfig(StudyConfig):
    """One run: train a deep linear network on a completion problem, then ask for its functional.

    Attributes
    ----------
    group : str
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

    group: Literal["inverse"] = "inverse"
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


def execute(config: InverseConfig, context: RunContext) -> RunOutput:
    """Train, and ask."""
    import torch

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
    model = DeepLinear(sizes, scale=config.init_scale, seed=config.seed, dtype=torch.float64)
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
    found = infer_penalty(result.W, problem, zero=config.zero, references=config.references, seed=config.seed)
    record |= {
        "p": found.p,
        "p_low": found.p_low,
        "p_high": found.p_high,
        "found_rank": found.rank,
        "freedom": found.freedom,
        "residual": found.residual,
        "warnings": list(found.warnings),
        "best": found.best.label if found.best else "",
        "members": [{**row, "label": m.label} for m in found.members for row in [_plain(m)]],
    }
    return RunOutput([record], {"spectrum": np.asarray(_spectrum(result.W))})


def _plain(member: Any) -> dict[str, Any]:
    return {name: getattr(member, name) for name in ("name", "p", "q", "share", "reference", "ratio")}


def _spectrum(W: Any) -> list[float]:
    from overt import functional as F

    found: list[float] = F.singular_values(W).tolist()
    return found


class Inverse(Part[InverseConfig]):
    """What networks are stationary for, by depth, initialization scale and optimizer."""

    config_type = InverseConfig
    claims = CLAIMS
    groups: ClassVar[dict[str, frozenset[str]]] = {claim.id: frozenset({"inverse"}) for claim in CLAIMS}

    def plan(self, preset: str, seed: int) -> Iterator[InverseConfig]:
        """Depths, then one scale and one optimizer more; ``full`` crosses them."""
        quick = preset == "quick"
        seeds = range(seed, seed + (3 if quick else 10))
        few = [(d, "gd", SMALL) for d in (4, 3, 2, 1)]
        few += [(2, "gd", TINY), (2, "gd", LARGE), (2, "adam", SMALL)]
        scales = (TINY, SMALL, 3e-2, LARGE)
        many = [(d, o, s) for d in (4, 3, 2, 1) for o in ("gd", "adam") for s in scales if d > 1 or o == "gd"]
        steps = 5_000 if quick else 10_000
        for depth, optimizer, scale in few if quick else many:
            settings: dict[str, Any] = {"depth": depth, "optimizer": optimizer, "init_scale": scale}
            for one in seeds:
                yield InverseConfig(max_steps=steps, seed=one, **settings)

    def execute(self, config: InverseConfig, context: RunContext) -> RunOutput:
        """Train, and ask."""
        return execute(config, context)

    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """One verdict for each of I1–I7."""
        from overt.studies.proxies.inverse_rules import judge

        return judge(runs)

    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        """Ratios by functional and depth."""
        from overt.studies.proxies.inverse_figures import figures

        return figures(runs)

    def label(self, config: InverseConfig) -> str:
        """Depth, optimizer, scale."""
        return f"inverse: depth {config.depth}, {config.optimizer}, scale {config.init_scale:g}"


part = Inverse()

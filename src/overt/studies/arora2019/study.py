"""Arora, Cohen, Hu & Luo (2019), Implicit Regularization in Deep Matrix Factorization, as a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from overt.studies.arora2019.claims import CLAIMS, GROUPS
from overt.studies.arora2019.config import Arora2019Config
from overt.studies.base import Run, RunContext, RunOutput, Study, Verdict
from overt.studies.report.figures import Figure


class Arora2019(Study[Arora2019Config]):
    """Depth, initialization, the nuclear norm, and the dynamics of singular values."""

    name = "arora2019"
    title = "Implicit regularization in deep matrix factorization"
    version = 1
    config_type = Arora2019Config
    claims = CLAIMS

    def plan(self, preset: str, seed: int) -> list[Arora2019Config]:
        """All runs of ``quick`` or ``full``."""
        from overt.studies.arora2019.plan import plan

        return plan(preset, seed)

    def execute(self, config: Arora2019Config, context: RunContext) -> RunOutput:
        """One run."""
        from overt.studies.arora2019.execute import execute

        return execute(config, context)

    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """One verdict for each of A1–A6."""
        from overt.studies.arora2019.rules import judge

        return judge(runs)

    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        """The report's figures."""
        from overt.studies.arora2019.figures import figures

        return figures(runs)

    def concerns(self, config: Mapping[str, Any], claim: str) -> bool:
        """Whether the claim is judged by this run's group."""
        return config.get("group") in GROUPS[claim]

    def label(self, config: Arora2019Config) -> str:
        """Group and what sets the run apart."""
        return f"{config.group}: " + super().label(config)


study = Arora2019()

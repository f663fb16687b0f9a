"""Razin & Cohen 2020 as a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from overt.studies.base import Run, RunContext, RunOutput, Study, Verdict
from overt.studies.razin2020.claims import CLAIMS, GROUPS
from overt.studies.razin2020.config import RazinConfig
from overt.studies.report.figures import Figure


class Razin2020(Study[RazinConfig]):
    """Norms to infinity while the rank falls, and low tensor rank."""

    name = "razin2020"
    title = "Implicit regularization may not be explainable by norms"
    version = 1
    config_type = RazinConfig
    claims = CLAIMS

    def plan(self, preset: str, seed: int) -> list[RazinConfig]:
        """All runs of ``quick`` or ``full``."""
        from overt.studies.razin2020.config import plan

        return plan(preset, seed)

    def execute(self, config: RazinConfig, context: RunContext) -> RunOutput:
        """One run."""
        from overt.studies.razin2020.execute import execute

        return execute(config, context)

    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """One verdict for each of R1–R7."""
        from overt.studies.razin2020.rules import judge

        return judge(runs)

    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        """The report's figures."""
        from overt.studies.razin2020.figures import figures

        return figures(runs)

    def concerns(self, config: Mapping[str, Any], claim: str) -> bool:
        """Whether the claim is judged by this run's group."""
        return config.get("group") in GROUPS[claim]

    def label(self, config: RazinConfig) -> str:
        """Group and what sets the run apart."""
        return f"{config.group}: " + super().label(config)


study = Razin2020()

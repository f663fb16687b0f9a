"""Zhao (2022) as a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from overt.studies.base import Run, RunContext, RunOutput, Study, Verdict
from overt.studies.report.figures import Figure
from overt.studies.zhao2022.claims import CLAIMS, GROUPS
from overt.studies.zhao2022.config import ZhaoConfig


class Zhao2022(Study[ZhaoConfig]):
    """Explicit penalties under twelve optimizers, over depths and observations, and on MovieLens 100K."""

    name = "zhao2022"
    title = "Zhao 2022: an explicit penalty and an adaptive optimizer in the place of depth"
    version = 1
    config_type = ZhaoConfig
    claims = CLAIMS

    def plan(self, preset: str, seed: int) -> list[ZhaoConfig]:
        """All runs of ``quick`` or ``full``."""
        from overt.studies.zhao2022.plan import plan

        return plan(preset, seed)

    def execute(self, config: ZhaoConfig, context: RunContext) -> RunOutput:
        """One run."""
        from overt.studies.zhao2022.execute import execute

        return execute(config, context)

    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """One verdict for each claim."""
        from overt.studies.zhao2022.rules import judge

        return judge(runs)

    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        """The report's figures."""
        from overt.studies.zhao2022.figures import figures

        return figures(runs)

    def concerns(self, config: Mapping[str, Any], claim: str) -> bool:
        """Whether the claim is judged by this run's group, and on MovieLens by its kind of split."""
        if config.get("group") not in GROUPS[claim]:
            return False
        if config.get("group") != "movielens":
            return True
        return (config.get("split") == "random") == (claim == "Z9")

    def label(self, config: ZhaoConfig) -> str:
        """Group and what sets the run apart."""
        return f"{config.group}: " + super().label(config)


study = Zhao2022()

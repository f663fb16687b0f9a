"""Woodworth et al. 2020 as a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from overt.studies.base import Run, RunContext, RunOutput, Study, Verdict
from overt.studies.report.figures import Figure
from overt.studies.woodworth2020.claims import CLAIMS, GROUPS
from overt.studies.woodworth2020.config import WoodworthConfig


class Woodworth2020(Study[WoodworthConfig]):
    """Linear regression from the kernel to the rich regime."""

    name = "woodworth2020"
    title = "Kernel and rich regimes in linear regression"
    version = 1
    config_type = WoodworthConfig
    claims = CLAIMS

    def plan(self, preset: str, seed: int) -> list[WoodworthConfig]:
        """All runs of ``quick`` or ``full``."""
        from overt.studies.woodworth2020.config import plan

        return plan(preset, seed)

    def execute(self, config: WoodworthConfig, context: RunContext) -> RunOutput:
        """One run."""
        from overt.studies.woodworth2020.execute import execute

        return execute(config, context)

    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """One verdict for each of W1–W7."""
        from overt.studies.woodworth2020.rules import judge

        return judge(runs)

    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        """The report's figures."""
        from overt.studies.woodworth2020.figures import figures

        return figures(runs)

    def concerns(self, config: Mapping[str, Any], claim: str) -> bool:
        """Whether the claim is judged by this run's group and depth."""
        if config.get("group") not in GROUPS[claim]:
            return False
        return {"W2": (2,), "W3": (3, 4)}.get(claim, (config.get("depth"),)).count(config.get("depth")) > 0

    def label(self, config: WoodworthConfig) -> str:
        """Group and what sets the run apart."""
        return f"{config.group}: " + super().label(config)


study = Woodworth2020()

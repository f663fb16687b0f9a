"""Gunasekar et al. 2018 as a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from overt.studies.base import Run, RunContext, RunOutput, Study, Verdict
from overt.studies.gunasekar2018.claims import CLAIMS, GROUPS
from overt.studies.gunasekar2018.config import GunasekarConfig
from overt.studies.report.figures import Figure


class Gunasekar2018(Study[GunasekarConfig]):
    """Fourier sparsity of linear convolutional networks."""

    name = "gunasekar2018"
    title = "Implicit bias of linear convolutional networks"
    version = 1
    config_type = GunasekarConfig
    claims = CLAIMS

    def plan(self, preset: str, seed: int) -> list[GunasekarConfig]:
        """All runs of ``quick`` or ``full``."""
        from overt.studies.gunasekar2018.config import plan

        return plan(preset, seed)

    def execute(self, config: GunasekarConfig, context: RunContext) -> RunOutput:
        """One run."""
        from overt.studies.gunasekar2018.execute import execute

        return execute(config, context)

    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """One verdict for each of G1–G5."""
        from overt.studies.gunasekar2018.rules import judge

        return judge(runs)

    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        """The report's figures."""
        from overt.studies.gunasekar2018.figures import figures

        return figures(runs)

    def concerns(self, config: Mapping[str, Any], claim: str) -> bool:
        """Whether the claim is judged by this run's group and architecture."""
        if config.get("group") not in GROUPS[claim]:
            return False
        wanted = {"G1": "full", "G2": "convolution"}.get(claim, config.get("architecture"))
        return bool(config.get("architecture") == wanted)

    def label(self, config: GunasekarConfig) -> str:
        """Group and what sets the run apart."""
        return f"{config.group}: " + super().label(config)


study = Gunasekar2018()

"""Why the penalty needs Adam, as a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from overt.studies.adam.claims import CLAIMS, GROUPS
from overt.studies.adam.config import AdamConfig
from overt.studies.base import Run, RunContext, RunOutput, Study, Verdict
from overt.studies.report.figures import Figure


class AdamStudy(Study[AdamConfig]):
    """Interventions in the steps of optimizers, each of which one conjecture must survive."""

    name = "adam"
    title = "Why the explicit penalty needs Adam: conjectures put to interventions"
    version = 1
    config_type = AdamConfig
    claims = CLAIMS

    def plan(self, preset: str, seed: int) -> list[AdamConfig]:
        """All runs of ``quick`` or ``full``."""
        from overt.studies.adam.plan import plan

        return plan(preset, seed)

    def execute(self, config: AdamConfig, context: RunContext) -> RunOutput:
        """One run."""
        from overt.studies.adam.execute import execute

        return execute(config, context)

    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """One verdict for each claim."""
        from overt.studies.adam.rules import judge

        return judge(runs)

    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        """The report's figures."""
        from overt.studies.adam.figures import figures

        return figures(runs)

    def concerns(self, config: Mapping[str, Any], claim: str) -> bool:
        """Whether the claim is judged by this run's group."""
        return config.get("group") in GROUPS[claim]

    def label(self, config: AdamConfig) -> str:
        """Group, optimizer, intervention, learning rate and seed."""
        changed = "" if config.intervention == "none" else f", {config.intervention}"
        return f"{config.group}: {config.optimizer}{changed}, lr={config.lr:g}, seed={config.seed}"


study = AdamStudy()

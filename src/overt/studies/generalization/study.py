"""The study of generalization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from overt.studies.base import Run, RunContext, RunOutput, Study, Verdict
from overt.studies.generalization.claims import CLAIMS, GROUPS
from overt.studies.generalization.config import GeneralizationConfig
from overt.studies.report.figures import Figure


class Generalization(Study[GeneralizationConfig]):
    """Explicit penalties against the usual regularizers on small image sets, at an equal tuning budget."""

    name = "generalization"
    title = "Do explicit spectral penalties generalize? Images, equal tuning, one test"
    version = 1
    config_type = GeneralizationConfig
    claims = CLAIMS

    def plan(self, preset: str, seed: int) -> list[GeneralizationConfig]:
        """All runs of ``quick`` or ``full``."""
        from overt.studies.generalization.plan import plan

        return plan(preset, seed)

    def execute(self, config: GeneralizationConfig, context: RunContext) -> RunOutput:
        """One run."""
        from overt.studies.generalization.execute import execute

        return execute(config, context)

    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """One verdict for each claim."""
        from overt.studies.generalization.rules import judge

        return judge(runs)

    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        """The report's figures."""
        from overt.studies.generalization.figures import figures

        return figures(runs)

    def concerns(self, config: Mapping[str, Any], claim: str) -> bool:
        """Whether the claim is judged by this run's group."""
        return config.get("group") in GROUPS[claim]

    def label(self, config: GeneralizationConfig) -> str:
        """Group, network, method, size and seed."""
        from overt.studies.generalization.methods import key, label

        what = "all methods" if config.group == "cost" else label(key(config.model_dump()))
        return f"{config.group}: {config.network}, {what}, n={config.n_train}, seed={config.seed}"


study = Generalization()

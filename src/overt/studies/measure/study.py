"""The measure as a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from overt.studies.base import Run, RunContext, RunOutput, Study, Verdict
from overt.studies.measure.claims import CLAIMS, GROUPS
from overt.studies.measure.config import MeasureConfig
from overt.studies.report.figures import Figure


class Measure(Study[MeasureConfig]):
    """What gradient descent does to M = E[JᵀJ], from linear models to small networks on images."""

    name = "measure"
    title = "One measure: collapse, dynamics and alignment"
    version = 1
    config_type = MeasureConfig
    claims = CLAIMS

    def plan(self, preset: str, seed: int) -> list[MeasureConfig]:
        """All runs of ``quick`` or ``full``."""
        from overt.studies.measure.plan import plan

        return plan(preset, seed)

    def execute(self, config: MeasureConfig, context: RunContext) -> RunOutput:
        """One run."""
        from overt.studies.measure.execute import execute

        return execute(config, context)

    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """One verdict for each claim."""
        from overt.studies.measure.rules import judge

        return judge(runs)

    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        """The report's figures."""
        from overt.studies.measure.figures import figures

        return figures(runs)

    def concerns(self, config: Mapping[str, Any], claim: str) -> bool:
        """Whether the claim is judged by this run's group."""
        return config.get("group") == GROUPS[claim]

    def label(self, config: MeasureConfig) -> str:
        """Group, model and what sets the run apart."""
        shared = {"group", "model", "exclusive", "n_train", "n_measure", "check_every", "points"}
        fields = type(config).model_fields
        unusual = [
            f"{name}={value}"
            for name, value in config.model_dump(mode="json").items()
            if name not in shared and value != fields[name].default
        ]
        return ", ".join([f"{config.group}: {config.model}", *unusual])


study = Measure()

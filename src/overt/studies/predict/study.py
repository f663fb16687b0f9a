"""Predicting generalization, as a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from overt.studies.base import Run, RunContext, RunOutput, Study, Verdict
from overt.studies.predict.claims import CLAIMS
from overt.studies.predict.config import PredictConfig
from overt.studies.report.figures import Figure


class PredictStudy(Study[PredictConfig]):
    """A zoo of small networks trained to the same loss, and how measures rank their generalization gaps."""

    name = "predict"
    title = "Which measures of a trained network rank its generalization gap"
    version = 1
    config_type = PredictConfig
    claims = CLAIMS

    def plan(self, preset: str, seed: int) -> list[PredictConfig]:
        """All networks of ``quick`` or ``full``."""
        from overt.studies.predict.plan import plan

        return plan(preset, seed)

    def execute(self, config: PredictConfig, context: RunContext) -> RunOutput:
        """One network."""
        from overt.studies.predict.execute import execute

        return execute(config, context)

    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """One verdict for each claim."""
        from overt.studies.predict.rules import judge

        return judge(runs)

    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        """The report's figures."""
        from overt.studies.predict.figures import figures

        return figures(runs)

    def concerns(self, config: Mapping[str, Any], claim: str) -> bool:
        """Every claim needs the whole zoo; P4 its convolutional networks."""
        return claim != "P4" or config.get("family") == "cnn"

    def label(self, config: PredictConfig) -> str:
        """Family, hyperparameters and seed."""
        return (
            f"{config.family} {config.depth}×{config.width}, lr={config.lr:g}, batch={config.batch_size}, "
            f"decay={config.weight_decay:g}, {config.penalty}, m={config.n_train}, seed={config.seed}"
        )


study = PredictStudy()

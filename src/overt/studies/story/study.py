"""The story as a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from overt.studies.base import Run, RunContext, RunOutput, Study, Verdict
from overt.studies.report.figures import Figure
from overt.studies.story.claims import CLAIMS, GROUPS
from overt.studies.story.config import StoryConfig


class Story(Study[StoryConfig]):
    """What gradient descent prefers implicitly, and what the explicit penalty does in its place."""

    name = "story"
    title = "Implicit regularization, and the explicit penalty in its place"
    version = 3
    config_type = StoryConfig
    claims = CLAIMS

    def plan(self, preset: str, seed: int) -> list[StoryConfig]:
        """All runs of ``quick`` or ``full``."""
        from overt.studies.story.plan import plan

        return plan(preset, seed)

    def execute(self, config: StoryConfig, context: RunContext) -> RunOutput:
        """One run."""
        from overt.studies.story.execute import execute

        return execute(config, context)

    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """One verdict for each of S1–S8."""
        from overt.studies.story.rules import judge

        return judge(runs)

    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        """The report's figures."""
        from overt.studies.story.figures import figures

        return figures(runs)

    def concerns(self, config: Mapping[str, Any], claim: str) -> bool:
        """Whether the claim is judged by this run's group."""
        return config.get("group") in GROUPS[claim]

    def label(self, config: StoryConfig) -> str:
        """Group, method and what sets the run apart."""
        return f"{config.group}: " + super().label(config)


study = Story()

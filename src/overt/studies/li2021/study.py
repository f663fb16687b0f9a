"""Li, Luo & Lyu (2021), Towards Resolving the Implicit Bias of Gradient Descent for Matrix Factorization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from overt.studies.base import Run, RunContext, RunOutput, Study, Verdict
from overt.studies.li2021.claims import CLAIMS, GROUPS
from overt.studies.li2021.config import Li2021Config
from overt.studies.report.figures import Figure


class Li2021(Study[Li2021Config]):
    """Greedy low-rank learning: gradient flow from a tiny start, and the explicit path beside it."""

    name = "li2021"
    title = "Greedy low-rank learning from infinitesimal initialization"
    version = 1
    config_type = Li2021Config
    claims = CLAIMS

    def plan(self, preset: str, seed: int) -> list[Li2021Config]:
        """All runs of ``quick`` or ``full``."""
        from overt.studies.li2021.plan import plan

        return plan(preset, seed)

    def execute(self, config: Li2021Config, context: RunContext) -> RunOutput:
        """One run."""
        from overt.studies.li2021.execute import execute

        return execute(config, context)

    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """One verdict for each of L1–L4."""
        from overt.studies.li2021.rules import judge

        return judge(runs)

    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        """The report's figures."""
        from overt.studies.li2021.figures import figures

        return figures(runs)

    def concerns(self, config: Mapping[str, Any], claim: str) -> bool:
        """Whether the claim is judged by this run's group."""
        return config.get("group") in GROUPS[claim]

    def label(self, config: Li2021Config) -> str:
        """Group and what sets the run apart."""
        return f"{config.group}: " + super().label(config)


study = Li2021()

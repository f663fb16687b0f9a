"""Part one: each proxy of rank as an explicit penalty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from overt.studies.base import Run, RunContext, RunOutput, Verdict
from overt.studies.proxies.claims import CLAIMS
from overt.studies.proxies.config import PenaltyConfig
from overt.studies.proxies.part import Part
from overt.studies.report.figures import Figure


class Penalties(Part[PenaltyConfig]):
    """Each proxy as an explicit penalty under each optimizer, with one budget of settings for all."""

    config_type = PenaltyConfig
    claims = CLAIMS
    groups: ClassVar[dict[str, frozenset[str]]] = {claim.id: frozenset({"penalties"}) for claim in CLAIMS}

    def plan(self, preset: str, seed: int) -> Iterator[PenaltyConfig]:
        """One run per proxy and optimizer."""
        from overt.studies.proxies.plan import plan

        return plan(preset, seed)

    def execute(self, config: PenaltyConfig, context: RunContext) -> RunOutput:
        """Tune, judge, and walk along the windows."""
        from overt.studies.proxies.execute import execute

        return execute(config, context)

    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """One verdict for each claim of the part."""
        from overt.studies.proxies.rules import judge

        return judge(runs)

    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        """The part's figures."""
        from overt.studies.proxies.figures import figures

        return figures(runs)

    def label(self, config: PenaltyConfig) -> str:
        """The proxy and the optimizer."""
        return f"{config.proxy}, {config.optimizer}"


part = Penalties()

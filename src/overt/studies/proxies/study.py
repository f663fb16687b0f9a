"""The proxies of rank as a study: a list of parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from overt.studies.base import Run, RunContext, RunOutput, Study, StudyConfig, Verdict
from overt.studies.proxies.part import Part
from overt.studies.proxies.parts import PARTS
from overt.studies.report.draw import draw
from overt.studies.report.figures import Figure


class Proxies(Study[StudyConfig]):
    """Proxies of rank: as explicit penalties, and as what trained networks are stationary for."""

    name = "proxies"
    title = "Which proxy of rank to penalize, and which one training minimizes by itself"
    version = 1
    config_type = StudyConfig
    claims = tuple(claim for part in PARTS for claim in part.claims)

    def plan(self, preset: str, seed: int) -> list[StudyConfig]:
        """All runs of ``quick`` or ``full``, part by part."""
        return [config for part in PARTS for config in part.plan(preset, seed)]

    def configured(self, fields: Mapping[str, Any]) -> StudyConfig:
        """The configuration of the part that the fields' group belongs to."""
        for part in PARTS:
            if any(fields.get("group") in list(groups) for groups in part.groups.values()):
                return cast(StudyConfig, part.config_type.model_validate(dict(fields)))
        raise ValueError(f"group must be one of the study's, got {fields.get('group')!r}")

    def execute(self, config: StudyConfig, context: RunContext) -> RunOutput:
        """One run, by the part that the configuration belongs to."""
        return part_of(config).execute(config, context)

    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """One verdict for each claim."""
        return [verdict for part in PARTS for verdict in part.judge(runs)]

    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        """The report's figures, part by part."""
        return draw([part.figures for part in PARTS], runs)

    def concerns(self, config: Mapping[str, Any], claim: str) -> bool:
        """Whether the claim is judged by this run's group."""
        return any(config.get("group") in part.groups.get(claim, ()) for part in PARTS)

    def label(self, config: StudyConfig) -> str:
        """The part's own words, or the group and what sets the run apart."""
        words = part_of(config).label(config)
        return words or f"{getattr(config, 'group', '')}: " + super().label(config)


def part_of(config: StudyConfig) -> Part[Any]:
    """The part whose configuration this is; TypeError where there is none."""
    for part in PARTS:
        if isinstance(config, part.config_type):
            return part
    raise TypeError(f"config must be of one of the study's parts, got a {type(config).__name__}")


study = Proxies()

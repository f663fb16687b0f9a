"""Made-up runs for the rules of studies: every planned run, with the record that a given world would give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from overt.studies import Run, StudyConfig
from overt.studies.part import StudyOfParts
from overt.studies.runs.identity import config_hash

World = Callable[[Any], Mapping[str, Any]]


def run(study: StudyOfParts, config: StudyConfig, record: Mapping[str, Any], arrays: Any = None) -> Run:
    """A stored run."""
    fields = config.model_dump(mode="json")
    records = [{"status": "converged", "steps": 100, "seconds": 1.0, "loss": 0.0, **record}]
    name = config_hash(study.name, study.version, config)
    return Run(study.name, name, fields, records, arrays or {}, {"status": "done"})


def runs(study: StudyOfParts, world: World, preset: str = "full") -> list[Run]:
    """All runs of a preset in a world."""
    return [run(study, config, world(config)) for config in study.plan(preset, 0)]


def outcomes(study: StudyOfParts, some: list[Run]) -> dict[str, str]:
    """The outcome of each claim."""
    return {one.claim: one.outcome for one in study.judge(some)}


def changed(world: World, **record: Any) -> World:
    """The same world with some fields of all records replaced; a callable is given the configuration."""
    return lambda config: (
        {**world(config), **{name: v(config) if callable(v) else v for name, v in record.items()}}
    )

"""Which runs a command asked for, so that a report can say how many of them are there."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from overt._utils import files
from overt._utils.errors import StoreError
from overt.studies.runs import records
from overt.studies.runs.identity import config_hash

__all__ = ["Plan", "load_plans", "save_plan"]


@dataclass(frozen=True)
class Plan:
    """Which runs a command asked for.

    Attributes
    ----------
    study, version : str, int
    preset : str
    seed : int
    overrides : dict
        Fields that were overridden.
    command : str
        What was typed.
    runs : dict of str to dict
        From each planned run's hash to its configuration.
    """

    study: str
    version: int
    preset: str
    seed: int
    runs: dict[str, dict[str, Any]]
    overrides: dict[str, Any] = field(default_factory=dict)
    command: str = ""

    @property
    def key(self) -> tuple[int, str, int, str]:
        """What tells two plans of a study apart."""
        return (self.version, self.preset, self.seed, json.dumps(self.overrides, sort_keys=True, default=str))


def load_plans(path: Path, study: str) -> list[Plan]:
    """Return a study's plans from their file, the latest last; none where there is no file.

    Raises
    ------
    StoreError
        If the file is damaged.
    """
    if not os.path.lexists(path):
        return []
    try:
        plans = [Plan(**plan) for plan in records.load_object(files.read_plain(path))["plans"]]
        for plan in plans:
            for hash_, config in plan.runs.items():
                if plan.study != study or config_hash(study, plan.version, config) != hash_:
                    raise ValueError(f"{hash_} is not the hash of its configuration")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"{path} is damaged ({error}); remove it, and overt run writes it again") from error
    return plans


def save_plan(path: Path, plan: Plan, *, if_full: str = files.IF_FULL) -> None:
    """Put a plan last in its study's file, in place of an earlier one with the same key."""
    others = [other for other in load_plans(path, plan.study) if other.key != plan.key]
    value = {"plans": [asdict(each) for each in (*others, plan)]}
    files.write_whole(path, records.dump_object(value), if_full=if_full)

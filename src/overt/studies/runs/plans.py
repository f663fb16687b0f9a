"""Which runs a command asked for, so that a report can say how many of them are there."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from overt._utils import files
from overt._utils.checks import kind_of
from overt._utils.errors import StoreError
from overt.studies.base import Study
from overt.studies.runs import records
from overt.studies.runs.identity import config_hash
from overt.studies.runs.stored import check_config

__all__ = ["Plan", "check_plans", "load_plans", "save_plan"]

MOST_BYTES = 64 * files.MIB
_KINDS = {
    "study": str,
    "version": int,
    "preset": str,
    "seed": int,
    "runs": dict,
    "overrides": dict,
    "command": str,
    "rules": dict,
    "claims": list,
    "sweep": dict,
}


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
    rules : dict of str to str
        From each claim to the hash of its rule when runs were first planned.
    claims : list of str
        The claims whose runs were asked for; empty where all were.
    sweep : dict of str to list
        The fields of which one command tried several values, with all of them. Each value has a plan.
    """

    study: str
    version: int
    preset: str
    seed: int
    runs: dict[str, dict[str, Any]]
    overrides: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    rules: dict[str, str] = field(default_factory=dict)
    claims: list[str] = field(default_factory=list)
    sweep: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def setting(self) -> str:
        """What tells apart plans whose runs are never judged together."""
        return _text([self.version, self.preset, self.overrides, sorted(self.claims)])

    @property
    def key(self) -> tuple[str, int]:
        """What tells two plans of a study apart."""
        return self.setting, self.seed

    @property
    def command_key(self) -> tuple[str, int]:
        """What the plans of one command have in common, whatever the values of a sweep."""
        fixed = {name: value for name, value in self.overrides.items() if name not in self.sweep}
        return _text([self.version, self.preset, fixed, sorted(self.claims), self.sweep]), self.seed


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


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
        value = records.load_object(files.read_plain(path, most=MOST_BYTES))
        if not isinstance(value["plans"], list) or not value["plans"]:
            raise ValueError("it holds no list of plans")
        return [_plan(each, study) for each in value["plans"]]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, str(error)) from error


def check_plans(path: Path, study: Study[Any], plans: Sequence[Plan]) -> None:
    """Refuse plans of runs that the study does not have; those of its other versions are not looked at.

    Raises
    ------
    StoreError
        If a configuration does not suit the study.
    """
    for plan in plans:
        for config in plan.runs.values() if plan.version == study.version else ():
            try:
                check_config(study, config)
            except ValueError as error:
                raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(f"{path} is damaged ({why}); remove it, and overt run writes it again")


def _plan(value: Any, study: str) -> Plan:
    plan = Plan(**value)
    for name, kind in _KINDS.items():
        if type(getattr(plan, name)) is not kind:
            raise ValueError(f"{name} of a plan is {kind_of(getattr(plan, name))}")
    if not all(type(rule) is str for rule in plan.rules.values()):
        raise ValueError("rules of a plan hold something else than text")
    if not all(type(claim) is str for claim in plan.claims):
        raise ValueError("claims of a plan hold something else than text")
    for hash_, config in plan.runs.items():
        if (
            plan.study != study
            or type(config) is not dict
            or config_hash(study, plan.version, config) != hash_
        ):
            raise ValueError(f"{hash_!r} is not the hash of its configuration")
    return plan


def save_plan(path: Path, plan: Plan, *, if_full: str = files.IF_FULL) -> None:
    """Put a plan last in its study's file, in place of an earlier one with the same key.

    Rules that an earlier one of these runs registered stay as they were: its runs were made under them.
    """
    earlier = load_plans(path, plan.study)
    others = [other for other in earlier if other.key != plan.key]
    alike = [other for other in earlier if replace(other, claims=plan.claims).key == plan.key]
    registered = {claim: rule for other in reversed(alike) for claim, rule in other.rules.items()}
    value = {"plans": [asdict(each) for each in (*others, replace(plan, rules={**plan.rules, **registered}))]}
    files.write_whole(path, records.dump_object(value), if_full=if_full)

"""Studies: claims that are run, stored, judged and reported. `run_study` is the way in from Python."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overt._utils.errors import OvertError
    from overt.studies.base import (
        Claim,
        Estimate,
        Run,
        RunContext,
        RunOutput,
        Skip,
        Study,
        StudyConfig,
        Verdict,
    )
    from overt.studies.registry import register
    from overt.studies.runner import RunSummary, run_study

__all__ = [
    "Claim",
    "Estimate",
    "OvertError",
    "Run",
    "RunContext",
    "RunOutput",
    "RunSummary",
    "Skip",
    "Study",
    "StudyConfig",
    "Verdict",
    "register",
    "run_study",
]

_HOMES = {"RunSummary": "runner", "run_study": "runner", "register": "registry", "OvertError": "errors"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'base')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

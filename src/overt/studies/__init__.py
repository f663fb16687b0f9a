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

_HOMES = {
    "OvertError": "overt._utils.errors",
    "RunSummary": "overt.studies.runner",
    "register": "overt.studies.registry",
    "run_study": "overt.studies.runner",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "overt.studies.base")), name)


def __dir__() -> list[str]:
    return sorted(__all__)

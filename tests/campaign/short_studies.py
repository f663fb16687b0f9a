"""Every study with two runs that take a moment, for ``overt run short_studies:NAME``."""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "contracts"))

from smallest_runs import SMALLEST, smallest, write_images

from overt.studies import Study, registry

IMAGES = Path(os.environ.get("CAMPAIGN_IMAGES", "images"))
NAMES = tuple(SMALLEST)
__all__ = ["IMAGES", "NAMES", "write_images"]


def _short(name: str) -> Study[Any]:
    whole = registry.get(name)

    def plan(self: Study[Any], preset: str, seed: int) -> list[Any]:
        config = smallest(whole, IMAGES)
        return [config.model_copy(update={"seed": seed + k}) for k in range(2)]

    study = copy.copy(whole)
    study.__class__ = type(type(whole).__name__, (type(whole),), {"plan": plan})
    return study


def __getattr__(name: str) -> Study[Any]:
    if name not in NAMES:
        raise AttributeError(name)
    globals()[name] = study = _short(name)
    return study

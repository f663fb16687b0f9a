"""Small runs of many kinds; prints a hash of what each gives, as JSON. Started by test_repeated_runs.

Usage: python repeated_runs.py FOLDER JOBS

The environment's JUNK is memory that is taken before anything else, so that addresses differ.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from copy import copy
from pathlib import Path
from typing import Any

JUNK = [bytearray(int(size)) for size in os.environ.get("JUNK", "").split(",") if size]

import numpy as np  # noqa: E402

from overt.completion import MatrixCompletion  # noqa: E402
from overt.studies import StudyConfig, registry, run_study  # noqa: E402
from overt.studies.runs.identity import config_hash  # noqa: E402
from overt.studies.runs.store import Store  # noqa: E402

# Groups of each study: the first run of each optimizer and exponent in the quick preset, cut short.
GROUPS = {
    "woodworth2020": ("scale", "sparse", "minimum"),
    "story": ("optimizers", "penalties", "sparse"),
    "gunasekar2018": ("regression",),
    "adam": ("optimizers",),
}
STEPS = 20


def plan(name: str) -> list[StudyConfig]:
    """The short runs of a study."""
    chosen: dict[tuple[Any, ...], StudyConfig] = {}
    for config in registry.get(name).plan("quick", 0):
        fields = config.model_dump()
        part = fields.get("part", fields.get("group"))
        if part not in GROUPS[name]:
            continue
        key = (part, *(fields.get(name) for name in ("method", "optimizer", "p", "q")))
        steps = {"max_steps": STEPS} if "max_steps" in fields else {}
        chosen.setdefault(key, type(config)(**fields | steps))
    return list(chosen.values())


def digest(*parts: object) -> str:
    found = hashlib.sha256()
    for part in parts:
        data = np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else repr(part).encode()
        found.update(data)
    return found.hexdigest()[:16]


def timeless(value: Any) -> Any:
    """A record without what a clock said."""
    if isinstance(value, dict):
        return {
            key: [step for step, _ in kept.values()] if key == "hits" else timeless(kept)
            for key, kept in value.items()
            if "seconds" not in key
        }
    return [timeless(item) for item in value] if isinstance(value, list) else value


def studies(folder: Path, jobs: int) -> dict[str, str]:
    found = {}
    for name in GROUPS:
        chosen = plan(name)
        study = copy(registry.get(name))
        study.plan = lambda preset, seed, chosen=chosen: chosen  # type: ignore[method-assign]
        run_study(study, out=folder, jobs=jobs)
        for config in chosen:
            run = Store.open(folder).load(name, config_hash(name, study.version, config))
            arrays = [v for k, v in sorted(run.arrays.items()) if "seconds" not in k]
            found[f"{name} {run.hash}"] = digest(timeless(run.records), *arrays)
    return found


def completions() -> dict[str, str]:
    """Estimators on an exact matrix, a noisy one, and integers, with each solver that takes a moment."""
    g = np.random.default_rng(0)
    low = g.normal(size=(40, 3)) @ g.normal(size=(3, 30))
    tables = {
        "exact": low,
        "noisy": low + 0.3 * g.normal(size=low.shape),
        "ratings": np.clip(np.round(low + 3), 1, 5),
    }
    hidden = g.random(low.shape) < 0.4
    found = {}
    for name, table in tables.items():
        for solver in ("auto", "irls", "bayes", "soft_impute", "nuclear"):
            if name != "exact" and solver == "irls":
                continue
            model = MatrixCompletion(solver=solver, random_state=0)
            found[f"{name} {solver}"] = digest(model.fit_transform(np.where(hidden, np.nan, table)))
    return found


if __name__ == "__main__":
    print(json.dumps(studies(Path(sys.argv[1]), int(sys.argv[2])) | completions()))

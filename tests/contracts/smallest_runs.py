"""A run of each study that takes a moment, for the contract of all studies and for the campaign of faults."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from overt.studies import Study, StudyConfig

TINY = {"n": 8, "rank": 1, "n_observed": 40, "max_steps": 20}
# A run of each study that takes a moment; IMAGES stands for a folder of small pictures.
IMAGES = "a folder of small pictures"
SMALLEST: dict[str, dict[str, Any]] = {
    "story": {"part": "methods", "method": "depth 3", **TINY},
    "arora2019": {"part": "depths", "method": "depth 2", **TINY},
    "razin2020": {"part": "growth", "depth": 2, "loss_target": 1e-5},
    "zhao2022": {"part": "methods", "method": "penalty", **TINY},
    "li2021": {
        "part": "path",
        "number": 2,
        "n": 4,
        "rank": 2,
        "n_observed": 16,
        "condition_number": 2.0,
        "epsilon": 0.5,
        "max_steps": 20,
    },
    "woodworth2020": {"part": "minimum", "n": 12, "n_observed": 5, "nonzeros": 2, "max_steps": 50},
    "gunasekar2018": {"part": "regression", "n": 12, "n_observed": 5, "max_steps": 50},
    "proxies": {"part": "inverse", **TINY, "references": 1},
    "adam": {"part": "optimizers", **TINY},
    "measure": {"part": "collapse", "model": "diagonal", "size": 6, "max_steps": 50, "points": 2},
    "generalization": {
        "part": "compare",
        "source": IMAGES,
        "method": "weight_decay",
        "widths": (6,),
        "n_train": 30,
        "n_validation": 30,
        "n_test": 40,
        "max_steps": 5,
    },
    "predict": {
        "part": "zoo",
        "source": IMAGES,
        "depth": 1,
        "width": 6,
        "n_train": 40,
        "n_test": 40,
        "lr": 0.05,
        "target_loss": 0.5,
        "noise_draws": 1,
    },
    "structure": {"part": "ansatz", "target": "staircase", "network": "gelu", "max_steps": 20},
    "one_algorithm": {"part": "fewest", "method": "machine 2", "n": 8, "rank": 1, "rho": 3.0},
    "denoising": {
        "part": "compare",
        "data": "images",
        "source": IMAGES,
        "n_train": 30,
        "n_validation": 30,
        "n_test": 40,
        "width": 8,
        "max_steps": 3,
    },
    "grokking": {"part": "learning", "modulus": 5, "width": 8, "max_steps": 5},
}


def write_images(path: Path) -> None:
    """Four idx files of 8×8 pictures in two classes, which the brighter half tells apart."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 80), ("t10k", 60)):
        labels = np.arange(count) % 2
        pixels = rng.integers(0, 100, size=(count, 8, 8))
        for image, label in zip(pixels, labels, strict=True):
            image[4 * label : 4 * label + 4] += 100
        head = struct.pack(">4B3I", 0, 0, 8, 3, count, 8, 8)
        (path / f"{name}-images-idx3-ubyte").write_bytes(head + pixels.astype(np.uint8).tobytes())
        head = struct.pack(">4BI", 0, 0, 8, 1, count)
        (path / f"{name}-labels-idx1-ubyte").write_bytes(head + labels.astype(np.uint8).tobytes())


def smallest(study: Study[Any], images: Path) -> StudyConfig:
    """The study's smallest run, of the configuration that takes its fields."""
    fields = {name: str(images) if value == IMAGES else value for name, value in SMALLEST[study.name].items()}
    if "part" in fields:
        return study.configured({"seed": 0, **fields})
    planned = study.plan("quick", 0)
    kinds = {
        type(config): None for config in planned if getattr(config, "group", None) == fields.get("group")
    }
    (kind, *_) = kinds or {type(planned[0]): None}
    return kind(seed=0, **fields)


def untimed(value: Any) -> Any:
    """Records without what a clock says."""
    if isinstance(value, list):
        return [untimed(one) for one in value]
    if isinstance(value, dict):
        return {name: untimed(one) for name, one in value.items() if "second" not in name}
    return value

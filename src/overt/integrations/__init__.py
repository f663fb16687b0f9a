"""Spectra in other trainers: Lightning, Hugging Face, TensorBoard.

Each needs a library of its own, imported when first used: ``pip install 'overt[lightning]'``,
``'overt[huggingface]'`` or ``'overt[tensorboard]'``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overt.integrations.huggingface import HuggingFaceSpectra
    from overt.integrations.lightning import LightningSpectra
    from overt.integrations.tensorboard import TensorBoard

_HOMES = {"HuggingFaceSpectra": "huggingface", "LightningSpectra": "lightning", "TensorBoard": "tensorboard"}

__all__ = ["HuggingFaceSpectra", "LightningSpectra", "TensorBoard"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"overt.integrations.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'overt.integrations' has no attribute {name!r}")

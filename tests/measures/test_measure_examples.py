"""The examples in the docstrings of the measures and of the linear algebra made for them run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import overt.measures

MODULES = [
    *(found.name for found in pkgutil.iter_modules(overt.measures.__path__, "overt.measures.")),
    "overt.linalg.bases",
    "overt.linalg.lanczos",
    "overt.linalg.row_stack",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0

"""The examples in the docstrings of the training and the penalties."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import overt.penalties
import overt.training

MODULES = [
    f"{package.__name__}.{module.name}"
    for package in (overt.penalties, overt.training)
    for module in pkgutil.iter_modules(package.__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0

"""The examples in the docstrings of the models and problems run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import overt.models
import overt.problems

MODULES = [
    found.name
    for room in (overt.models, overt.problems)
    for found in pkgutil.iter_modules(room.__path__, f"{room.__name__}.")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    examples = sum(
        len(test.examples) for name in MODULES for test in finder.find(importlib.import_module(name))
    )
    assert examples > 20

"""The examples in the docstrings, run."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = [
    "overt.functional",
    "overt.linalg.convolution",
    "overt.linalg.decompositions",
    "overt.linalg.factored",
    "overt.linalg.gram",
    "overt.linalg.polar",
    "overt.linalg.polar_coefficients",
    "overt.linalg.spectrum",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


def test_every_function_has_an_example() -> None:
    module = importlib.import_module("overt.functional")
    for name in module.__all__:
        assert ">>> " in (getattr(module, name).__doc__ or ""), name

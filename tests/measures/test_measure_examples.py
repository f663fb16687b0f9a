"""The examples in the docstrings of the measures and of the linear algebra made for them run."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re

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


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_keep_their_lines(name):
    """No heading has run into its text, and no quotation mark of a wrapped string is left over."""
    tree = ast.parse(inspect.getsource(importlib.import_module(name)))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    texts = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented)]
    assert not [text for text in texts if re.search(r'-{4,} \S|"\s*\n\s*"', text)]

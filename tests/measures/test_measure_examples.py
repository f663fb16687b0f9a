"""The examples in the docstrings of the measures run, and so does the guide to counting parameters."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import overt.measures

MODULES = [
    *(found.name for found in pkgutil.walk_packages(overt.measures.__path__, "overt.measures.")),
    "overt.linalg.bases",
    "overt.linalg.lanczos",
    "overt.linalg.row_stack",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


@pytest.mark.parametrize("name", overt.measures.__all__)
def test_functions_have_examples(name):
    found = getattr(overt.measures, name)
    if inspect.isfunction(found):
        assert ">>>" in (found.__doc__ or "")


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_keep_their_lines(name):
    """No heading has run into its text, and no quotation mark of a wrapped string is left over."""
    tree = ast.parse(inspect.getsource(importlib.import_module(name)))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    texts = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented)]
    assert not [text for text in texts if re.search(r'-{4,} \S|"\s*\n\s*"', text)]


def test_the_guide_to_counting_parameters_runs(capsys):
    guide = (Path(__file__).parents[2] / "docs" / "parameters.md").read_text(encoding="utf-8")
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", guide, re.S)
    assert len(blocks) == 6
    for block in blocks:
        exec(block, names)
    assert "parameters keep accuracy" in capsys.readouterr().out
    assert names["result"].total < names["result"].total_before

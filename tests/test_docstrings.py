"""The examples in docstrings run, and docstrings have kept their lines."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re

import pytest

from source_tree import files, nodes, parsed, text

WITH_EXAMPLES = [path for path in files() if re.search(r"^ *>>> ", text(path), re.M)]
SLOW = {"training/gradient_flow.py", "training/release.py"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def name_of(path):
    return "overt." + path.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] * (path in SLOW)) for path in WITH_EXAMPLES],
)
def test_examples(path):
    module = importlib.import_module(name_of(path))
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_rooms_have_examples():
    rooms = {path.split("/")[0].removesuffix(".py") for path in WITH_EXAMPLES}
    below = {"functional", "linalg", "models", "problems", "measures", "penalties", "optim", "training"}
    below |= {"completion"}
    assert below <= rooms
    assert set(SLOW) <= set(WITH_EXAMPLES)


@pytest.mark.parametrize("room", ["functional", "measures"])
def test_public_functions_have_examples(room):
    module = importlib.import_module(f"overt.{room}")
    functions = [getattr(module, name) for name in module.__all__]
    assert [f.__name__ for f in functions if inspect.isfunction(f) and ">>> " not in (f.__doc__ or "")] == []


def test_docstrings_keep_their_lines():
    """No heading has run into its text, and no quotation mark of a wrapped string is left over."""
    broken = [
        f"{path}: {getattr(node, 'name', 'module')}"
        for path in files()
        for node in nodes(path)
        if isinstance(node, DOCUMENTED) and re.search(r'-{4,} \S| "\s*\n\s*"', ast.get_docstring(node) or "")
    ]
    assert broken == []


def test_every_file_says_what_it_is():
    assert [path for path in files() if not ast.get_docstring(parsed(path))] == []

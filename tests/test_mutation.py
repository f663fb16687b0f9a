"""What mutation testing changes, how that gets into a process, and that no explanation is stale."""

from __future__ import annotations

import json
import sys
import types

import pytest

from source_tree import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import mutants
from mutation.changes import changes
from mutation.replacing import replaced

CORPUS = {
    "BAR = 1e-5": {"BAR = 2e-05", "BAR = 5e-06"},
    "x = a < b": {"x = a <= b", "x = a >= b"},
    "x = a + b": {"x = a - b"},
    "x = min(a)": {"x = max(a)"},
    "x = a and not b": {"x = a or not b"},
    "f(a)": {"None"},
    "x = 'é' if a else -b": {"x = 'é' if not (a) else -b", "x = 'é' if a else b"},
    "def f(x: int = 3, *, y=True): pass": {
        "def f(x: int = 4, *, y=True): pass",
        "def f(x: int = 2, *, y=True): pass",
        "def f(x: int = 3, *, y=False): pass",
    },
    "if TYPE_CHECKING: x = 1": set(),
    "raise ValueError(f'{1}', 2)": set(),
    "import os\n__all__ = ['x']": set(),
    '"""Text of 3 lines."""': set(),
    "def f() -> Literal[3]:\n    '''1'''": set(),
}


@pytest.mark.parametrize("source", CORPUS)
def test_each_change_is_one_edit(source):
    assert {change.applied(source) for change in changes("file.py", source)} == CORPUS[source]


def test_a_change_outside_of_functions_is_known_as_such():
    source = "A = 1\nclass C:\n    b = 1\n    def f(self, x=1):\n        return 1\n"
    outside = {change.start[0]: change.outside for change in changes("file.py", source)}
    assert outside == {1: True, 3: True, 4: True, 5: False}


def test_a_sample_has_each_file_and_is_the_same_for_the_same_seed():
    files = ["src/overt/_rules.py", "src/overt/linalg/gram.py"]
    drawn = mutants.sample(files, 20, 5, 1)
    assert drawn == mutants.sample(files, 20, 5, 1) != mutants.sample(files, 20, 5, 2)
    assert {change.file for change in drawn} == set(files)
    assert all(sum(change.file == file for change in drawn) >= 5 for file in files)


def test_code_is_replaced_wherever_it_is_held():
    """In a module, in a class, in a closure that was made before; a cached value is computed again."""
    source = """
import functools
@functools.lru_cache
def cached(): return 1
def outer():
    def inner(): return 1
    return inner
class C:
    def method(self): return 1
made = outer()
"""
    module = types.ModuleType("changed_module")
    module.__file__ = "changed_module.py"
    sys.modules["changed_module"] = module
    try:
        exec(compile(source, "/somewhere/changed_module.py", "exec", dont_inherit=True), module.__dict__)
        held = module.C().method
        assert [module.cached(), module.made(), held()] == [1, 1, 1]
        assert replaced("changed_module.py", source, source.replace("return 1", "return 2"))
        assert [module.cached(), module.made(), held()] == [2, 2, 2]
        assert not replaced("changed_module.py", source, source)
    finally:
        del sys.modules["changed_module"]


def test_explanations_are_of_lines_that_are_there():
    for file, line, change in mutants.explanations():
        source = (ROOT / file).read_text(encoding="utf-8")
        found = {(one["source"], one["change"]) for one in (c.words(source) for c in changes(file, source))}
        assert (line, change) in found, f"{file}: {line}: {change}"


def test_the_stored_result_says_of_each_survivor_what_it_is():
    stored = json.loads((ROOT / "benchmarks/results/mutation.json").read_text(encoding="utf-8"))
    kinds = [survivor["kind"] for row in stored["rows"] for survivor in row["survivors"]]
    assert set(kinds) <= {*mutants.REASONS, "unexplained"}
    assert sum(row["tried"] for row in stored["rows"]) >= 400

"""Rules for every file: one copy of each helper, one writer of files, plain formatting, few lines."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import cache

import pytest

import source_tree as tree
from source_tree import files, parsed, room

MOST_LINES = 400
# Helpers above the ground floor that were once written twice; each has one definition in the whole source.
SHARED = {
    "adapters_of",
    "conjugate_gradients",
    "largest_rank",
    "product_of",
    "rank_tolerance",
    "unwrapped",
    "weights_of",
}
# A run's folder takes its place by one rename; files do so in overt._utils.files alone.
RENAMES_FOLDERS = {"studies/runs/store.py"}


@cache
def functions_of(path):
    """The functions and classes at the top of a file."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node for node in parsed(path).body if isinstance(node, kinds)]


# ---- one copy of each helper -----------------------------------------------------------------------------


@cache
def definitions():
    """Where each function and class at the top of a file is defined; a leading underscore does not count."""
    found = {}
    for path in files():
        for node in functions_of(path):
            found.setdefault(node.name.lstrip("_"), []).append(path)
    return found


def ground_floor():
    """The names of what every room needs."""
    return {
        node.name
        for path in files()
        if room(path) == "_utils"
        for node in functions_of(path)
        if not node.name.startswith("_")
    }


def test_the_ground_floor_is_seen():
    assert {"check_integer", "check_number", "check_float_tensor", "write_whole"} <= ground_floor()


@pytest.mark.parametrize("name", sorted(SHARED | ground_floor()))
def test_a_shared_helper_is_defined_once(name):
    """Under its own name or a private one."""
    assert len(definitions()[name]) == 1, definitions()[name]


def test_no_function_has_two_copies():
    """Equal statements under whatever name, docstrings and names of the function apart."""
    seen: dict[str, list[str]] = {}
    for path in files():
        for node in functions_of(path):
            if isinstance(node, ast.ClassDef) or node.end_lineno - node.lineno < 3:
                continue
            body = [line for line in node.body if not _is_text(line)]
            said = ast.dump(ast.Module([ast.Expr(node.args), *body], []))
            if len(said) > 1000:
                seen.setdefault(said, []).append(f"{path}: {node.name}")
    assert [places for places in seen.values() if len(places) > 1] == []


def _is_text(statement):
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def test_bools_are_told_from_numbers_in_one_place():
    """``overt._utils.checks`` has is_integer and is_number; lists of plain kinds may name bool."""
    found = set()
    for path, call, called in tree.calls():
        if called == "isinstance":
            kinds = {getattr(node, "id", "") for node in ast.walk(call.args[1])}
            if "bool" in kinds and "str" not in kinds:
                found.add(path)
    compared = (
        path
        for path in files()
        for node in tree.nodes(path)
        if isinstance(node, ast.Compare) and "bool" in [getattr(side, "id", "") for side in node.comparators]
    )
    assert found | set(compared) == {"_utils/checks.py"}


# ---- one writer of files, one live line ------------------------------------------------------------------


def writes_in_place(call, called):
    """Whether a call puts a file in the place of another, as ``path.replace(other)`` does."""
    if called in ("os.replace", "os.rename", "os.renames", "shutil.move", "tempfile.mkstemp"):
        return True
    if called.split(".")[-1] in ("NamedTemporaryFile", "mkstemp"):
        return True
    one = isinstance(call.func, ast.Attribute) and len(call.args) == 1 and not call.keywords
    return one and call.func.attr in ("replace", "rename")


def test_files_are_written_in_one_place():
    """``overt._utils.files`` has whole_file and write_whole."""
    found = {path for path, call, called in tree.calls() if writes_in_place(call, called)}
    assert "_utils/files.py" in found
    assert sorted(path for path in found - RENAMES_FOLDERS if room(path) != "_utils") == []


def test_nothing_else_writes_text():
    """``whole_file`` and ``write_whole`` are the only way to a file."""
    found = {
        path
        for path, call, called in tree.calls()
        if called.split(".")[-1] in ("write_text", "write_bytes")
        or (called.split(".")[-1] == "open" and _mode(call) & set("wxa+"))
    }
    assert sorted(found) == ["_utils/files.py"]


def test_the_terminal_is_reached_in_one_place():
    """Commands print by ``overt.cli.terminal``, which lets no control character pass."""
    found = {
        path
        for path, _, called in tree.calls()
        if room(path) == "cli"
        and called in ("print", "Text", "click.echo", "click.secho", "sys.stdout.write")
    }
    assert sorted(found) == ["cli/terminal.py"]


def _mode(call):
    """The letters of the mode in which a call of ``open`` opens a file."""
    given = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
    words = [item.value for item in given if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    return {letter for word in words if len(word) < 4 for letter in word}


def test_lines_are_live_in_one_place():
    """``overt._utils.console`` has LiveLine and stage; the table of runs has a display of its own."""
    found = {
        path
        for path in files()
        if any(module.startswith(("rich.live", "rich.progress")) for module, _ in tree.imports(path))
    }
    assert sorted(found - {"_utils/console.py", "studies/runs/display.py"}) == []


# ---- formatting ------------------------------------------------------------------------------------------

FOLDERS = ("src", "tests", "benchmarks", "examples")
ALL = sorted(path for folder in FOLDERS for path in (tree.ROOT / folder).rglob("*.py"))
# From Python 3.12 on an f-string is several tokens.
STARTS = {tokenize.STRING, getattr(tokenize, "FSTRING_START", tokenize.STRING)}
ENDS = {tokenize.STRING, getattr(tokenize, "FSTRING_END", tokenize.STRING)}


def test_files_stay_small():
    long = {path: len(tree.text(path).splitlines()) for path in files()}
    assert {path: lines for path, lines in long.items() if lines > MOST_LINES} == {}


def test_the_formatter_is_switched_off_nowhere():
    found = [
        f"{path.relative_to(tree.ROOT)}:{number}"
        for path in ALL
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.fullmatch(r"fmt: *(skip|off)", line.split("#")[-1].strip())
    ]
    assert found == []


def pieces(source):
    """The lines on which a string literal follows another, as re-wrapping leaves them."""
    last, ends_at, found = None, 0, []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if last in ENDS and token.type in STARTS and ends_at == token.start[0]:
            found.append(token.start[0])
        last, ends_at = token.type, token.end[0]
    return found


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("x = 'a' 'b'\n", [1]),
        ("x = f'a' f'{1}'\n", [1]),
        ("x = ('a'\n  'b')\n", []),
        ("x = ['a', 'b']\n", []),
        ("x = f'{y}' + 'b'\n", []),
    ],
)
def test_pieces_are_found(source, lines):
    assert pieces(source) == lines


def test_no_string_is_cut_in_pieces():
    sources = {path: path.read_text(encoding="utf-8") for path in ALL}
    found = [
        f"{path.relative_to(tree.ROOT)}:{line}"
        for path, source in sources.items()
        if re.search(r"""["'] +[frbFRB]*["']""", source)  # few have it, and reading all takes long
        for line in pieces(source)
    ]
    assert found == []

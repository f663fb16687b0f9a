"""The rooms and their arrows, read from the source: what may import what, and who may decompose."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

import source_tree as tree
from source_tree import circles, edges, files, is_init, nodes, room

# A room may import rooms of its own floor and below.
FLOORS = {
    "_version": 0,
    "_utils": 0,
    "linalg": 1,
    "_rules": 2,
    "_spectral": 2,
    "functional": 2,
    "networks": 3,
    "models": 3,
    "problems": 3,
    "measures": 4,
    "penalties": 4,
    "optim": 4,
    "training": 5,
    "integrations": 6,
    "completion": 6,
    "features": 6,
    "studies": 7,
    "cli": 8,
    "__main__": 9,
}
STUDIES = FLOORS["studies"]
LIBRARIES_OF_STUDIES = {"matplotlib", "click", "rich", "jinja2", "pydantic", "joblib"}
# They draw when asked to, on a terminal or as a chart, and import what it takes only then.
DRAWING = {"_utils/console.py", "features/plots.py", "measures/plots.py"}
MATRIX_FACTORIZATIONS = {"svd", "svdvals", "eigh", "eigvalsh", "eig", "eigvals", "qr", "lstsq"}
WITHOUT_TORCH_LINALG = {"torch.svd", "torch.qr", "torch.svd_lowrank", "torch.pca_lowrank"}
BELOW_STUDIES = [path for path in files() if FLOORS.get(room(path), STUDIES) < STUDIES]


def test_every_file_is_in_a_known_room():
    assert {room(path) for path in files()} == {*FLOORS, "__init__"}


@cache
def described():
    """The rows of the table in docs/architecture.md: for each room, the words on what it imports."""
    page = (tree.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| ")]
    named = [row for row in rows if len(row) == 5 and row[1].startswith(" `")]
    return {row[1].strip(" `").removesuffix(".py").rstrip("/"): row[4] for row in named}


def test_every_room_is_described():
    rooms = {name for name in FLOORS if not name.startswith("_")} | {"_utils"}
    assert sorted(rooms - described().keys()) == []
    inner = {
        f"measures/{path.split('/')[1]}"
        for path in files()
        if path.startswith("measures/") and path.count("/") > 1
    }
    assert sorted(inner - described().keys()) == []


def test_what_is_imported_exists():
    missing = [
        f"{path} imports {module}"
        for path in files()
        for module, name in tree.imports(path)
        if module.split(".")[0] == "overt" and tree.file_of(module, name) is None
    ]
    assert missing == []


# ---- arrows ----------------------------------------------------------------------------------------------


def targets(path):
    """The files that a file imports, the re-exporting ``__init__`` files as sources, too."""
    return {tree.file_of(*pair) for pair in tree.imports(path)} - {None, path}


def test_arrows_point_downward():
    upward = [
        f"{path} imports {target}"
        for path in files()
        if path != "__init__.py"
        for target in sorted(targets(path))
        if FLOORS.get(room(target), 0) > FLOORS[room(path)]
    ]
    assert upward == []


def _inner(path):
    """The row of the table that a file belongs to."""
    folder = path.rpartition("/")[0]
    if folder in described():
        return folder
    return "functional" if room(path) in ("_rules", "_spectral") else room(path)


@cache
def _may_import(name):
    """The rows that the last column of a row names; "and below" adds all lower floors."""
    words = described()[name]
    named = set(re.findall(r"`([^`]+)`", words))
    assert named <= described().keys(), (name, named)
    if "and below" in words:
        top = max(FLOORS[item.split("/")[0]] for item in named)
        named |= {item for item in described() if FLOORS[item.split("/")[0]] < top}
    if "subfolders" in words:
        named |= {item for item in described() if item.startswith(f"{name}/")}
    return named


def test_rooms_import_what_the_page_says():
    others = [
        f"{path} imports {target}"
        for path in BELOW_STUDIES
        if path != "_version.py"
        for target in sorted(targets(path))
        if _inner(target) not in {_inner(path), *_may_import(_inner(path))}
    ]
    assert others == []


def test_rooms_of_one_floor_have_no_circle():
    rooms: dict[str, set[str]] = {}
    for path in files():
        for target in targets(path):
            if path != "__init__.py" and room(target) != room(path):
                rooms.setdefault(room(path), set()).add(room(target))
    assert circles(rooms) == []


def test_no_two_files_import_each_other():
    """Imports in functions and for type checkers count; only re-exporting ``__init__`` files do not."""
    assert circles(edges()) == []


def test_a_package_is_not_imported_through_its_front_from_inside():
    inside = [
        f"{path} imports {name} from {module}"
        for path in files()
        if not is_init(path)
        for module, name in tree.imports(path)
        if module.startswith("overt.")
        and path.startswith(module.removeprefix("overt.").replace(".", "/") + "/")
        and is_init(tree.file_of(module) or "")
        and not _is_module(module, name)
    ]
    assert inside == []


def _is_module(module, name):
    """Whether a name that is imported from a package is a file or folder of it."""
    return (tree.SOURCE / module.removeprefix("overt.").replace(".", "/") / f"{name}.py").exists() or (
        tree.SOURCE / module.removeprefix("overt.").replace(".", "/") / name / "__init__.py"
    ).exists()


def test_packages_only_re_export():
    """An ``__init__`` defines no class and no function but the two by which names are fetched late."""
    allowed = {"__getattr__", "__dir__"}
    # The way into the command line is the room's only public name.
    defined = {
        (path, node.name)
        for path in files()
        if is_init(path) and path != "cli/__init__.py"
        for node in tree.parsed(path).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name not in allowed
    }
    assert defined == set()


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"a"}}) == [["a", "b", "c"]]


# ---- what a room may use ---------------------------------------------------------------------------------


@pytest.mark.parametrize("library", sorted(LIBRARIES_OF_STUDIES))
def test_the_library_needs_no_command_line_or_plots(library):
    assert [path for path in BELOW_STUDIES if library in tree.libraries(path, at_import=True)] == []
    others = [path for path in BELOW_STUDIES if path not in DRAWING]
    assert [path for path in others if library in tree.libraries(path)] == []


def test_matplotlib_is_imported_only_where_something_is_drawn():
    assert [path for path in files() if "matplotlib" in tree.libraries(path, at_import=True)] == []


def names_of_torch_linalg(path):
    """The functions of torch.linalg that a file calls or imports, in code (docstrings are no code)."""
    for node in nodes(path):
        if isinstance(node, ast.Attribute):
            whole = ast.unparse(node)
            if whole.startswith("torch.linalg."):
                yield whole.removeprefix("torch.linalg.")
            elif whole in WITHOUT_TORCH_LINALG:
                yield "svd"
        elif isinstance(node, ast.ImportFrom) and node.module == "torch.linalg":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "torch":
            assert "linalg" not in [alias.name for alias in node.names], path


def test_only_linalg_decomposes():
    found = {path for path in files() if MATRIX_FACTORIZATIONS & set(names_of_torch_linalg(path))}
    assert {path for path in found if room(path) != "linalg"} == set()
    # Its default driver reads memory that torch has not set.
    assert [path for path in files() if "lstsq" in set(names_of_torch_linalg(path))] == []
    # That the search finds what it should is shown by the room that must have it.
    inside = {name for path in files() if room(path) == "linalg" for name in names_of_torch_linalg(path)}
    assert {"svd", "qr", "eigh"} <= inside


def test_names_are_fetched_late_only_by_fronts():
    """An import by name hides an arrow."""
    late = {
        path for path, _, called in tree.calls() if called.split(".")[-1] in ("import_module", "__import__")
    }
    assert [path for path in sorted(late) if room(path) != "studies" and not is_init(path)] == []


def test_nothing_is_unpickled_or_evaluated():
    forbidden = {"eval", "exec", "torch.load", "torch.save", "joblib.load"}
    assert [(path, called) for path, _, called in tree.calls() if called in forbidden] == []
    assert [path for path in files() if {"pickle", "marshal", "shelve", "dill"} & tree.libraries(path)] == []


def test_no_global_random_state():
    forbidden = {"torch.manual_seed", "np.random.seed", "random.seed"}
    assert [(path, called) for path, _, called in tree.calls() if called in forbidden] == []

"""The rooms and their arrows, read from the source: what may import what, and who may decompose."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import overt

SOURCE = Path(overt.__file__).parent

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
    "training": 5,
    "integrations": 6,
    "completion": 6,
    "studies": 7,
    "cli": 8,
    "__main__": 9,
}
STUDIES = FLOORS["studies"]
LIBRARIES_OF_STUDIES = {"matplotlib", "click", "rich", "jinja2", "pydantic", "joblib"}
# They draw when asked to, on a terminal or as a chart, and import what it takes only then.
DRAWING = {"_utils/console.py", "measures/plots.py"}
MATRIX_FACTORIZATIONS = {"svd", "svdvals", "eigh", "eigvalsh", "eig", "eigvals", "qr"}


def files():
    return sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))


def room(path):
    return path.split("/")[0].removesuffix(".py")


def parsed(path):
    return ast.parse((SOURCE / path).read_text(encoding="utf-8"))


def imports(path, *, everywhere=True):
    """The modules that a file imports; with ``everywhere=False`` those that its own import brings in."""
    tree = parsed(path)
    nodes = ast.walk(tree) if everywhere else _at_import(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            if node.module == "overt":  # names of the package itself: rooms, or what __init__ re-exports
                yield from (f"overt.{alias.name}" for alias in node.names)
            else:
                yield node.module


def _at_import(statements):
    """Statements that run at import: not those in functions, nor those for type checkers alone."""
    for node in statements:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from _at_import(node.orelse)
            continue
        yield node
        for field in ("body", "orelse", "finalbody"):
            yield from _at_import(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            yield from _at_import(handler.body)


def names_of_torch_linalg(path):
    """The functions of torch.linalg that a file calls or imports, in code (docstrings are no code)."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Attribute):
            whole = ast.unparse(node)
            if whole.startswith("torch.linalg."):
                yield whole.removeprefix("torch.linalg.")
            elif whole in ("torch.svd", "torch.qr", "torch.svd_lowrank", "torch.pca_lowrank"):
                yield "svd"
        elif isinstance(node, ast.ImportFrom) and node.module == "torch.linalg":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "torch":
            assert "linalg" not in [alias.name for alias in node.names], path


def test_every_file_is_in_a_known_room():
    assert {room(path) for path in files()} == {*FLOORS, "__init__"}


@pytest.mark.parametrize("path", [path for path in files() if path != "__init__.py"])
def test_arrows_point_downward(path):
    for module in imports(path):
        if not module.startswith("overt."):
            continue
        target = module.split(".")[1]
        if target not in FLOORS:
            assert target in overt.__all__, f"{path} imports {module}"
            target = room_of_name(target)
        assert FLOORS[target] <= FLOORS[room(path)], f"{path} imports {module}"


def room_of_name(name):
    """The room of a name that the package re-exports."""
    if name == "__version__":
        return "_version"
    return overt._HOMES[name].split(".")[1]


def test_rooms_of_one_floor_have_no_cycle():
    edges = {}
    for path in files():
        for module in imports(path, everywhere=False):
            parts = module.split(".")
            if parts[0] == "overt" and len(parts) > 1 and parts[1] in FLOORS and parts[1] != room(path):
                edges.setdefault(room(path), set()).add(parts[1])

    def reachable(start):
        found, todo = set(), [start]
        while todo:
            for target in edges.get(todo.pop(), set()) - found:
                found.add(target)
                todo.append(target)
        return found

    for name in FLOORS:
        assert name not in reachable(name), name


@pytest.mark.parametrize("path", [path for path in files() if FLOORS.get(room(path), 0) < STUDIES])
def test_the_library_needs_no_studies_command_line_or_plots(path):
    for module in imports(path):
        assert not module.startswith(("overt.studies", "overt.cli")), f"{path} imports {module}"
        if path not in DRAWING:
            assert module.split(".")[0] not in LIBRARIES_OF_STUDIES, f"{path} imports {module}"
    for module in imports(path, everywhere=False):
        assert module.split(".")[0] not in LIBRARIES_OF_STUDIES, f"{path} imports {module} when imported"


def test_matplotlib_is_imported_only_where_something_is_drawn():
    for path in files():
        for module in imports(path, everywhere=False):
            assert module.split(".")[0] != "matplotlib", path


def test_only_linalg_decomposes():
    found = {
        path
        for path in files()
        if room(path) != "linalg" and MATRIX_FACTORIZATIONS & set(names_of_torch_linalg(path))
    }
    assert not found


def test_the_room_of_decompositions_is_seen():
    """That the search finds what it should is shown by the room that must have it."""
    found = {name for path in files() if room(path) == "linalg" for name in names_of_torch_linalg(path)}
    assert {"svd", "qr", "eigh"} <= found


def calls():
    """Every call in the source: the file, and what is called."""
    for path in files():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call):
                yield path, ast.unparse(node.func)


def test_nothing_is_unpickled_or_evaluated():
    forbidden = {"eval", "exec", "torch.load", "torch.save", "joblib.load"}
    assert [call for call in calls() if call[1] in forbidden] == []
    for path in files():
        assert not {"pickle", "marshal", "shelve", "dill"} & {m.split(".")[0] for m in imports(path)}, path


def test_no_global_random_state():
    forbidden = {"torch.manual_seed", "np.random.seed", "random.seed"}
    assert [call for call in calls() if call[1] in forbidden] == []

"""The source of the package, read once: its files, their syntax, and which of them imports which."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import overt

SOURCE = Path(overt.__file__).parent
ROOT = SOURCE.parents[1]


@cache
def files() -> tuple[str, ...]:
    """All files of the package, relative to it."""
    return tuple(sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")))


@cache
def text(path: str) -> str:
    return (SOURCE / path).read_text(encoding="utf-8")


@cache
def parsed(path: str) -> ast.Module:
    return ast.parse(text(path))


@cache
def nodes(path: str) -> tuple[ast.AST, ...]:
    """All nodes of a file's syntax tree."""
    return tuple(ast.walk(parsed(path)))


def room(path: str) -> str:
    """The room of a file: its first folder, or its own name."""
    return path.split("/")[0].removesuffix(".py")


def is_init(path: str) -> bool:
    return path.endswith("__init__.py")


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    """Every call in the source: the file, the call, and what is called."""
    for path in files():
        for node in nodes(path):
            if isinstance(node, ast.Call):
                yield path, node, ast.unparse(node.func)


# ---- imports ---------------------------------------------------------------------------------------------


@cache
def imports(path: str, *, at_import: bool = False) -> tuple[tuple[str, str], ...]:
    """What a file imports, as pairs of a module and a name in it; the name is empty for a whole module.

    With `at_import` only what importing the file itself brings in: no functions, nothing for type checkers.
    """
    found = []
    for node in _at_import(parsed(path).body) if at_import else nodes(path):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found += [(str(node.module), alias.name) for alias in node.names]
    return tuple(found)


def _at_import(statements: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
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


def libraries(path: str, *, at_import: bool = False) -> set[str]:
    """The packages other than Overt that a file imports."""
    return {module.split(".")[0] for module, _ in imports(path, at_import=at_import)} - {"overt"}


def file_of(module: str, name: str = "") -> str | None:
    """The file that defines a name of a module, through each package that re-exports it.

    None for other packages' modules, and for those that do not exist.
    """
    if module.split(".")[0] != "overt":
        return None
    inner = module.split(".")[1:]
    own = _exists("/".join(inner)) if inner else "__init__.py"
    if not name or own is None or not is_init(own):
        return own
    if not inner and name in overt._HOMES:
        return file_of(overt._HOMES[name], name)
    for there, alias in imports(own):
        if alias == name and there != module:
            return file_of(there, name)
    return _exists("/".join([*inner, name])) or own


def behind(path: str) -> set[str]:
    """The files that importing a file or package by its name stands for."""
    if not is_init(path):
        return {path}
    found = {file_of(module, name) for module, name in imports(path)} - {None, path}
    return {file for file in found if file is not None}


@cache
def _exists(place: str) -> str | None:
    for path in (f"{place}.py", f"{place}/__init__.py"):
        if path in files():
            return path
    return None


@cache
def edges() -> dict[str, set[str]]:
    """Which files a file imports, in functions and for type checkers, too; an ``__init__``: none."""
    found: dict[str, set[str]] = {path: set() for path in files()}
    for path in files():
        if is_init(path):
            continue
        for module, name in imports(path):
            target = file_of(module, name)
            if target is not None:
                found[path] |= behind(target) - {path}
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of files that import each other, directly or round about (Tarjan's components)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for target in graph.get(node, ()):
            if target not in order:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], order[target])
        if low[node] == order[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in order:
            visit(node)
    return found

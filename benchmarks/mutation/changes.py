"""The changes: one small edit of a file's text each, at the places that a syntax tree finds.

Messages of errors, docstrings, annotations and ``__all__`` are left alone; everything else counts, also what
stands outside of functions, such as the bars of verdicts.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

COMPARED: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
COMPUTED: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "+"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.BitXor: ("^", "&"),
}
CALLED = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "sum": "max",
    "mean": "sum",
    "median": "max",
    "argmin": "argmax",
    "argmax": "argmin",
    "floor": "ceil",
    "ceil": "floor",
    "minimum": "maximum",
    "maximum": "minimum",
    "log": "log1p",
    "zeros": "ones",
    "ones": "zeros",
    "zeros_like": "ones_like",
    "ones_like": "zeros_like",
}
# What is said is left alone; that it is said is part of the condition around it.
LEFT = (ast.Raise, ast.Import, ast.ImportFrom, ast.JoinedStr)


@dataclass(frozen=True, order=True)
class Change:
    """One edit: ``new`` in place of the text from ``start`` to ``end``, both as (line, byte in the line)."""

    file: str
    start: tuple[int, int]
    end: tuple[int, int]
    new: str
    old: str
    lines: tuple[int, int]  # of the statement
    outside: bool  # of all functions: it runs on import

    def applied(self, source: str) -> str:
        """The file with the edit."""
        lines = source.encode().splitlines(keepends=True)
        head = b"".join(lines[: self.start[0] - 1]) + lines[self.start[0] - 1][: self.start[1]]
        tail = lines[self.end[0] - 1][self.end[1] :] + b"".join(lines[self.end[0] :])
        return (head + self.new.encode() + tail).decode()

    def words(self, source: str) -> dict[str, Any]:
        """Where it is, the statement's line there, and what becomes of what."""
        line = source.splitlines()[self.start[0] - 1].strip()
        return {
            "line": self.start[0],
            "source": line,
            "change": f"{self.old} → {self.new}",
            "at": self.start[1],
        }


class _Finder(ast.NodeVisitor):
    """Walks a file; `found` holds the changes."""

    def __init__(self, file: str, source: str) -> None:
        self.file = file
        self.source = source.encode().splitlines(keepends=True)
        self.found: list[Change] = []
        self.depth = 0
        self.lines = (1, 1)

    # ---- text ------------------------------------------------------------------------------------------

    def text(self, start: tuple[int, int], end: tuple[int, int]) -> str:
        if start[0] == end[0]:
            return self.source[start[0] - 1][start[1] : end[1]].decode()
        middle = self.source[start[0] : end[0] - 1]
        parts = [self.source[start[0] - 1][start[1] :], *middle, self.source[end[0] - 1][: end[1]]]
        return b"".join(parts).decode()

    def add(self, start: tuple[int, int], end: tuple[int, int], *new: str) -> None:
        old = self.text(start, end)
        for text in new:
            self.found.append(Change(self.file, start, end, text, old, self.lines, self.depth == 0))

    def replace(self, node: ast.expr, *new: str) -> None:
        self.add(*_span(node), *new)

    def between(self, left: ast.expr, right: ast.expr, sign: str, *new: str) -> None:
        """Replace a sign that stands between two expressions."""
        start, end = _span(left)[1], _span(right)[0]
        gap = self.text(start, end)
        at = gap.find(sign)
        if at < 0 or "\n" in gap[:at] or "#" in gap[:at]:
            before, newline, rest = gap.partition("\n")
            if not newline or "#" in before or sign not in rest or "\n" in rest:
                return
            row, column = start[0] + 1, rest.find(sign)
        else:
            row, column = start[0], start[1] + len(gap[:at].encode())
        self.add((row, column), (row, column + len(sign)), *new)

    # ---- statements ------------------------------------------------------------------------------------

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, LEFT):
            return
        if isinstance(node, ast.stmt):
            outer, body = self.lines, getattr(node, "body", None)
            last = body[0].lineno - 1 if isinstance(body, list) and body else node.end_lineno
            self.lines = (node.lineno, max(node.lineno, last or node.lineno))
            super().visit(node)
            self.lines = outer
        else:
            super().visit(node)

    def body(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if not text:
                self.visit(statement)

    def visit_Module(self, node: ast.Module) -> None:
        self.body(node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.body(node.body)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)
        self.depth += 1
        self.body(node.body)
        self.depth -= 1

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        if "__all__" not in names:
            self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        sign, new = COMPUTED.get(type(node.op), ("", ""))
        if sign:
            self.between(node.target, node.value, f"{sign}=", f"{new}=")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self.replace(node.value, "None")  # a call for its effect
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" in self.text(*_span(node.test)):
            return
        self.negated(node.test)
        self.generic_visit(node)

    def visit_Break(self, node: ast.Break) -> None:
        self.add((node.lineno, node.col_offset), _end(node), "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self.add((node.lineno, node.col_offset), _end(node), "break")

    # ---- expressions -----------------------------------------------------------------------------------

    def negated(self, node: ast.expr) -> None:
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return  # its sign is changed already
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self.replace(node, self.text(*_span(node.operand)))
        else:
            self.replace(node, f"not ({self.text(*_span(node))})")

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.negated(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for condition in node.ifs:
            self.negated(condition)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        left = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            signs = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
            words = {ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in"}
            self.between(left, right, (signs | words)[type(op)], *COMPARED[type(op)])
            left = right
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.between(left, right, old, new)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        text = isinstance(node.left, ast.Constant | ast.JoinedStr) and not _is_number(node.left)
        if type(node.op) in COMPUTED and not text:
            self.between(node.left, node.right, *COMPUTED[type(node.op)])
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.USub):
            self.replace(node, self.text(*_span(node.operand)))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.replace(node, str(not value))
        elif isinstance(value, int):
            near = (value + 1, value - 1) if value <= 4 else (2 * value, value // 2)
            self.replace(node, *(str(other) for other in near if other >= 0))
        elif isinstance(value, float):
            self.replace(node, *([repr(2 * value), repr(value / 2)] if value else ["1.0"]))

    def visit_Call(self, node: ast.Call) -> None:
        func = node.func
        name = func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""
        if name in CALLED:
            row, column = _end(func)
            self.add((row, column - len(name)), (row, column), CALLED[name])
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if not (isinstance(node.value, ast.Name) and node.value.id in {"Callable", "Literal", "Mapping"}):
            self.generic_visit(node)


def _end(node: ast.expr | ast.stmt) -> tuple[int, int]:
    return int(node.end_lineno or 0), int(node.end_col_offset or 0)


def _span(node: ast.expr) -> tuple[tuple[int, int], tuple[int, int]]:
    return (node.lineno, node.col_offset), _end(node)


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def changes(file: str, source: str) -> list[Change]:
    """All changes of a file, in order."""
    finder = _Finder(file, source)
    finder.visit(ast.parse(source))
    return sorted(set(finder.found))

"""The mistakes that are made in a function, one at a time. Standard library only."""

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

type Function = ast.FunctionDef | ast.AsyncFunctionDef

_TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_SWAPPED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_BLOCKS = (ast.stmt, ast.ExceptHandler, ast.match_case)
_CONTEXT = 4  # words before and after a difference


@dataclass(frozen=True, slots=True)
class Mutant:
    """One function with one mistake.

    Known by file, function and the words of both versions, so that a survivor is found again after
    its lines have moved; of two that read alike, `(2)` stands behind the second. `code` fits the
    function as it was loaded.
    """

    file: str
    function: str  # its qualified name
    line: int
    before: str
    after: str
    code: CodeType

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.file, self.function, self.before, self.after


def mutants(path: Path, root: Path) -> Iterator[Mutant]:
    """Those of a module: of each function outside others, with what stands inside it."""
    tree = ast.parse(path.read_text("utf-8"))
    for function, classes in _functions(tree.body, ()):
        name = ".".join([*(c.name for c in classes), function.name])
        bare = copy.deepcopy(function)
        bare.decorator_list = []
        alike = Counter[tuple[str, str]]()
        for line, before, after in _mistakes(bare):
            alike[before, after] += 1
            number = alike[before, after]
            yield Mutant(
                file=path.relative_to(root).as_posix(),
                function=name,
                line=line,
                before=before,
                after=after if number == 1 else f"{after} ({number})",
                code=_compiled(bare, classes, path),
            )


def _functions(
    body: list[ast.stmt], classes: tuple[ast.ClassDef, ...]
) -> Iterator[tuple[Function, tuple[ast.ClassDef, ...]]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _functions(node.body, (*classes, node))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, classes


def _compiled(function: Function, classes: tuple[ast.ClassDef, ...], path: Path) -> CodeType:
    """In classes of the same names, for the sake of `super()` and of private names."""
    body: ast.stmt = function
    for outer in reversed(classes):
        body = ast.ClassDef(outer.name, [], [], [body], [], type_params=[])
    module = ast.fix_missing_locations(ast.Module([body], []))
    code = _found(compile(module, str(path), "exec", dont_inherit=True), function.name)
    assert code is not None
    return code


def _found(code: CodeType, name: str) -> CodeType | None:
    if code.co_name == name:
        return code
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return next((found for c in inner if (found := _found(c, name)) is not None), None)


def _mistakes(function: Function) -> Iterator[tuple[int, str, str]]:  # noqa: C901 - by field
    """Makes one mistake after the other in place; yields while it is made."""
    ordered = _ordered(function)
    for owner in _walk(function):
        for field, value in _code_of(owner):
            if isinstance(value, ast.expr):
                for wrong in _wrong_expressions(owner, field, value):
                    yield from _made(owner, field, value, wrong)
                if isinstance(value, ast.BoolOp) and owner in ordered:
                    for wrong in _turned(value):
                        yield from _made(owner, field, value, wrong)
            elif field in ("body", "orelse", "finalbody") and isinstance(owner, _BLOCKS):
                for place, statement in enumerate(value):
                    for wrong_block in _wrong_blocks(value, place, statement):
                        yield from _made(owner, field, value, wrong_block)
            elif field == "ifs":  # of a comprehension
                for place in range(len(value)):
                    yield from _made(owner, field, value, [*value[:place], *value[place + 1 :]])
            elif isinstance(value, list) and field in ("elts", "args", "values", "comparators"):
                for place, item in enumerate(value):
                    for wrong in _wrong_expressions(owner, field, item):
                        changed = [*value[:place], wrong, *value[place + 1 :]]
                        yield from _made(owner, field, value, changed)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for _, value in _code_of(node):
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, ast.AST):
                yield from _walk(inner)


def _code_of(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Its fields that do something: neither types nor words for people, which a test may compare
    but need not."""
    match node:
        case ast.JoinedStr() | ast.Raise() | ast.arguments():
            return
        case ast.Call(func=ast.Attribute(value=ast.Name(id="logger"))):
            return
        case ast.Call(func=ast.Name(id="assert_never")):  # mypy proves that it is not reached
            return
        case ast.keyword(arg="detail" | "reason" | "text" | "advice"):
            return
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns", "type_params", "decorator_list"):
            yield field, value


def _made(owner: ast.AST, field: str, value: Any, wrong: Any) -> Iterator[tuple[int, str, str]]:
    first = value[0] if isinstance(value, list) else value
    line = getattr(owner, "lineno", first.lineno)
    before = _text(value)
    setattr(owner, field, wrong)
    try:
        yield line, *_difference(before, _text(wrong))
    finally:
        setattr(owner, field, value)


def _difference(before: str, after: str) -> tuple[str, str]:
    """What the two do not share, with a few words around it."""
    old, new = before.split(" "), after.split(" ")
    shortest = min(len(old), len(new))
    same = next((n for n in range(shortest) if old[n] != new[n]), shortest)
    end = next((n for n in range(shortest - same) if old[-1 - n] != new[-1 - n]), shortest - same)
    start = max(0, same - _CONTEXT)
    stop = max(0, end - _CONTEXT)
    return " ".join(old[start : len(old) - stop]), " ".join(new[start : len(new) - stop])


def _text(value: ast.AST | list[ast.AST]) -> str:
    nodes = value if isinstance(value, list) else [value]
    code = (ast.unparse(node) for node in nodes if not _is_docstring(node))
    return " ".join(" ; ".join(code).split())


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _wrong_expressions(  # noqa: C901 - a table of cases
    owner: ast.AST, field: str, node: ast.AST
) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            if type(op) in _TURNED:
                yield ast.Compare(left, [_TURNED[type(op)]()], [right])
            if isinstance(left, ast.Tuple) and isinstance(right, ast.Tuple):
                yield from _shorter(left, op, right)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for n in range(len(values)):
                rest = [*values[:n], *values[n + 1 :]]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _SWAPPED:
            if not any(isinstance(side, ast.JoinedStr) or _is_text(side) for side in (left, right)):
                yield ast.BinOp(left, _SWAPPED[type(op)](), right)
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield ast.Constant(value + 1)
        case ast.Call() | ast.Name() | ast.Attribute() if _is_test(owner, field):
            yield ast.UnaryOp(ast.Not(), node)
        case ast.Call() | ast.Name() | ast.Attribute() | ast.Await() if isinstance(
            owner, ast.keyword | ast.Return
        ):
            yield ast.Constant(None)


def _ordered(function: Function) -> set[ast.AST]:
    """Where the order of what is joined by `and` or `or` may be seen: what a function gives back,
    unless that is true or false. Then it is at most that one part guards the other, and the part
    left out shows that as well."""
    ordered: set[ast.AST] = set()
    for inner in ast.walk(function):  # each function after the one that it stands in
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            says_truth = isinstance(inner.returns, ast.Name) and inner.returns.id == "bool"
            returned = {node for node in ast.walk(inner) if isinstance(node, ast.Return)}
            ordered = ordered - returned if says_truth else ordered | returned
    return ordered


def _turned(node: ast.BoolOp) -> Iterator[ast.BoolOp]:
    values = node.values
    for n in range(len(values) - 1):
        turned = [*values[:n], values[n + 1], values[n], *values[n + 2 :]]
        yield ast.BoolOp(node.op, turned)


def _is_test(owner: ast.AST, field: str) -> bool:
    return isinstance(owner, ast.If | ast.While | ast.IfExp | ast.match_case) and field in (
        "test",
        "guard",
    )


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def _shorter(left: ast.Tuple, op: ast.cmpop, right: ast.Tuple) -> Iterator[ast.expr]:
    """Each part of a comparison of several things left out in turn."""
    if len(left.elts) != len(right.elts) or len(left.elts) < 2:
        return
    for n in range(len(left.elts)):
        fewer = [ast.Tuple([*t.elts[:n], *t.elts[n + 1 :]], ast.Load()) for t in (left, right)]
        yield ast.Compare(fewer[0], [op], [fewer[1]])


def _wrong_blocks(
    block: list[ast.stmt], place: int, statement: ast.stmt
) -> Iterator[list[ast.stmt]]:
    before, after = block[:place], block[place + 1 :]
    match statement:
        case ast.Expr(value=ast.Constant()):
            return  # a docstring
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="logger")))):
            return
        case ast.Expr(value=ast.Call(func=ast.Name(id="assert_never"))):
            return
        case ast.Expr():
            yield [*before, ast.Pass(), *after]
        case ast.Break():
            yield [*before, ast.Continue(), *after]
        case ast.Continue():
            yield [*before, ast.Pass(), *after]
        case ast.Try(handlers=handlers) if handlers:
            for handler in handlers:
                let_through = copy.copy(handler)
                let_through.body = [ast.Raise()]
                others = [let_through if h is handler else h for h in handlers]
                tried = copy.copy(statement)
                tried.handlers = others
                yield [*before, tried, *after]
    if after and _returns(statement) and _returns(after[0]) and not _apart(statement, after[0]):
        yield [*before, after[0], statement, *after[1:]]


def _apart(one: ast.stmt, other: ast.stmt) -> bool:
    """Two checks that compare one thing with two constants: their order says nothing."""
    match one, other:
        case (
            ast.If(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[this])),
            ast.If(test=ast.Compare(left=same, ops=[ast.Eq()], comparators=[that])),
        ):
            alike = ast.dump(left) == ast.dump(same)
            return alike and ast.dump(this) != ast.dump(that) and _fixed(this) and _fixed(that)
    return False


def _fixed(node: ast.expr) -> bool:
    """A constant: written out, a name in capitals, a member of an enumeration."""
    match node:
        case ast.Constant():
            return True
        case ast.Tuple(elts=parts):
            return all(map(_fixed, parts))
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(), attr=name):
            return name.isupper()
    return False


def _returns(statement: ast.stmt) -> bool:
    """A check that ends the function."""
    return (
        isinstance(statement, ast.If)
        and not statement.orelse
        and isinstance(statement.body[-1], ast.Return)
    )

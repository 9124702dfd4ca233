"""PowerShell read by a grammar that others wrote: what a script calls, and what texts it holds."""

from collections.abc import Iterator
from dataclasses import dataclass

import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

# The grammar knows typewriter's quotes and hyphens alone. PowerShell takes these for the same
# (about_Quoting_Rules; about_Operators).
_AS_READ = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b", "'")
    | dict.fromkeys("\u201c\u201d\u201e", '"')
    | dict.fromkeys("\u2013\u2014\u2015", "-")
)
_PARSER = Parser(Language(tree_sitter_powershell.language()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """`wrong`: what the grammar does not know; `texts`: the values of literals in single quotes."""

    wrong: tuple[str, ...]
    commands: frozenset[str]
    texts: frozenset[str]


def as_read(text: str) -> str:
    return text.translate(_AS_READ)


def read_powershell(script: str) -> Read:
    nodes = list(_walk(_PARSER.parse(as_read(script).encode()).root_node))
    return Read(
        wrong=tuple(_text(n)[:80] for n in nodes if n.type == "ERROR" or n.is_missing),
        commands=frozenset(_text(n) for n in nodes if n.type == "command_name"),
        texts=frozenset(
            _text(n)[1:-1].replace("''", "'")
            for n in nodes
            if n.type == "verbatim_string_characters"
        ),
    )


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _walk(child)


def _text(node: Node) -> str:
    return (node.text or b"").decode()

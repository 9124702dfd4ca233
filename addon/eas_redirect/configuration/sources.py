"""Where a configuration comes from: the file, the environment and the options of a command, as
one document in which each key knows its place. Used by `config.py` only.

An option overrides the environment, the environment the file.
"""

import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from eas_redirect.configuration.foreign_files import HEAD, SETTINGS, kind_of
from eas_redirect.configuration.problems import KeyPath, dotted, is_text_key, leaves, unknown_key

type Override = str | int | float | Path

PREFIX = "EAS_REDIRECT__"
# In place of a file's path: everything is said by the environment. Never taken for granted, since a
# file that is missing by mistake would take its brakes with it.
ENVIRONMENT_ALONE = Path("env:")

MAX_DEPTH = 8  # of a key that is looked up: none of our keys has more than five parts
MAX_LINES = 1000  # of a file whose lines are looked up: the search is quadratic
MAX_GRAMMAR = 20  # errors of TOML's grammar that are told at once

_AT = re.compile(
    r"^(?P<what>.*?) \(at (?:line (?P<line>\d+), column \d+|end of document)\)$", re.DOTALL
)
_PART = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_KEY = re.compile(rf"\s*(?P<key>{_PART}(?:\s*\.\s*{_PART})*)\s*(?P<sign>[=:]?)\s*(?P<value>.*)")
_HEAD = re.compile(rf"\s*\[\[?\s*(?P<table>{_PART}(?:\s*\.\s*{_PART})*)\s*\]")
_COMMENTED_HEAD = re.compile(rf"\s*#[#\s]*(?P<head>\[\[?\s*{_PART}(?:\s*\.\s*{_PART})*\s*\]\]?)")
_BROKEN_HEAD = re.compile(rf"\s*\[+\s*(?P<table>{_PART}(?:\s*\.\s*{_PART})*)")


@dataclass(frozen=True, slots=True)
class Problem:
    """`line` orders the problems; 0 if a problem has no line."""

    text: str
    line: int = 0


@dataclass(slots=True)
class AllSources:
    """What all sources say together. `problems` are faults that make part of a source unreadable;
    `unread` are the dotted keys whose values are lost that way, and need no further message.
    """

    path: Path
    document: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    commented: dict[int, str] = field(default_factory=dict)  # line → head that is a comment
    _elsewhere: dict[str, str] = field(default_factory=dict)  # dotted key → who else says it

    def problem(self, place: KeyPath, message: str) -> Problem | None:
        """A problem with a key's value, and its place; None if an earlier problem caused it."""
        key = dotted(place)
        for source, at in self._elsewhere.items():
            if key == source or key.startswith((f"{source}.", f"{source}[")):
                return Problem(f"{at}: {key}: {message}")
        if self.is_lost(place):
            return None
        nearest = (place[:n] for n in range(len(place), 0, -1))
        line = next((self.lines[p] for p in nearest if p in self.lines), 0)
        where = "the environment" if self.path == ENVIRONMENT_ALONE else str(self.path)
        return Problem(
            f"{where}:{line}: {key}: {message}" if line else f"{where}: {key}: {message}", line
        )

    def commented_head(self, place: KeyPath, tables: Collection[str]) -> int | None:
        """The line of the nearest commented-out head above a key, if it is that of one of `tables`
        and stands below the head that the key now belongs to."""
        at = self.lines.get(place, 0)
        own = max((n for p, n in self.lines.items() if n < at and p == place[:-1]), default=0)
        between = [n for n in self.commented if own < n < at]
        if not between:
            return None
        table = _without_quotes(self.commented[max(between)].strip("[]"))
        return max(between) if table in tables else None

    def is_lost(self, place: KeyPath) -> bool:
        """Whether a key is there but cannot be read, or its table cannot."""
        keys = {dotted(place), dotted(tuple(part for part in place if isinstance(part, str)))}
        return "" in self.unread or any(
            key == lost or key.startswith((f"{lost}.", f"{lost}["))
            for lost in self.unread
            for key in keys
        )

    def is_lost_below(self, table: KeyPath) -> bool:
        """Whether a table has a key or a line that cannot be read."""
        below = f"{dotted(table)}."
        return self.is_lost(table) or any(lost.startswith(below) for lost in self.unread)

    def say(self, key: str, value: object, by: str) -> None:
        """Note a key that is set outside the file, and by whom."""
        self._elsewhere[key] = by
        self.unread.discard(key)
        *tables, name = key.split(".")
        at: Any = self.document
        for table in tables:
            at = at.setdefault(table, {})
            if not isinstance(at, dict):
                return  # that it must be a table is told with the file's problems
        at[name] = value


def collect(
    path: Path,
    overrides: Mapping[str, Override],
    environment: Mapping[str, str],
    model: type[BaseModel],
) -> AllSources:
    """All sources as one document."""
    said = AllSources(path)
    if path != ENVIRONMENT_ALONE:
        _read_file(said)
    for name, text in sorted(environment.items()):
        if name.upper().startswith(PREFIX):
            _read_variable(said, name, text, model)
        elif (meant := _meant_by(name, model)) is not None:
            said.problems.append(Problem(f"{name}: did you mean {meant}?"))
    for key, value in overrides.items():
        said.say(key, str(Path.cwd() / value) if isinstance(value, Path) else value, "an option")
    return said


def set_by_environment(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The keys, dotted, that the environment sets, for people to see."""
    names = os.environ if environment is None else environment
    return tuple(sorted(_key_of(name) for name in names if name.startswith(PREFIX)))


# -- the environment -----------------------------------------------------------------------------


def _key_of(variable: str) -> str:
    return variable[len(PREFIX) :].lower().replace("__", ".")


def _variable(key: str) -> str:
    return PREFIX + key.upper().replace(".", "__")


def _meant_by(name: str, model: type[BaseModel]) -> str | None:
    """The variable that somebody meant who got the underscores wrong (EAS_REDIRECT_MODE). Without
    this, a brake set that way would be ignored."""
    plain = re.sub("_+", "", name.upper())
    if not plain.startswith(PREFIX.replace("_", "")):
        return None
    known = map(_variable, leaves(model))
    return next((variable for variable in known if variable.replace("_", "") == plain), None)


def _read_variable(said: AllSources, name: str, text: str, model: type[BaseModel]) -> None:
    key = _key_of(name)
    known = leaves(model)
    if name != name.upper():
        said.problems.append(Problem(f"{name}: write it in capitals: {name.upper()}"))
    elif key not in known:
        said.problems.append(Problem(f"{name}: {_unknown_variable(key, model)}"))
    elif not text.strip():
        said.problems.append(Problem(f"{name}: is empty: give it a value, or do not set it"))
    else:
        try:
            value = _value(text, text_key=is_text_key(known[key]))
        except ValueError as error:
            said.problems.append(Problem(f"{name}: {error}"))
            said.unread.add(key)
            return
        said.say(key, value, name)
        return
    said.unread.add(key)


def _unknown_variable(key: str, model: type[BaseModel]) -> str:
    table = [known for known in leaves(model) if known.startswith(f"{key}.")]
    if table:
        return f"names a table: set its keys one by one, such as {_variable(table[0])}"
    message = unknown_key(tuple(key.split(".")), model)
    head, mark, meant = message.partition("did you mean ")
    if not mark or meant.removesuffix("?") not in leaves(model):
        return head.rstrip("; ") or message
    return f"{head}{mark}{_variable(meant.removesuffix('?'))}?"


def _value(text: str, *, text_key: bool) -> object:
    """A TOML value. A key of text also takes a bare word; what is in quotes is a TOML string."""
    text = text.strip()
    if text_key and text[0] not in "\"'":
        return text
    try:
        document = parsed(f"value = {text}")
    except tomllib.TOMLDecodeError:
        document = {}
    if document.keys() != {"value"}:
        raise ValueError(
            "the quotes do not close, or something stands behind them"
            if text_key
            else 'is no TOML value: write a list as ["a", "b"], true or false, or a number'
        )
    return document["value"]


# -- the file ------------------------------------------------------------------------------------


class UnreadableFileError(Exception):
    """A file that cannot be read as text. The message can be shown as a problem."""


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        problem = "there is no such file; `eas-redirect init` writes one"
    except IsADirectoryError:
        problem = "is a folder: name the eas-redirect.toml in it"
    except UnicodeDecodeError:
        problem = "is no text in UTF-8: save it as UTF-8"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    raise UnreadableFileError(f"{path}: {problem}")


def _read_file(said: AllSources) -> None:
    try:
        text = read_text(said.path)
        kind = kind_of(text[:HEAD].encode())
        if kind is not None and kind != SETTINGS and not _is_toml(text):
            raise UnreadableFileError(f"{said.path}: is {kind} and no eas-redirect.toml")
        take_in_document(said, text)
    except UnreadableFileError as error:
        said.problems.append(Problem(str(error)))
        said.unread.add("")


def _is_toml(text: str) -> bool:
    try:
        parsed(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def take_in_document(said: AllSources, text: str) -> None:
    """Add a file's text. A statement that is not TOML becomes a problem and is left out."""
    lines = text.splitlines()
    heads = ((n, _COMMENTED_HEAD.match(line)) for n, line in enumerate(lines, start=1))
    said.commented = {n: found["head"] for n, found in heads if found}
    for _ in range(MAX_GRAMMAR):
        try:
            said.document = parsed("\n".join(lines))
        except tomllib.TOMLDecodeError as error:
            number = _take_out(said, str(error), lines)
            if number is None:
                break
            continue
        break
    said.lines = key_lines("\n".join(lines))


def _take_out(said: AllSources, message: str, lines: list[str]) -> int | None:
    """Report an error of grammar and blank its statement, so that the rest can be read. None if no
    line is to blame."""
    at = _AT.match(message)
    what = at["what"] if at else message
    number = int(at["line"]) if at and at["line"] else len(lines)
    begin = _begin(lines, number)
    if not 0 < begin <= number or not lines[begin - 1].strip():
        said.problems.append(Problem(f"{said.path}: is no TOML: {_own_words(what)}"))
        said.unread.add("")
        return None
    key, is_head = _key_on(lines, begin), lines[begin - 1].lstrip().startswith("[")
    if key:
        said.unread.add(key)
    if begin == number:
        advice, end = _advice(what, lines[number - 1]), number
    else:
        number, advice, end = _within(lines, begin, number)
    said.problems.append(Problem(f"{said.path}:{number}: {advice}", number))
    lines[begin - 1 : end] = [""] * (end - begin + 1)
    if is_head:  # what stands below it belongs to no other table
        said.unread.add(f"unread {begin}")
        lines[begin - 1] = f"['unread {begin}']"
    return number


def _begin(lines: list[str], number: int) -> int:
    """The first line of the statement that cannot be read beyond line `number`."""
    for begin in range(number, 0, -1):
        try:
            parsed("\n".join(lines[: begin - 1]))
        except tomllib.TOMLDecodeError:
            continue
        beyond = range(begin, number)
        return next((n for n in beyond if lines[n - 1].partition("#")[0].strip()), number)
    return number


def _within(lines: list[str], begin: int, number: int) -> tuple[int, str, int]:
    """For a statement of several lines: the line to blame, what to write instead, and its last
    line, taken to be the one before the next statement."""
    key = _key_on(lines, begin).rpartition(".")[2]
    end = begin
    while end < len(lines) and not _is_statement(lines[end]):
        end += 1
        if lines[end - 1].strip() in ("]", "}", '"""', "'''"):
            break
    if lines[begin - 1].count('"""') % 2 or lines[begin - 1].count("'''") % 2:
        return begin, f"{key}: a text of several lines is not closed", end
    if number > end or not lines[number - 1].strip() or lines[end - 1].strip() != "]":
        return begin, f"{key}: a list is not closed: write ] behind its last item", end
    return number, f"{key}: a comma is missing between two items, or quotes around one", end


def _is_statement(line: str) -> bool:
    found = _KEY.match(line)
    return bool(_HEAD.match(line)) or (found is not None and found["sign"] == "=")


def _key_on(lines: list[str], number: int) -> str:
    """The dotted key of the statement that begins on a line."""
    if broken := _BROKEN_HEAD.match(lines[number - 1]):
        return _without_quotes(broken["table"])
    heads = (found["table"] for line in lines[number - 1 :: -1] if (found := _HEAD.match(line)))
    table = _without_quotes(next(heads, ""))
    found = _KEY.match(lines[number - 1])
    key = _without_quotes(found["key"]) if found else "a line"
    return f"{table}.{key}" if table else key


def _without_quotes(key: str) -> str:
    """A dotted key as `dotted` writes it, even from `'redirect' . only`."""
    return ".".join(part.strip("\"'") for part in re.findall(_PART, key))


_SMART = re.compile("[\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb]")
_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_OWN_WORDS = (
    ("Unclosed array", "a list is not closed: write ] behind it, and a comma between two items"),
    ("Unclosed inline table", "a table is not closed: write } behind it"),
    ("nested", "lists or tables are nested too deeply"),
    ("digits", "a number has too many digits"),
    ("Unterminated", "a text is not closed: write the quote behind it"),
    ("Expected", "something is missing at the end"),
    ("Illegal", "it holds a character that TOML does not allow"),
)


def _own_words(what: str) -> str:
    return next((said for sign, said in _OWN_WORDS if sign in what), "something is missing")


def _advice(what: str, line: str) -> str:
    """What to write instead. `what` is tomllib's sentence about `line`."""
    statement = _KEY.match(line)
    key = statement["key"] if statement else line.strip()
    if "declare" in what and "twice" in what:
        return f"the table {key} stands here a second time: move its keys into the first"
    if "overwrite" in what or "mutate" in what or "redefine" in what:
        return f"{key} is given a second time: keep one of the two"
    if _SMART.search(line):
        return f'write straight quotes, as in {key if statement else "key"} = "text"'
    if "\\" in line and ("escape" in what.lower() or "\\" in what or "hex" in what):
        return f"a backslash in double quotes begins an escape: use single quotes{_around(line)}"
    if "nested" in what or "digits" in what:
        return _own_words(what)
    if statement is not None:
        return _advice_on_key(key, statement["sign"], statement["value"])
    if line.lstrip().startswith((";", "//")):
        return "a comment begins with #"
    if line.lstrip().startswith("["):
        return "a table's head is written as [name] on a line of its own"
    return f"is no line of TOML: write key = value, with text in quotes ({_own_words(what)})"


def _advice_on_key(key: str, sign: str, rest: str) -> str:
    """Advice on a line that begins like `key = value`."""
    value = rest.partition(" #")[0].strip()
    if sign == ":":
        return f"write = between a key and its value: {key} = {value}"
    if not value:
        return f"{key} has no value: write {key} = …"
    if not sign:
        return f"write = between a key and its value: {key} = …"
    if value.lower() in _WORDS or value in ("True", "False"):
        return f"write {key} = {_WORDS.get(value.lower(), value.lower())}"
    if value[0] == "[":
        return f"{key}: write each item of a list in quotes, a comma between two, and ] at the end"
    if value[0] == "{":
        return f"{key}: a table in one line is written as {{ name = 'text', other = 'text' }}"
    if value[0] in "\"'" and value.count(value[0]) % 2:
        return f"{key}: the text is not closed: write {value[0]} behind it"
    if value[0] in "\"'":
        return f'{key}: something stands behind the text; a list is written as ["a", "b"]'
    if re.fullmatch(r"[+-]?[\d_.,]+", value):
        return f"{key}: is no number as TOML writes it"
    if re.fullmatch(r"[0-9.]+\s*%", value):
        return f"write the number alone: {key} = {value.rstrip('% ')}"
    quote = "'" if "\\" in value or '"' in value else '"'
    return f"write text in quotes: {key} = {quote}{value}{quote}"


def _around(line: str) -> str:
    """The text that should stand in single quotes, if the line shows it."""
    found = [text for text in re.findall(r'"([^"]*)"', line) if "\\" in text and "'" not in text]
    return f" around {found[0]}: '{found[0]}'" if found else ""


def parsed(text: str) -> dict[str, Any]:
    """Parse TOML. Raises TOMLDecodeError also where `tomllib` runs out of depth or digits."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise tomllib.TOMLDecodeError("lists or tables are nested too deeply") from None
    except ValueError:  # Python's bound on the digits of an integer
        raise tomllib.TOMLDecodeError("a number has too many digits") from None


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line on which each key of a TOML document begins.

    `tomllib` keeps no lines, so each beginning of the document that is itself a document is
    parsed: a key stands in the statement that made it appear.
    """
    lines = text.splitlines()
    found: dict[KeyPath, int] = {}
    begin: int | None = None
    for number, line in enumerate(lines[:MAX_LINES], start=1):
        if begin is None and line.strip() and not line.lstrip().startswith("#"):
            begin = number
        if begin is None:
            continue
        try:
            document = parsed("\n".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            continue
        for place in _places(document):
            found.setdefault(place, begin)
        begin = None
    return found


def _places(value: object, place: KeyPath = ()) -> Iterator[KeyPath]:
    if place:
        yield place
    if len(place) >= MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _places(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _places(inner, (*place, index))

"""What is wrong with an eas-redirect.toml, in words and with its place. For `config.py` only."""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from eas_redirect.configuration.values import WHERE_SECRETS_BELONG

type Place = tuple[int | str, ...]

MAX_DEPTH = 8  # of a key that is looked up: no key of ours has more parts than five
MAX_LINES = 1000  # of a file whose lines are looked up: the search is quadratic
MODE_IS_NOT_SAID = (
    "is not said. Write one of these two lines at the top of the file:\n"
    '    mode = "observe"    # decides and journals, changes nothing\n'
    '    mode = "enforce"    # redirects'
)
_SECRET_WORDS = ("password", "passwd", "pwd", "secret", "token")
_MESSAGES = {
    "missing": "is required",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text in quotes",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "finite_number": "must be a finite number",
}


def parsed(text: str) -> dict[str, Any]:
    """A TOML document, or TOMLDecodeError also for what `tomllib` has no room for."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise tomllib.TOMLDecodeError("lists or tables are nested too deeply") from None
    except ValueError:  # Python's bound on the digits of an integer
        raise tomllib.TOMLDecodeError("a number has too many digits") from None


def dotted(place: Place) -> str:
    """`("directory", "servers", 1)` as `directory.servers[1]`."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":
            text += f".{part}" if text else part
    return text


def in_words(error: ErrorDetails, model: type[BaseModel]) -> str:
    """One of pydantic's errors as a clause that follows the place."""
    kind = error["type"]
    if kind == "missing" and error["loc"] == ("mode",):
        return MODE_IS_NOT_SAID
    if kind == "extra_forbidden":
        return _unknown(error["loc"], model)
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind in _MESSAGES:
        return _MESSAGES[kind]
    return error["msg"].replace("Input should be", "must be")


def _unknown(place: Place, model: type[BaseModel]) -> str:
    name = str(place[-1])
    if any(word in name.lower() for word in _SECRET_WORDS):
        return f"unknown key; {WHERE_SECRETS_BELONG}"
    path = dotted(tuple(part for part in place if not isinstance(part, int)))
    keys = [key for key in known_keys(model) if not path.startswith(f"{key}.")]
    siblings = {key.rpartition(".")[2]: key for key in keys if key.count(".") == path.count(".")}
    near = difflib.get_close_matches(path, keys, n=1, cutoff=0.75)
    meant = near or [siblings[n] for n in difflib.get_close_matches(name, siblings, n=1)]
    meant = meant or [key for key in keys if key.rpartition(".")[2] == name]
    return f"unknown key; did you mean {meant[0]}?" if meant else "unknown key"


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of a model and of the models in it, dotted, as the file writes them."""
    for name, info in model.model_fields.items():
        key = prefix + (info.alias or name)
        yield key
        for inner in _models_in(info.annotation):
            yield from known_keys(inner, f"{key}.")


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    if hasattr(annotation, "__value__"):  # a `type` alias applied to something
        yield from _models_in(getattr(annotation, "__args__", (None,))[0])
        return
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def key_lines(text: str) -> dict[Place, int]:
    """The line on which each key of a TOML document begins.

    `tomllib` keeps no lines, so each beginning of the document that is itself a document is
    parsed: a key stands in the statement that made it appear.
    """
    lines = text.splitlines()
    found: dict[Place, int] = {}
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


def _places(value: object, place: Place = ()) -> Iterator[Place]:
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

"""What is wrong with a value, in words and with its place; and which keys exist.

For `config.py` and `sources.py` only. Nobody sees a sentence of pydantic's own.
"""

import difflib
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from eas_redirect.configuration.kinds import WHERE_SECRETS_BELONG, Listen

type KeyPath = tuple[int | str, ...]

MODE_IS_NOT_SAID = (
    "is not said. Write one of these two lines at the top of the file,\n"
    "or set EAS_REDIRECT__MODE to one of the two words:\n"
    '    mode = "observe"    # decides and journals, changes nothing\n'
    '    mode = "enforce"    # redirects'
)
_SECRET_WORDS = ("password", "passwd", "pwd", "secret", "token")
_MESSAGES = {
    "missing": "is required",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number, without quotes and without %",
    "string_type": "must be text in quotes",
    "tuple_type": 'must be a list in brackets, such as ["one", "two"]',
    "dict_type": "must be a table",
    "finite_number": "must be a finite number",
    "int_from_float": "must be a whole number",
    "too_short": "names nothing: give it at least one item, or leave it out",
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
}


def dotted(place: KeyPath) -> str:
    """`("directory", "servers", 1)` as `directory.servers[1]`."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":
            text += f".{part}" if text else part
    return text


def problem_in_words(error: ErrorDetails, model: type[BaseModel]) -> str:
    """One of pydantic's errors as a clause that follows the place."""
    kind = error["type"]
    if kind == "missing" and error["loc"] == ("mode",):
        return MODE_IS_NOT_SAID
    if kind == "extra_forbidden":
        return unknown_key(error["loc"], model)
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind in ("model_type", "model_attributes_type"):
        return (
            f"must be a table: write [{dotted(error['loc'])}] on a line of its own, its keys below"
        )
    if kind == "literal_error" and not isinstance(error["input"], str):
        return f"must be {error['ctx']['expected']}, with the quotes"
    return _MESSAGES.get(kind, "is no value for this key").format(**error.get("ctx", {}))


def unknown_key(place: KeyPath, model: type[BaseModel]) -> str:
    name = str(place[-1])
    if any(word in name.lower() for word in _SECRET_WORDS):
        return f"unknown key; {WHERE_SECRETS_BELONG}"
    path = dotted(tuple(part for part in place if not isinstance(part, int)))
    if name == "mode":
        table = dotted(place[:-1])
        return f"stands below [{table}]: move the line to the top of the file, above every [table]"
    keys = [key for key in known_keys(model) if not path.startswith(f"{key}.")]
    siblings = {key.rpartition(".")[2]: key for key in keys if key.count(".") == path.count(".")}
    near = difflib.get_close_matches(path, keys, n=1, cutoff=0.75)
    meant = near or [siblings[n] for n in difflib.get_close_matches(name, siblings, n=1)]
    meant = meant or [key for key in keys if key.rpartition(".")[2] == name]
    return f"unknown key; did you mean {meant[0]}?" if meant else "unknown key"


def leaves(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Every key that takes a value, dotted, with the value's type. A list of tables is a value."""
    found: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        key = prefix + (info.alias or name)
        table = _table(info.annotation)
        found |= {key: info.annotation} if table is None else leaves(table, f"{key}.")
    return found


def _table(annotation: Any) -> type[BaseModel] | None:
    is_union = get_origin(annotation) in (Union, UnionType)
    kinds = get_args(annotation) if is_union else (annotation,)
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)


def is_text_key(annotation: Any) -> bool:
    """Whether a key's value is written in quotes: a name, a path, or one of several words."""
    annotation = getattr(annotation, "__value__", annotation)
    if get_origin(annotation) is Literal:
        return True
    if get_origin(annotation) is Annotated:
        return is_text_key(get_args(annotation)[0])
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    if kinds:
        return get_origin(annotation) in (Union, UnionType) and all(map(is_text_key, kinds))
    return isinstance(annotation, type) and issubclass(annotation, str | Path | Listen)


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

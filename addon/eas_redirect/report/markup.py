"""HTML and SVG as escaped text: what is no `HTML` already is text, whatever it holds. Pure."""

from collections.abc import Iterable
from html import escape
from unicodedata import category

MAX_TEXT = 400  # characters of one text on a page; the CSV and the JSON have the whole
_VOID = frozenset({"meta", "wbr"})


class HTML(str):
    """Markup that this room made. Any other string is escaped where it enters a page."""

    __slots__ = ()


type Child = str | int | Iterable["Child"] | None


def tag(name: str, /, *children: Child, **attributes: str | float | bool | None) -> HTML:
    """An element. `class_` is `class`, other underscores are hyphens; None and False leave an
    attribute out, True gives it without a value."""
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return HTML(f"<{name}{written}>")
    return HTML(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> HTML:
    return HTML("".join(_markup(child) for child in children))


def text(value: str) -> HTML:
    """A value as a reader may see it: bounded, and nothing in it that steers the text around it
    (control, format and unassigned characters: Unicode categories C)."""
    shown = value if len(value) <= MAX_TEXT else value[: MAX_TEXT - 1] + "…"
    return HTML(_harmless(shown))


def _harmless(value: str) -> str:
    if value.isprintable():
        return escape(value)
    steering = (category(char).startswith("C") for char in value)
    return escape(
        "".join(
            "\N{REPLACEMENT CHARACTER}" if steers else char
            for char, steers in zip(value, steering, strict=True)
        )
    )


def _markup(child: Child) -> str:
    match child:
        case None:
            return ""
        case HTML():
            return child
        case str():
            return text(child)
        case int():
            return str(child)
        case _:
            return join(child)


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    if isinstance(value, float):
        value = f"{value:.2f}".rstrip("0").rstrip(".")
    return f' {name}="{_harmless(str(value))}"'

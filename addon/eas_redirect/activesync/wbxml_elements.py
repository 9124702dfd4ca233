"""Making elements quickly while bytes are read; see `wbxml_reader`. Standard library only."""

from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from eas_redirect.activesync.wbxml_values import Attribute, Element, Node, TableText


@lru_cache(maxsize=16384)
def leaf(page: int, token: int, hollow: bool) -> Element:
    """Elements without content are alike, and long runs of them are what makes input dear."""
    return Element(page, token, hollow=hollow)


@dataclass(slots=True)
class _Unfrozen:
    """The fields of `Element`, in its order. Setting them before they are frozen, by changing the
    class, takes a third of the time, and making elements is most of the work of reading."""

    page: int
    token: int
    children: tuple[Node, ...]
    attributes: tuple[Attribute, ...] = ()
    literal: TableText | None = None
    hollow: bool = False


def quick_element(page: int, token: int, children: tuple[Node, ...]) -> Element:
    """`Element(page, token, children)`, quickly."""
    made = _Unfrozen(page, token, children)
    made.__class__ = Element  # type: ignore[assignment]
    return cast("Element", made)


class OpenElement:
    """An element whose END has not come yet."""

    __slots__ = ("attributes", "children", "literal", "page", "token")

    def __init__(
        self, page: int, token: int, attributes: tuple[Attribute, ...], literal: TableText | None
    ) -> None:
        self.page = page
        self.token = token
        self.attributes = attributes
        self.literal = literal
        self.children: list[Node] = []

    def closed(self) -> Element:
        children = tuple(self.children)
        if not self.attributes and self.literal is None:
            if not children:
                return leaf(self.page, self.token, True)
            return quick_element(self.page, self.token, children)
        return Element(self.page, self.token, children, self.attributes, self.literal, not children)

"""Making elements quickly while bytes are read; see `wbxml_reader`. Standard library only."""

from functools import lru_cache

from eas_redirect.activesync.wbxml_values import Attribute, Element, Node, TableText

_new = tuple.__new__


@lru_cache(maxsize=16384)
def leaf(page: int, token: int, hollow: bool) -> Element:
    """Elements without content are alike, and long runs of them are what makes input dear."""
    return Element(page, token, hollow=hollow)


def quick_element(page: int, token: int, children: tuple[Node, ...]) -> Element:
    """`Element(page, token, children)`, in half the time."""
    return _new(Element, (page, token, children, (), None, False))


type Open = tuple[list[Node], int, int, tuple[Attribute, ...], TableText | None]
"""An element whose END has not come yet: its children so far, page, token, attributes, literal."""


def closed(ended: Open) -> Element:
    """An open element, now that its END has come."""
    inside, page, token, attributes, literal = ended
    if attributes or literal is not None:
        return Element(page, token, tuple(inside), attributes, literal, not inside)
    return quick_element(page, token, tuple(inside)) if inside else leaf(page, token, True)

"""A part of mitmproxy is replaced where its source is known, and put back whole."""

import sys
from types import ModuleType

from eas_redirect.fixes.http1 import FIXES
from eas_redirect.proxy.part import Part, is_in_place


class Parent:
    def inherited(self) -> str:
        return "the original"


class Child(Parent):
    def own(self) -> str:
        return "the original"


def replacement(_self: Child) -> str:
    return "the replacement"


OWN = Child.own
REPLACEMENTS = ((Child, "own", replacement), (Child, "inherited", replacement))


def part(*known: str) -> Part:
    return Part("a test", REPLACEMENTS, stands_on=(OWN,), known=known)


def test_a_known_source_is_replaced_and_put_back() -> None:
    made = part(part().digest())
    assert made.put()
    assert made.put(), "twice is once"
    assert is_in_place("a test")
    assert (Child().own(), Child().inherited()) == ("the replacement", "the replacement")
    made.put_back()
    made.put_back()
    assert not is_in_place("a test")
    assert (Child().own(), Child().inherited()) == ("the original", "the original")
    assert "inherited" not in vars(Child)


def test_an_unknown_source_is_left_as_it_is() -> None:
    made = part("0123456789abcdef")
    assert not made.put()
    assert Child().own() == "the original"


def test_a_source_that_cannot_be_read_is_an_unknown_one() -> None:
    assert Part("a test", (), stands_on=(len,), known=()).digest() == ""
    assert not Part("a test", (), stands_on=(len,), known=("0123456789abcdef",)).put()


def test_the_fixes_stand_on_all_that_they_replace() -> None:
    """Each replaced function is in a module, or is a function, that the digest is of."""
    modules = {each.__name__ for each in FIXES.stands_on if isinstance(each, ModuleType)}
    functions = {each for each in FIXES.stands_on if not isinstance(each, ModuleType)}
    FIXES.put_back()
    for owner, name, _ in FIXES._replacements:
        original = getattr(owner, name)
        known = original.__module__ in modules or original in functions
        assert known, f"{owner.__name__}.{name} of {sys.modules[original.__module__]}"

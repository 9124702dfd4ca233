"""Pages from templates: whatever is text stays text, and nothing comes from elsewhere."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.report.certificate import Outcome
from eas_redirect.report.page import PAGE_POLICY, PageSection, Paragraph
from eas_redirect.report.page_tables import Cell, Head, Piece, table
from eas_redirect.telemetry.html_pages import (
    asset,
    render_page,
    security_policy,
    shown,
    span,
)


class Reader(HTMLParser):
    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def page(value: str) -> str:
    """A page in which this text stands wherever a text of somebody's can."""
    forms = ("text", "small", "code", "badge", "names")
    cell = Cell(shown=tuple(Piece(value, form) for form in forms), sort=value)  # type: ignore[arg-type]
    sheet = table(value, (Head(title="A"), Head(title=value, kind="who")), [(value, cell)])
    return render_page(
        "report.html",
        {
            "title": value,
            "heading": value,
            "period": value,
            "notes": (value,),
            "verdict": PageSection(title=value, words=value, parts=(sheet, Paragraph(text=value))),
            "tiles": ((value, 1, value, ""),),
            "sections": (PageSection(title=value, parts=(Paragraph(points=(value, value)),)),),
            "made": value,
            "policy": PAGE_POLICY,
        },
    )


PLAIN = Reader(page("x"))


@given(st.text(min_size=1, max_size=500))
def test_any_text_is_read_back_as_text(value: str) -> None:
    read = Reader(page(value))
    assert read.tags == PLAIN.tags
    assert [name for name, _ in read.attributes] == [name for name, _ in PLAIN.attributes]
    assert all(c.isprintable() or c in "\n\t\xa0\u202f" for text in read.texts for c in text)


@pytest.mark.parametrize(
    "value",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "{{ 7 * 7 }}",
        "a\u202egnp.exe",
    ],
)
def test_hostile_text_is_none_of_the_page(value: str) -> None:
    made = page(value)
    assert "<script>alert" not in made
    assert "<img" not in made
    assert "49" not in Reader(made).texts
    assert "\u202e" not in made


def test_a_page_loads_nothing_and_its_policy_knows_its_own_parts_alone() -> None:
    made = page("x")
    assert not re.search(r"(src|href)=|url\(|@import|style=", made)
    assert PAGE_POLICY.startswith("default-src 'none'; style-src 'sha256-")
    assert "connect-src" not in PAGE_POLICY
    assert "connect-src 'self'" in security_policy("page.css", "status.js", connects=True)
    assert asset("page.css") in made


def test_texts_are_bounded() -> None:
    assert shown("x" * 500).endswith("…")
    assert len(shown("x" * 500, 40)) == 40
    assert shown(None) == shown("") == "–"
    assert [span(s) for s in (0, 59, 61, 3600, 90061, -5)] == [
        "0 s", "59 s", "1 min 1 s", "1 h", "1 d 1 h", "0 s",
    ]  # fmt: skip
    assert Outcome.MAY_GO.value in page(Outcome.MAY_GO.value)

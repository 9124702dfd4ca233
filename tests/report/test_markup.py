"""Markup: whatever is text stays text."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.report.markup import HTML, MAX_TEXT, tag, text
from eas_redirect.report.plots import Column, Series, bars, stacked
from eas_redirect.report.words import length, size
from eas_redirect.telemetry.printable import number


class Reader(HTMLParser):
    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(max_size=500))
def test_any_text_is_read_back_as_text(value: str) -> None:
    read = Reader(tag("p", value, title=value))
    assert read.tags == ["p"]
    assert [name for name, _ in read.attributes] == ["title"]
    if value.isprintable() and len(value) <= MAX_TEXT:
        assert read.text == value
        assert read.attributes[0][1] == value
    assert "\u202e" not in read.text


def test_our_own_markup_stays_markup() -> None:
    assert tag("p", HTML("<b>x</b>"), ["a", tag("i", 1)], None) == "<p><b>x</b>a<i>1</i></p>"
    assert tag("meta", charset="utf-8", hidden=True, class_=None) == '<meta charset="utf-8" hidden>'
    assert text("x" * 500).endswith("…")


@given(
    st.lists(
        st.tuples(st.text(max_size=9), st.lists(st.integers(0, 10**9), min_size=2, max_size=2))
    )
)
def test_plots_of_any_figures_stay_inside(rows: list[tuple[str, list[int]]]) -> None:
    series = (Series(title="a", colour="c0"), Series(title="b", colour="c1"))
    columns = [Column(label=label, values=tuple(values)) for label, values in rows]
    drawn = Reader(stacked("Plot", series, columns))
    heights = [float(v or 0) for name, v in drawn.attributes if name in ("y", "height", "x")]
    assert all(-0.01 <= value <= 960.01 for value in heights)
    Reader(bars("Bars", [(label, values[0], "c0") for label, values in rows]))


def test_figures_in_words() -> None:
    assert number(1234567) == "1\u202f234\u202f567"
    assert [length(s) for s in (5, 300, 5400, 7200, 90000, 864000, None)] == [
        "under 1 min",
        "5 min",
        "1 h 30 min",
        "2 h",
        "1 d 1 h",
        "10 d",
        "",
    ]
    assert [size(n) for n in (5, 1500, 2_500_000, 9_000_000_000)] == [
        "5 B",
        "1.5 kB",
        "2.5 MB",
        "9 GB",
    ]

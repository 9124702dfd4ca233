"""Plots: their figures stay inside, and are said in words."""

from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.report.plots import Column, Series, bars, stacked
from eas_redirect.report.words import length, size
from eas_redirect.telemetry.printable import number


@given(
    st.lists(
        st.tuples(st.text(max_size=9), st.lists(st.integers(0, 10**9), min_size=2, max_size=2))
    )
)
def test_plots_of_any_figures_stay_inside(rows: list[tuple[str, list[int]]]) -> None:
    series = (Series(title="a", colour="c0"), Series(title="b", colour="c1"))
    columns = [Column(label=label, values=tuple(values)) for label, values in rows]
    drawn = stacked("Plot", series, columns)
    for box in drawn.boxes:
        assert all(-0.01 <= float(v) <= 960.01 for v in (box.x, box.y, box.width, box.height))
        assert float(box.x) + float(box.width) <= 960.01
        assert float(box.y) + float(box.height) <= 260.01
    shares = bars("Bars", [(label, values[0], "c0") for label, values in rows]).bars
    assert all(0 <= float(bar.share) <= 100 for bar in shares)


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

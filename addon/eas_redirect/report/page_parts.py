"""What the sections of the page share. Pure."""

from eas_redirect.report import page_tables as tables
from eas_redirect.report.markup import HTML, Child, tag
from eas_redirect.report.words import number


def section(title: str, words: str | None, *parts: Child) -> HTML:
    return tag(
        "section", tag("h2", title), tag("p", words, class_="aside") if words else None, parts
    )


def cut(total: int) -> HTML | None:
    if total <= tables.SHOWN:
        return None
    return tag(
        "p",
        f"The first {number(tables.SHOWN)} of {number(total)}; --csv and --json have all.",
        class_="aside",
    )

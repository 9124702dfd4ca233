"""The page: a `Report` in, one self-contained HTML file out. Pure.

No script, font or image from elsewhere: a Content-Security-Policy lets in this page's own style and
script by their hashes, and nothing else.
"""

import base64
import hashlib
from importlib.resources import files

from eas_redirect.report import page_front as front
from eas_redirect.report import page_history as history
from eas_redirect.report import page_lists as lists
from eas_redirect.report.markup import HTML, Child, tag
from eas_redirect.report.page_handover import handover
from eas_redirect.report.report_values import Report
from eas_redirect.report.words import counted, moment, number, size


def render(report: Report) -> str:
    """The whole file."""
    body = (_header(report), _main(report), _footer(report))
    return document(f"Who followed · {_period(report)}", body)


def document(title: str, body: Child) -> str:
    """A self-contained file with this page's style and script."""
    style, script = _asset("report.css"), _asset("report.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}';"
        " base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="robots", content="noindex"),
        tag("title", title),
        tag("style", HTML(style)),
    )
    whole = tag("html", head, tag("body", body, tag("script", HTML(script))), lang="en")
    return f"<!doctype html>\n{whole}\n"


def _main(report: Report) -> HTML:
    """What to do first, then how it came about, then everything."""
    return tag(
        "main",
        front.verdict(report),
        front.tiles(report),
        front.stuck(report),
        handover(report),
        front.obstacles(report),
        history.states(report),
        history.arrivals(report),
        history.decisions(report),
        lists.readiness(report),
        lists.groups(report),
        lists.discoveries(report),
        lists.latency(report),
        lists.devices(report),
    )


def _header(report: Report) -> HTML:
    return tag(
        "header",
        tag("h1", "Who followed, who did not"),
        tag("p", _period(report), class_="period"),
        [tag("p", note, class_="note") for note in report.notes],
        [tag("p", note, class_="note") for note in report.target.notes] if report.target else None,
    )


def _footer(report: Report) -> HTML:
    read = report.input
    return tag(
        "footer",
        tag(
            "p",
            f"Made {moment(report.now_s)} UTC from {counted(read.files, 'file')},"
            f" {size(read.bytes)}, {counted(read.lines, 'line')}:"
            f" {counted(read.exchanges, 'exchange')},"
            f" {counted(read.events, 'event')}, {number(read.torn)} torn,"
            f" {number(read.foreign)} foreign, {number(read.untimed)} without a usable time,"
            f" {number(read.future)} dated in the future. All times are UTC.",
        ),
    )


def _period(report: Report) -> str:
    if report.since_s is None or report.until_s is None:
        return "no journal lines"
    return f"{moment(report.since_s)} to {moment(report.until_s)} UTC"


def _asset(name: str) -> str:
    return files("eas_redirect").joinpath(f"data/{name}").read_text("utf-8")


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()

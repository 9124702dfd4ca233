"""The status page: what it says, that nothing in it can run, and how it looks in a browser."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from selenium import webdriver

from eas_redirect.directory.values import CacheStatistics
from eas_redirect.telemetry.site import MetricsSite, Views
from eas_redirect.telemetry.status import (
    ConfigurationLine,
    DirectoryLine,
    Status,
    UpstreamLine,
)
from eas_redirect.telemetry.status_page import CONTENT_SECURITY_POLICY, render
from eas_redirect.telemetry.web import ListenAddress
from tests.browser import complaints, open_browser, screenshot
from tests.telemetry.statuses import HOSTILE_STATUS, LIVELY, NOW_S

QUIET = Status(now_s=NOW_S, started_s=NOW_S, mode="observe")


class Outline(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_says_what_runs() -> None:
    text = Outline(render(LIVELY)).text
    for part in (
        "enforce", "ready", "up 1 d 2 h", "2 workers", "906,283", "3,120", "1,388",
        "ldaps://dc1.contoso.example", "98 % of 49,725", "outlook.office365.com", "mailbox_moved",
        "CONTOSO\\cleo", "http://outlook.com/owa/contoso.onmicrosoft.example", "5 min 12 s ago",
    ):  # fmt: skip
        assert part in text


def test_a_fresh_start_has_nothing_to_show_and_says_so() -> None:
    text = Outline(render(QUIET)).text
    assert "None yet." in text
    assert "not ready" in text
    assert "never" in text


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (replace(LIVELY, configuration=ConfigurationLine(problem="mode: no such mode")),
         "the last good one stays in force: mode: no such mode"),
        (replace(LIVELY, directory=DirectoryLine(state="stale", problem="timeout")), "timeout"),
        (replace(LIVELY, directory=DirectoryLine(unseen=("not one user shows homeMDB",))),
         "not one user shows homeMDB"),
        (replace(LIVELY, relationships=()), "CN=Federation"),
        (replace(LIVELY, upstream=UpstreamLine(address="ex:443")), "Exchange does not answer"),
        (replace(LIVELY, hanging=1), "Workers that do not answer: 1."),
    ],
    ids=["configuration", "directory", "unseen", "no relationships", "upstream", "hanging"],
)  # fmt: skip
def test_what_needs_a_person_is_a_sentence(status: Status, sentence: str) -> None:
    assert sentence in Outline(render(status)).text
    assert sentence not in Outline(render(LIVELY)).text


def test_draining_is_shown() -> None:
    assert "draining" in Outline(render(replace(LIVELY, draining=True))).text


def test_hostile_strings_stay_text() -> None:
    page, harmless = Outline(render(HOSTILE_STATUS)), Outline(render(LIVELY))
    assert page.tags - {"ul", "li"} == harmless.tags
    assert "script" not in page.tags
    names = {(tag, name) for tag, name, _ in page.attributes}
    assert names <= {(tag, name) for tag, name, _ in harmless.attributes}
    for tag, name, value in page.attributes:
        assert "owned" not in value, (tag, name)
    assert "\u202e" not in page.text
    assert "\x00" not in page.text
    assert len(render(HOSTILE_STATUS)) < 40_000


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = render(LIVELY)
    links = {value for _, name, value in Outline(page).attributes if name in ("href", "src")}
    assert links == {"/metrics", "/health", "/ready"}
    assert "url(" not in page
    assert "@import" not in page
    assert "style=" not in page
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY


def test_cache_rate_without_questions() -> None:
    assert "–; 0 entries" in Outline(render(replace(LIVELY, cache=CacheStatistics()))).text


@contextmanager
def served(status: Status) -> Iterator[str]:
    """The page over its real server, in a thread of its own; yields the URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def current() -> Status:
        return status

    async def metrics() -> bytes:
        return b""

    site = MetricsSite(Views(status=current, metrics=metrics))

    async def end() -> None:
        site.close()
        open_still = asyncio.all_tasks() - {asyncio.current_task()}
        for task in open_still:
            task.cancel()
        await asyncio.gather(*open_still, return_exceptions=True)
        await asyncio.sleep(0)  # what was cut is closed in the loop's next turn

    try:
        asyncio.run_coroutine_threadsafe(site.start(ListenAddress()), loop).result(20)
        yield f"http://127.0.0.1:{site.port}/"
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with open_browser(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("status-page", LIVELY),
        ("status-page-fresh", QUIET),
        ("status-page-hostile", HOSTILE_STATUS),
    ],
    ids=["lively", "fresh", "hostile"],
)
def test_in_a_browser(browser: webdriver.Chrome, name: str, status: Status) -> None:
    with served(status) as url:
        browser.get(url)
        style = browser.execute_script(
            "const tile = document.querySelector('.tile b');"
            "return [document.title, getComputedStyle(tile).fontWeight,"
            " document.scripts.length, document.documentElement.scrollWidth]"
        )
        title, weight, scripts, width = style
        assert title.startswith("eas-redirect")
        assert weight == "650", "the style sheet was not applied"
        assert scripts == 0
        assert width <= 1280, "the page is wider than the window"
        assert complaints(browser) == []
        assert screenshot(browser, name).stat().st_size > 10_000

"""The status page: what it says, that nothing in it can run, and how it looks in a browser."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from eas_redirect.directory.values import CacheStatistics
from eas_redirect.telemetry.site import CONTENT_SECURITY_POLICY, STATUS, MetricsSite, Views, render
from eas_redirect.telemetry.status import (
    CertificateLine,
    ConfigurationLine,
    DirectoryLine,
    ErrorLine,
    RelationshipLine,
    Status,
    UpstreamLine,
)
from eas_redirect.telemetry.web import ListenAddress
from tests.browser import accessibility_faults, complaints, open_browser, screenshot, seen_as
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
        "enforce", "ready", "up 1 d 2 h", "2 workers", "812\u202f433", "3\u202f120", "1\u202f388",
        "ldaps://dc1.contoso.example", "98 % of 49\u202f725",
        "outlook.office365.com", "mailbox_moved",
        "CONTOSO\\cleo",
        "http://outlook.com/owa/contoso.onmicrosoft.example", "5 min 12 s ago",
    ):  # fmt: skip
        assert part in text


def test_the_four_questions_have_their_answers() -> None:
    text = Outline(render(LIVELY)).text
    for question, answer in (
        ("Is it working?", "Yes. Phones reach Exchange through it, and moved ones are redirected."),
        ("Who is meant?", "Whose mailbox has moved, out of 3 of 40 users, except 1 user."),
        ("Who moved?", "fred@contoso.example"),
        ("Who is stuck, and what to do next?", "The app seems to ignore the redirect."),
    ):
        assert answer in text.partition(question)[2], question


def test_redirects_and_those_that_would_be_are_told_apart() -> None:
    text = Outline(render(LIVELY)).text
    section = text[text.index("What was decided, and why") :]
    for label in ("redirected", "would be redirected", "passed on"):
        assert label in section
    observed = replace(
        LIVELY, mode="observe", configuration=ConfigurationLine(meant="observe for everyone")
    )
    assert "Nobody yet: it observes." in Outline(render(observed)).text


def test_each_stuck_device_links_to_its_last_decisions() -> None:
    page = Outline(render(LIVELY))
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    ids = [value for _, name, value in page.attributes if name == "id"]
    inside = [link.removeprefix("#") for link in links if link.startswith("#")]
    assert len(inside) == 2
    assert set(inside) <= set(ids)
    assert len(ids) == len(set(ids))
    assert 'eas-redirect explain "dora@contoso.example"' in page.text


def test_a_refused_configuration_stands_at_the_top_in_red() -> None:
    error = ErrorLine(text="mode: no such mode", since_s=NOW_S - 300)
    line = replace(LIVELY.configuration, problem=error.text, error=error)
    page = render(replace(LIVELY, configuration=line))
    alert = page[page.index("<main>") :].partition("</section>")[0]
    assert '<section class="alert"' in alert
    for part in (
        "was refused",
        "mode: no such mode",
        "11:01:40",
        "stays in force",
        "except 1 user",
    ):
        assert part in alert, part
    assert "was refused" not in Outline(render(LIVELY)).text


def test_elsewhere_nobody_is_named() -> None:
    """Neither in lists nor in what a refused configuration quotes."""
    quoting = ErrorLine(text="redirect.only: nobody is called zoe@contoso.example", since_s=NOW_S)
    line = replace(LIVELY.configuration, problem=quoting.text, error=quoting)
    status = replace(LIVELY, configuration=line)
    text = Outline(render(status.elsewhere())).text
    for name in ("anna", "bert", "cleo", "dora", "emil", "erik", "fred", "zoe", "APPL0", "iPhone"):
        assert name in render(status), name
        assert name not in text, name
    for part in (
        "2 devices came back",
        "1\u202f388",
        "was refused",
        "the log",
        "on the proxy itself",
    ):
        assert part in text, part
    told = STATUS.dump_json(status.elsewhere())
    assert b"contoso.example" in told, "relationships are nobody's names"
    for secret in (b"anna", b"dora", b"zoe", b"fred", b"APPL0"):
        assert secret not in told


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (replace(LIVELY, directory=DirectoryLine(state="stale", problem="timeout")), "timeout"),
        (replace(LIVELY, directory=DirectoryLine(
            state="stale", error=ErrorLine(text="dc1 is down", since_s=NOW_S - 60))),
         "dc1 is down. Since 2026-11-18 11:05:40, 1 min."),
        (replace(LIVELY, upstream=UpstreamLine(reachable=True, error=ErrorLine(
            text="it was off", since_s=NOW_S - 60, until_s=NOW_S - 30))),
         "Last error: it was off. From 2026-11-18 11:05:40 to 2026-11-18 11:06:10; it is over."),
        (replace(LIVELY, directory=DirectoryLine(unseen=("not one user shows homeMDB",))),
         "not one user shows homeMDB"),
        (replace(LIVELY, relationships=()), "CN=Federation"),
        (replace(LIVELY, upstream=UpstreamLine(address="ex:443")), "Exchange does not answer"),
        (replace(LIVELY, hanging=1), "Workers that do not answer: 1."),
        (replace(LIVELY, full=True), "raise LimitNOFILE"),
        (replace(LIVELY, upstream=UpstreamLine()), "No. Phones do not reach Exchange through it."),
        (replace(LIVELY, directory=DirectoryLine(state="blind")), "Not wholly."),
        (replace(LIVELY, certificates=(CertificateLine(
            whose="exchange", ends_s=NOW_S, grave=True,
            error=ErrorLine(text="it ended on 2026-11-18: renew it", since_s=NOW_S)),)),
         "it ended on 2026-11-18: renew it"),
    ],
    ids=["directory", "since when", "over", "unseen", "no relationships", "upstream", "hanging",
         "full", "cut off", "blind", "certificate"],
)  # fmt: skip
def test_what_needs_a_person_is_a_sentence(status: Status, sentence: str) -> None:
    assert sentence in " ".join(Outline(render(status)).text.split())
    assert sentence not in " ".join(Outline(render(LIVELY)).text.split())


def test_who_is_sent_to_nobody_is_said() -> None:
    line = RelationshipLine(
        name="Twice", domain_names=("a.example",), contested=("a.example",),
        note="a.example is sent to nobody: several enabled relationships name the domain",
    )  # fmt: skip
    text = Outline(render(replace(LIVELY, relationships=(line,)))).text
    assert "nobody" in text
    assert "several enabled relationships name the domain" in text


def test_draining_is_shown() -> None:
    assert "draining" in Outline(render(replace(LIVELY, draining=True))).text


def test_hostile_strings_stay_text() -> None:
    page, harmless = Outline(render(HOSTILE_STATUS)), Outline(render(LIVELY))
    assert page.tags - {"ul", "li"} == harmless.tags - {"ul", "li"}
    assert render(HOSTILE_STATUS).count("<script") == 1
    names = {(tag, name) for tag, name, _ in page.attributes}
    alarmed = {("section", "class"), ("section", "aria-labelledby"), ("ul", "class")}
    assert names <= {(tag, name) for tag, name, _ in harmless.attributes} | alarmed
    for tag, name, value in page.attributes:
        assert "owned" not in value or name == "aria-label", (tag, name)
    assert "\u202e" not in page.text
    assert "\x00" not in page.text
    assert len(render(HOSTILE_STATUS)) < 60_000


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = render(LIVELY)
    links = {value for _, name, value in Outline(page).attributes if name in ("href", "src")}
    assert {link for link in links if not link.startswith("#")} == {
        "/", "/metrics", "/health", "/ready"
    }  # fmt: skip
    assert "http-equiv" not in page, "it renews itself by a script that can be paused"
    assert "url(" not in page
    assert "@import" not in page
    assert "style=" not in page
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY


def test_cache_rate_without_questions() -> None:
    assert "–; 0 entries" in Outline(render(replace(LIVELY, cache=CacheStatistics()))).text


@contextmanager
def served(status: Status, changing: Sequence[Status] = ()) -> Iterator[str]:
    """The page over its real server, in a thread of its own; yields the URL. The first of
    `changing` is shown in place of `status`, whatever it is by then."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def current() -> Status:
        return changing[0] if changing else status

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
        for width, scheme in ((320, "dark"), (1280, "light")):
            with seen_as(browser, width, scheme):
                browser.get(url)
                title, weight, wide = browser.execute_script(
                    "const tile = document.querySelector('.tile dd');"
                    "return [document.title, getComputedStyle(tile).fontWeight,"
                    " document.documentElement.scrollWidth]"
                )
                assert title.startswith("eas-redirect")
                assert weight == "600", "the style sheet was not applied"
                assert wide <= width, "the page is wider than the window"
                cut = browser.execute_script(
                    "return [...document.querySelectorAll('.scroll')].filter(s =>"
                    " s.scrollHeight > s.clientHeight + 1 && s.querySelectorAll('tbody tr').length"
                    " <= 10).map(s => s.getAttribute('aria-label'))"
                )
                assert cut == [], "a short list is cut off"
                assert complaints(browser) == []
                assert screenshot(browser, f"{name}-{width}").stat().st_size > 10_000
                assert accessibility_faults(browser) == []


@pytest.mark.integration
def test_it_renews_itself_until_it_is_paused(browser: webdriver.Chrome) -> None:
    """What is unfolded stays so; and when nobody answers any more, that is said."""
    shown = [LIVELY]
    with served(LIVELY, shown) as url:
        browser.get(url)
        assert (
            browser.execute_script("return document.getElementById('live').textContent") == "Pause"
        )
        browser.execute_script("document.getElementById('device-1').open = true; return 1")
        shown[0] = replace(LIVELY, mode="observe", now_s=NOW_S + 60)
        time.sleep(1.1)  # a page is kept for a second
        assert browser.execute_async_script("look().then(arguments[0])") is None
        now = browser.execute_script(
            "return [document.querySelector('header .badge').textContent,"
            " document.getElementById('device-1').open, document.title]"
        )
        assert now == ["observe", True, "eas-redirect · ready · observe"]
        browser.find_element(By.ID, "live").click()
        shown[0] = replace(LIVELY, mode="enforce")
        time.sleep(1.1)
        browser.execute_async_script("look().then(arguments[0])")
        assert browser.find_element(By.CSS_SELECTOR, "header .badge").text == "observe"
        browser.find_element(By.ID, "live").click()
    browser.execute_async_script("look().then(arguments[0])")
    assert "has not answered since" in browser.find_element(By.ID, "stale").text
    complaints(browser)  # that nobody answers is what it should say


@pytest.mark.integration
def test_a_link_opens_the_last_decisions_of_its_device(browser: webdriver.Chrome) -> None:
    with served(LIVELY) as url:
        browser.get(url)
        browser.find_element(By.CSS_SELECTOR, "a[href='#device-2-list']").click()
        assert browser.find_element(By.ID, "device-2-list").is_displayed()
        assert not browser.find_element(By.ID, "device-1-list").is_displayed()

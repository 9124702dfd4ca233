"""The page in a real browser: with no, one and a hundred thousand devices."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from eas_redirect.report.figures import make_report
from eas_redirect.report.inputs import find_sources
from eas_redirect.report.page import report_page
from tests.benchmarks.crowd import Crowd
from tests.browser import accessibility_faults, complaints, open_browser, screenshot, seen_as
from tests.report.simulator import CLOUD, START, Simulation, write_journal
from tests.report.test_figures import call

pytestmark = pytest.mark.integration
NOW = START + 40 * 86400


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with open_browser(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


def shown(browser: webdriver.Chrome, journal: Path) -> None:
    page = journal.with_suffix(".html")
    page.write_text(report_page(make_report(find_sources([str(journal)]), NOW)), encoding="utf-8")
    assert page.stat().st_size < 5_000_000
    browser.get(page.as_uri())
    assert complaints(browser) == []
    width, painted = browser.execute_script(
        "return [document.documentElement.scrollWidth,"
        " getComputedStyle(document.querySelector('.tile')).borderTopWidth]"
    )
    assert width <= 1280, "the page is wider than the window"
    assert painted == "5px", "the style sheet was not applied"


def tiles(browser: webdriver.Chrome) -> list[str]:
    found = browser.find_elements(By.CSS_SELECTOR, ".tile dd:not(.words)")
    return [element.text.splitlines()[0] for element in found]


def test_nobody(browser: webdriver.Chrome, tmp_path: Path) -> None:
    shown(browser, write_journal(tmp_path / "nobody.jsonl", []))
    assert tiles(browser) == ["0", "0", "0", "0", "0"]
    assert "nothing to report yet" in browser.find_element(By.TAG_NAME, "header").text
    screenshot(browser, "report-nobody")


def test_one_device(browser: webdriver.Chrome, tmp_path: Path) -> None:
    shown(browser, write_journal(tmp_path / "one.jsonl", [call(0), call(3600)]))
    assert tiles(browser) == ["1", "0", "0", "0", "0"]
    screenshot(browser, "report-one")


def test_a_month_sorts_and_prints(browser: webdriver.Chrome, tmp_path: Path) -> None:
    month = Simulation(phones=300)
    shown(browser, write_journal(tmp_path / "month.jsonl", month.records()))
    screenshot(browser, "report-month")
    table = browser.find_elements(By.CSS_SELECTOR, "table.cards")[-1]
    head = next(h for h in table.find_elements(By.TAG_NAME, "th") if "Redirects" in h.text)
    column = table.find_elements(By.TAG_NAME, "th").index(head)
    for order, reverse in (("ascending", False), ("descending", True)):
        head.find_element(By.TAG_NAME, "button").click()
        assert head.get_attribute("aria-sort") == order
        cells = table.find_elements(By.CSS_SELECTOR, f"tbody td:nth-child({column + 1})")
        values = [int(cell.get_attribute("data-sort") or 0) for cell in cells]
        assert values == sorted(values, reverse=reverse)
    paper = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert base64.b64decode(paper["data"]).startswith(b"%PDF")
    named = browser.execute_script(
        "return [...document.querySelectorAll('svg')].every(s => s.getAttribute('aria-hidden')"
        " || s.getAttribute('aria-label') && s.getAttribute('role') === 'img')"
        " && [...document.querySelectorAll('table')].every(t => t.caption)"
        " && document.querySelectorAll('h1').length === 1"
    )
    assert named, "a plot or a table says nothing to a screen reader"


def test_no_table_is_cut_on_a_screen_nor_on_paper(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    shown(browser, write_journal(tmp_path / "cut.jsonl", Simulation(phones=60).records()))
    cut = (
        "return [...document.querySelectorAll('.scroll')].filter(s => s.scrollWidth > s.clientWidth"
        " && !s.closest('details')).map(s => s.getAttribute('aria-label'))"
    )
    assert browser.execute_script(cut) == []
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    browser.set_window_size(718, 1000)  # an A4 page without its margins, at 96 dpi
    try:
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 718
        screenshot(browser, "report-paper")
    finally:
        browser.set_window_size(1280, 1400)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_dark_screen_and_a_narrow_one(browser: webdriver.Chrome, tmp_path: Path) -> None:
    shown(browser, write_journal(tmp_path / "week.jsonl", Simulation(phones=60).records()))
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    browser.set_window_size(600, 1400)
    try:
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 600
        screenshot(browser, "report-dark-narrow")
    finally:
        browser.set_window_size(1280, 1400)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_phone_sees_what_to_do_without_scrolling_sideways(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    shown(browser, write_journal(tmp_path / "phone.jsonl", Simulation(phones=60).records()))
    for width, scheme in ((320, "light"), (320, "dark"), (820, "light"), (1280, "dark")):
        with seen_as(browser, width, scheme):
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            outside = browser.execute_script(
                "return [...document.querySelectorAll('td.told')].filter(cell => cell.innerText &&"
                " cell.checkVisibility() && cell.getBoundingClientRect().right > innerWidth)"
                ".map(cell => cell.dataset.label)"
            )
            assert outside == []
            told = browser.find_element(By.CSS_SELECTOR, "td[data-label='What to do']")
            assert told.is_displayed()
            screenshot(browser, f"report-{width}-{scheme}")
            assert accessibility_faults(browser) == []


ODD_NAMES = (
    *("Jürgen Groß-Müßigbräuer", "محمد عبد الله", "שלום כהן", "王小明", "x" * 200),
    *(
        "firstname.lastname" * 9 + "@sub.contoso.example",
        "\u202eevil.exe",
        "a<b>&\"'",
        "e\u0301" * 60,
    ),
    *(f"user{number}" for number in range(20)),
)


def test_names_of_all_sorts_fit_and_a_box_that_goes_on_says_so(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    told = {"decision": "redirect", "reason": "mailbox_moved", "redirect_location": CLOUD}
    calls = [
        call(turn * 1000 + at, user_name=name, device_id=f"Appl{name}"[:250], **told)
        for turn in range(4)
        for at, name in enumerate(ODD_NAMES)
    ]
    shown(browser, write_journal(tmp_path / "odd.jsonl", calls))
    for width in (400, 820, 1400):
        with seen_as(browser, width):
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            boxes = browser.execute_script(
                "return [...document.querySelectorAll('.scroll')].filter(s => s.checkVisibility())"
                ".map(s => [s.querySelectorAll('tbody tr').length,"
                " s.scrollHeight > s.clientHeight + 1, getComputedStyle(s).backgroundImage])"
            )
            cut = [(rows, shade) for rows, is_cut, shade in boxes if is_cut]
            assert cut, "a list of so many devices scrolls"
            assert all(rows > 10 and "gradient" in shade for rows, shade in cut)
            screenshot(browser, f"report-names-{width}")


def test_five_hundred_devices_print_on_a_few_pages(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    """Those that need nobody are counted, not listed."""
    shown(browser, write_journal(tmp_path / "many.jsonl", Simulation(phones=500).records()))
    size = {"printBackground": True, "paperWidth": 8.27, "paperHeight": 11.69}
    paper = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", size)["data"])
    pages = len(re.findall(rb"/Type\s*/Page[^s]", paper))
    assert 2 <= pages <= 7, pages
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        text = browser.find_element(By.TAG_NAME, "main").text
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert "rows are not printed: those that need a person are listed above" in text
    assert "What to do" in text


def test_a_hundred_thousand_devices(browser: webdriver.Chrome, tmp_path: Path) -> None:
    crowd = Crowd(lines=600_000, devices=100_000)
    shown(browser, crowd.write(tmp_path / "crowd.jsonl"))
    states = crowd.states()
    numbers = [text.replace("\u202f", "") for text in tiles(browser)]
    assert numbers == [
        "100000",
        str(states["stuck"] + states["quiet"]),
        str(states["quiet"]),
        "0",
        str(states["stuck"]),
    ]
    screenshot(browser, "report-crowd")

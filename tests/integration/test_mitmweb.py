"""mitmweb in a real browser: the mark and comment of a redirected flow, and the decoded view.

`pytest tests/integration/test_mitmweb.py --regenerate` writes the pictures of docs/debugging.md.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.activesync.vectors import VECTORS
from tests.browser import open_browser
from tests.captures.captures import eas_flow, write_flows
from tests.cli.test_redact_command import mail
from tests.integration.mitmdump import SHIM
from tests.integration.processes import ServerProcess, free_port
from tests.support import DATA, ROOT

pytestmark = pytest.mark.integration

WAIT_S = 60  # a browser on a busy machine takes its time
PICTURES = ROOT / "docs" / "pictures"
LOCATION = "https://outlook.office365.com/Microsoft-Server-ActiveSync"


@pytest.fixture
def mitmweb(tmp_path: Path) -> Iterator[str]:
    """mitmweb with a capture of three flows; its address with the token."""
    redirected = eas_flow(9, code=451, body=b"", headers={"X-MS-Location": LOCATION})
    redirected.metadata["eas"] = {
        "event": {"reason": "mailbox_moved"},
        "eas": {
            "decision": "redirect",
            "evidence": "certain",
            "upstream": {"status_code": 200, "status": 123},
            "redirect": {"location": LOCATION},
            "directory": {
                "target_domain": "contoso.mail.onmicrosoft.com",
                "relationship": "On-premises to O365",
            },
        },
    }
    redirected.comment = "451 → outlook.office365.com (mailbox_moved)"
    redirected.marked = ":arrow_right:"
    flows = [
        eas_flow(0, body=VECTORS["FolderSync"]),
        eas_flow(5, "Sync", user="CONTOSO\\bert", device="SEC2", body=mail()),
        redirected,
    ]
    capture = write_flows(tmp_path / "capture.flows", flows)
    config = tmp_path / "eas-redirect.toml"
    config.write_text(
        f'mode = "enforce"\n[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n'
        '[exchange]\nhost_names = ["mail.contoso.example"]\n'
    )
    port = free_port()
    options = {
        "eas_config": config,
        "eas_journal": tmp_path / "journal.jsonl",
        "confdir": tmp_path / "confdir",
        "web_open_browser": "false",
        "web_port": port,
        "web_password": "token-of-the-test",
    }
    command = [str(Path(sys.executable).with_name("mitmweb")), "-nr", str(capture)]
    command += ["-s", str(SHIM)]
    command += [w for name, value in options.items() for w in ("--set", f"{name}={value}")]
    server = ServerProcess(command, [("127.0.0.1", port)], tmp_path / "mitmweb.log")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}/?token=token-of-the-test"
    finally:
        server.kill()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with open_browser(tmp_path / "profile") as chrome:
        chrome.set_window_size(1500, 760)
        yield chrome


def until(browser: webdriver.Chrome, found: Callable[[], WebElement | None]) -> WebElement:
    """Poll the page; it is redrawn meanwhile."""

    def look(_: webdriver.Chrome) -> WebElement | None:
        try:
            return found()
        except Exception:  # the element vanished between two looks
            return None

    element = WebDriverWait(browser, WAIT_S).until(look)
    assert element is not None
    return element


def showing(browser: webdriver.Chrome, selector: str, text: str) -> WebElement:
    """The element of a selector that shows a text, once it is there."""

    def find() -> WebElement | None:
        elements = browser.find_elements(By.CSS_SELECTOR, selector)
        return next((e for e in elements if text in e.text), None)

    return until(browser, find)


def test_a_redirected_flow_and_the_decoded_view(
    mitmweb: str, browser: webdriver.Chrome, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pictures = PICTURES if request.config.getoption("--regenerate") else tmp_path
    browser.get(mitmweb)
    row = showing(browser, ".flow-table tr", "➡")
    assert "451" in row.text
    assert showing(browser, ".flow-table tr", "📁")  # FolderSync
    assert showing(browser, ".flow-table tr", "🔄")  # Sync
    row.click()
    showing(browser, "nav a", "Comment").click()
    showing(browser, ".flow-detail, section", "451 → outlook.office365.com (mailbox_moved)")
    showing(browser, "nav a", "Response").click()
    showing(browser, "pre, .contentview", "Exchange answered 200, status 123")
    showing(browser, "pre, .contentview", "relationship On-premises to O365")
    assert browser.save_screenshot(str(pictures / "mitmweb-redirected.png"))

    showing(browser, ".flow-table tr", "Cmd=Sync").click()
    showing(browser, "nav a", "Response").click()
    view = showing(browser, "pre, .contentview", "user CONTOSO\\bert")
    for text in (
        "today's configuration: pass (other_answer)",
        '<Sync xmlns="AirSync"',
        "<Status>1</Status><!-- success -->",
        "<email:Subject>Lunch with the auditors on Friday</email:Subject>",
    ):
        assert text in view.text
    assert browser.save_screenshot(str(pictures / "mitmweb-view.png"))
    for name in ("mitmweb-redirected.png", "mitmweb-view.png"):
        assert (pictures / name).read_bytes().startswith(b"\x89PNG")

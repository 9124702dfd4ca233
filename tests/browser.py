"""A headless Chromium that asks nobody anything, and the pictures that tests leave for people."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver

from tests.support import ROOT, require


@contextmanager
def open_browser(profile: Path) -> Iterator[webdriver.Chrome]:
    """`profile` is a new folder, so that tests at the same time do not meet."""
    require("chromium", "chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--window-size=1280,1400", f"--user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path="/usr/bin/chromedriver")
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


def screenshot(browser: webdriver.Chrome, name: str) -> Path:
    """Into SCREENSHOTS, or screenshots/ of the checkout."""
    folder = Path(os.environ.get("SCREENSHOTS", ROOT / "screenshots"))
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.png"
    assert browser.save_screenshot(str(path))
    return path


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the browser's console holds against the page."""
    log = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in log if "favicon" not in entry["message"]]

"""A headless Chromium that asks nobody anything, and the pictures that tests leave for people."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
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


@contextmanager
def seen_as(browser: webdriver.Chrome, width: int, scheme: str = "light") -> Iterator[None]:
    """The window of a screen so wide, in a light or a dark room."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def accessibility_faults(browser: webdriver.Chrome) -> list[str]:
    """What axe-core finds, with everything unfolded. The page's own policy would not let it in."""
    browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    browser.refresh()
    browser.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text("utf-8"))
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")
    found = browser.execute_async_script("axe.run(document).then(arguments[0])")
    browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": False})
    assert len(found["passes"]) > 20, "axe looked at nothing"
    return [
        f"{fault['id']}: {node['html'][:200]}"
        for fault in found["violations"]
        for node in fault["nodes"]
    ]


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the browser's console holds against the page."""
    log = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in log if "favicon" not in entry["message"]]

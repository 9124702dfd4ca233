"""A real mitmdump whose configuration changes while devices ask."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.device import ask
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.processes import free_port
from tests.integration.running import run, wait_until
from tests.integration.upstream import Scripted, Upstream, upstream
from tests.service.test_watching_reload import write
from tests.support import DATA

pytestmark = pytest.mark.integration

NO_MAILBOX = bytes.fromhex("03016A000007564C03313233000101")
WBXML = {"Content-Type": "application/vnd.ms-sync.wbxml"}
ANNA = "anna@contoso.example"
CONFIG = f"""\
mode = "enforce"
[directory]
snapshot = "{DATA / "migration.ldif"}"
[redirect.only]
users_file = "pilot.txt"
"""


@pytest.fixture(scope="module")
def exchange() -> Iterator[Upstream]:
    with upstream({"moved": Scripted(200, WBXML, NO_MAILBOX)}) as running:
        yield running


@pytest.fixture
def proxy(exchange: Upstream, tmp_path: Path) -> Iterator[Mitmdump]:
    (tmp_path / "pilot.txt").write_text("# the first\nbert@contoso.example\n")
    mode = f"reverse:http://127.0.0.1:{exchange.port}"
    with mitmdump(tmp_path, mode, config=CONFIG) as running:
        yield running


def config_lines(proxy: Mitmdump, count: int) -> list[dict[str, dict[str, object]]]:
    """The journal's readings of the configuration, after waiting for so many of them."""
    deadline = time.monotonic() + 30
    while True:
        lines: list[dict[str, dict[str, object]]] = proxy.journal  # type: ignore[assignment]
        found = [line for line in lines if line["event"]["action"] == "eas.config"]
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_a_wave_a_bad_file_and_its_mending(proxy: Mitmdump) -> None:
    assert ask(proxy.port, ANNA, "moved").status == 200

    write(proxy.directory / "pilot.txt", f"{ANNA}\n")
    assert len(config_lines(proxy, 1)) == 1
    assert ask(proxy.port, ANNA, "moved").status == 451

    write(proxy.directory / "pilot.txt", "# nobody\n")
    emptied = config_lines(proxy, 2)[1]
    assert "names nobody" in str(emptied["error"]["message"])
    assert ask(proxy.port, ANNA, "moved").status == 200, "it may be meant"
    write(proxy.directory / "pilot.txt", f"{ANNA}\n")
    assert config_lines(proxy, 3)[2]["event"]["outcome"] == "success"
    assert ask(proxy.port, ANNA, "moved").status == 451

    file, fault = proxy.directory / "eas-redirect.toml", "[proxy]\nworkers = 'two'\n"
    write(file, CONFIG + fault)
    refused = config_lines(proxy, 4)[3]
    assert refused["event"]["outcome"] == "failure"
    assert "eas-redirect.toml:7: proxy.workers: must be" in str(refused["error"]["message"])
    assert ask(proxy.port, ANNA, "moved").status == 451, "the last good configuration goes on"

    write(file, f"{CONFIG}[redirect.except]\nusers = ['{ANNA}']\n{fault}")
    refused = config_lines(proxy, 5)[4]
    assert (refused["event"]["outcome"], refused["eas"]["mode"]) == ("failure", "observe")
    assert ask(proxy.port, ANNA, "moved").status == 200, "the brake in it holds all the same"
    assert "nobody is redirected until the file can be used" in proxy.log

    write(file, CONFIG.replace("enforce", "observe"))
    assert config_lines(proxy, 6)[5]["event"]["outcome"] == "success"
    assert ask(proxy.port, ANNA, "moved").status == 200
    assert "the last good configuration goes on" in proxy.log


def swap(folder: Path, version: str, text: str) -> Path:
    """As kubelet updates a ConfigMap: files are links into a folder that a link names. The file."""
    (folder / version).mkdir(parents=True)
    (folder / version / "eas-redirect.toml").write_text(text)
    old = (folder / "..data").readlink() if (folder / "..data").is_symlink() else None
    (folder / "..data_tmp").symlink_to(version)
    (folder / "..data_tmp").rename(folder / "..data")
    if old is not None:
        shutil.rmtree(folder / old)
    file = folder / "eas-redirect.toml"
    if not file.is_symlink():
        file.symlink_to("..data/eas-redirect.toml")
    return file


def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path, exchange: Upstream) -> None:
    config = f'mode = "enforce"\n[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n'
    link = swap(tmp_path / "map", "..1", config.replace("enforce", "observe"))
    url = f"http://127.0.0.1:{exchange.port}"
    options = {"eas_metrics": f"127.0.0.1:{free_port()}"}
    with run(tmp_path / "run", url, config_file=link, options=options) as running:
        assert ask(running.port, ANNA, "moved").status == 200
        swap(tmp_path / "map", "..2", config)
        wait_until(lambda: "the configuration is adopted" in running.log, "the change")
        assert ask(running.port, ANNA, "moved").status == 451

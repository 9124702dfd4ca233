"""Exchange thinks for long, and the directory is asked meanwhile: through mitmdump and slapd."""

import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest

from tests.integration.device import LOCATION, Reply, ask
from tests.integration.mitmdump import mitmdump
from tests.integration.running import run
from tests.integration.slapd import running_slapd
from tests.integration.upstream import Scripted, upstream

pytestmark = pytest.mark.integration

CONFIG = """\
mode = "enforce"
[directory]
servers = ["{slapd.ldaps_url}"]
ca_file = "{slapd.ca_file}"
bind_user = "{slapd.bind_user}"
password_file = "{slapd.password_file}"
search_base = "DC=contoso,DC=example"
lookup_timeout_s = 1.0
"""
# Weak evidence, for which every user is looked up again.
SLOW = Scripted(403, {}, b"", delay_s=4.0)
QUICK = Scripted(403, {}, b"")


class Carrier(Protocol):
    @property
    def port(self) -> int: ...


def carrier(kind: str, folder: Path, url: str, config: str) -> AbstractContextManager[Carrier]:
    if kind == "mitmdump":
        return mitmdump(folder, f"reverse:{url}", config=config)
    return run(folder, url, head=config)


@pytest.mark.parametrize("kind", ["mitmdump", "run"])
def test_a_directory_that_has_gone_since_has_answered_already(tmp_path: Path, kind: str) -> None:
    with (
        running_slapd(tmp_path / "slapd") as slapd,
        upstream({"slow": SLOW, "quick": QUICK}) as exchange,
        carrier(
            kind,
            tmp_path,
            f"http://127.0.0.1:{exchange.port}",
            CONFIG.format(slapd=slapd),
        ) as proxy,
    ):
        assert ask(proxy.port, "anna@contoso.example", "quick").status == 451
        replies: list[Reply] = []

        def wait() -> None:
            replies.append(ask(proxy.port, "anna@contoso.example", "slow"))

        device = threading.Thread(target=wait)
        device.start()
        device.join(3.2)
        slapd.process.pause()
        device.join(30)
        assert (replies[0].status, replies[0].header("x-ms-location")) == (451, LOCATION)
        assert ask(proxy.port, "anna@contoso.example", "quick").status == 403
        slapd.process.resume()

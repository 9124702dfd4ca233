"""Through a real mitmdump and a real domain controller: faults end in words, Exchange's answer in
peace, and what is odd about the relationships is told at the start."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.device import LOCATION, ask
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.samba import Samba
from tests.integration.upstream import Scripted, Upstream, upstream
from tests.support import DATA

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

NO_MAILBOX = bytes.fromhex("03016A00000756" + "4C0331323300" + "0101")
ANSWER = Scripted(200, {"Content-Type": "application/vnd.ms-sync.wbxml"}, NO_MAILBOX)


@pytest.fixture(scope="module")
def exchange() -> Iterator[Upstream]:
    with upstream({"moved": ANSWER}) as running:
        yield running


def config(samba: Samba, account: str, **more: str) -> str:
    keys = {
        "servers": f'["ldaps://{samba.address}"]',
        "ca_file": f'"{samba.ca_file}"',
        "bind_user": f'"{account}@contoso.example"',
        "password_file": f'"{samba.password_file}"',
    }
    lines = (f"{key} = {value}" for key, value in (keys | more).items())
    return 'mode = "enforce"\n[directory]\n' + "\n".join(lines) + "\n"


def changes(proxy: Mitmdump, wanted: str) -> list[object]:
    """The kinds of the journal's directory lines, after waiting for one."""
    give_up = time.monotonic() + 30
    while True:
        lines = [line for line in proxy.journal if at(line, "event.action") == "eas.directory"]
        kinds = [at(line, "eas.directory.change") for line in lines]
        if wanted in kinds or time.monotonic() > give_up:
            return kinds
        time.sleep(0.05)


def at(line: object, path: str) -> object:
    for key in path.split("."):
        line = line.get(key) if isinstance(line, dict) else None
    return line


@pytest.mark.parametrize(
    ("account", "error_type", "says"),
    [
        ("disabled", "account_disabled", "the account is disabled (data 533): enable it"),
        ("password-expired", "password_expired", "the password has expired (data 532)"),
    ],
)
def test_a_refused_bind_is_journalled_in_words_and_exchange_s_answer_stays(
    samba: Samba, exchange: Upstream, tmp_path: Path, account: str, error_type: str, says: str
) -> None:
    mode = f"reverse:http://127.0.0.1:{exchange.port}"
    with mitmdump(tmp_path, mode, config=config(samba, account)) as proxy:
        reply = ask(proxy.port, "anna@contoso.example", "moved")
        (line,) = proxy.exchanges(1)
        assert "unavailable" in changes(proxy, "unavailable")
    assert (reply.status, reply.body) == (200, NO_MAILBOX)
    assert at(line, "event.reason") == "directory_unavailable"
    assert at(line, "error.type") == error_type
    assert says in str(at(line, "error.message"))
    written = proxy.log + (tmp_path / "journal.jsonl").read_text("utf-8")
    for secret in (DATA / "secrets.txt").read_text("utf-8").splitlines():
        assert secret not in written


def test_an_ordinary_account_redirects_nobody_and_is_told_so_at_the_start(
    samba: Samba, exchange: Upstream, tmp_path: Path
) -> None:
    mode = f"reverse:http://127.0.0.1:{exchange.port}"
    with mitmdump(tmp_path, mode, config=config(samba, "ordinary")) as proxy:
        assert "none_readable" in changes(proxy, "none_readable")
        reply = ask(proxy.port, "anna@contoso.example", "moved")
        (line,) = proxy.exchanges(1)
        proxy.wait_for_log("no organization relationship can be read")
    assert reply.status == 200
    assert at(line, "event.reason") == "no_relationship"


def test_a_redirect_with_a_mapped_host_and_unverified_tls_are_told_at_the_start(
    samba: Samba, exchange: Upstream, tmp_path: Path
) -> None:
    mode = f"reverse:http://127.0.0.1:{exchange.port}"
    text = config(samba, "eas-redirect", verify="false")
    with mitmdump(tmp_path, mode, config=text) as proxy:
        proxy.wait_for_log("directory.verify is false")
        assert "host_mapped" in changes(proxy, "host_mapped")
        reply = ask(proxy.port, "anna@contoso.example", "moved")
    assert (reply.status, reply.header("x-ms-location")) == (451, LOCATION)

"""Waves by the account that a real directory knows: names of every form, at a start without the
directory, through the whole proxy."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from eas_redirect.configuration.config import ConfigError, load_config
from eas_redirect.directory.ldap.active_directory import ActiveDirectory
from eas_redirect.directory.values import Found, NotFound
from eas_redirect.judging.explanation import AskedDevice, explain_user
from eas_redirect.policy.reasons import Reason
from eas_redirect.service.service import Service
from tests.directory.logons import logon
from tests.directory.table import row_name, rows
from tests.integration.device import ask
from tests.integration.running import run, write_config
from tests.integration.slapd import Slapd, running_slapd
from tests.integration.upstream import Scripted, upstream
from tests.support import DATA

pytestmark = pytest.mark.integration

NO_MAILBOX = bytes.fromhex("03016A000007564C03313233000101")
WBXML = {"Content-Type": "application/vnd.ms-sync.wbxml"}
ANNA_DN = "CN=Anna Moved,OU=Staff,DC=contoso,DC=example"


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with running_slapd(tmp_path_factory.mktemp("slapd") / "home") as running:
        yield running


@pytest.mark.parametrize("row", rows(), ids=row_name)
async def test_a_name_means_whom_a_logon_means(slapd: Slapd, row: dict[str, str]) -> None:
    settings = slapd.settings(default_domain=row["default_domain"] or None)
    asked = logon(row["logon"])
    with closing(ActiveDirectory(settings)) as directory:
        by_logon = (await directory.recipient(asked)).lookup
        by_name = await asyncio.to_thread(directory.meant_by, asked.text)
    assert type(by_name) is type(by_logon)
    if isinstance(by_name, Found) and isinstance(by_logon, Found):
        assert by_name.recipient == by_logon.recipient


@pytest.mark.parametrize(
    ("dn", "found"),
    [
        (ANNA_DN, "found"),
        ("cn=anna moved,ou=staff,dc=contoso,dc=example", "found"),
        ("CN=Nobody,OU=Staff,DC=contoso,DC=example", "nobody"),
        ("CN=Anna Moved,OU=Staff,DC=nosuch,DC=example", "nobody"),
        ("OU=Staff,DC=contoso,DC=example", "nobody"),
    ],
)
def test_a_name_that_is_a_dn(slapd: Slapd, dn: str, found: str) -> None:
    with closing(ActiveDirectory(slapd.settings())) as directory:
        lookup = directory.meant_by(dn)
    assert isinstance(lookup, Found if found == "found" else NotFound), lookup


def config(folder: Path, slapd: Slapd, wave: str) -> Path:
    file = folder / "e.toml"
    file.write_text(
        f"""\
mode = "enforce"
{wave}
[directory]
servers = ["{slapd.ldaps_url}"]
ca_file = "{slapd.ca_file}"
bind_user = "{slapd.bind_user}"
password_file = "{slapd.password_file}"
search_base = "DC=contoso,DC=example"
connect_timeout_s = 1
lookup_timeout_s = 1
[cache]
relationships_s = 1
""",
        encoding="utf-8",
    )
    return file


def test_a_misspelt_exception_stops_the_start(tmp_path: Path, slapd: Slapd) -> None:
    file = config(tmp_path, slapd, "redirect.except.users = ['anna@contoso.example', 'CORP\\nina']")
    with pytest.raises(ConfigError, match=r"nobody called CORP\\nina: correct the name"):
        Service(load_config(file, environment={}))


async def reason(service: Service, user: str) -> Reason:
    found = await explain_user(service.judge, user, AskedDevice())
    assert found is not None
    return found.judgement.verdict.reason


async def test_a_directory_that_is_away_at_the_start_opens_no_brake(tmp_path: Path) -> None:
    """Down at the start, hanging, up: whoever is excepted stays, and nobody else does for good."""
    with running_slapd(tmp_path / "home") as slapd:
        file = config(tmp_path, slapd, "redirect.except.users = ['EUROPE\\anna']")
        slapd.process.pause()
        began = time.monotonic()
        service = await asyncio.to_thread(Service, load_config(file, environment={}))
        assert time.monotonic() - began < 10, "a start does not wait for a directory that hangs"
        slapd.process.resume()
        try:
            assert service.judge.policy.wave.exclude.users is not None
            assert service.judge.policy.wave.exclude.users.unasked == ("EUROPE\\anna",)
            for _ in range(100):
                seen = await reason(service, "anna@contoso.example")
                if seen is not Reason.DIRECTORY_UNAVAILABLE:
                    break
                await asyncio.sleep(0.1)
            assert seen is Reason.NOT_IN_WAVE, "she may be the one who is meant"
            service.start()
            for _ in range(200):
                if service.meant == "enforce for everyone, except 1 user":
                    break
                await asyncio.sleep(0.1)
            assert await reason(service, "anna@contoso.example") is not Reason.NOT_IN_WAVE
        finally:
            service.close()


@pytest.mark.parametrize(
    ("wave", "status"),
    [
        ("", 451),
        ("only.users = ['CONTOSO\\anna']", 451),
        ("only.users = ['bert@contoso.example']", 200),
        (f"except.users = ['{ANNA_DN}']", 200),
        ("except.users = ['CONTOSO\\anna@contoso.example']", 200),
        ("except.users = ['bert@contoso.example']", 451),
    ],
)
def test_through_the_whole_proxy(tmp_path: Path, wave: str, status: int) -> None:
    head = f'mode = "enforce"\n{f"redirect.{wave}" if wave else ""}\n'
    head += f'[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n'
    file = write_config(tmp_path, head=head)
    with (
        upstream({"moved": Scripted(200, WBXML, NO_MAILBOX)}) as exchange,
        run(tmp_path / "run", f"http://127.0.0.1:{exchange.port}", config_file=file) as running,
    ):
        assert ask(running.port, "anna@contoso.example", "moved").status == status

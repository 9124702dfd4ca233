"""What it costs to ask, every 20 s, who of 10,000 waiting users has moved: us, and the directory.

`pytest -s -m bench tests/benchmarks/test_waiting_users.py` prints the rows of docs/waits.md. Who is
found is asserted; the costs are printed beside their goals, for the machine decides about them.
"""

import asyncio
import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import batched
from pathlib import Path
from uuid import UUID

import pytest

from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.known_users import PER_SECOND, KnownUsers
from eas_redirect.directory.ldap.active_directory import ActiveDirectory
from eas_redirect.directory.values import (
    MOST_WATCHED,
    CacheSettings,
    DirectorySettings,
    Watched,
)
from tests.benchmarks.usage import Usage, usage, usage_with_children
from tests.directory.logons import logon
from tests.integration.samba import ROOT, Samba, running_samba
from tests.integration.slapd import running_slapd

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1200)]

USERS = 10_000
MOVED = 200
EVERY_S = 20.0
ROUNDS = 5
LOGONS = [logon(f"CONTOSO\\u{n}") for n in range(USERS)]


def user(n: int, dn: str, *, guid: bool = False, extra: str = "") -> str:
    state = f"targetAddress: SMTP:u{n}@contoso.mail.example" if n < MOVED else "{mdb}"
    guid_line = f"objectGUID:: {base64.b64encode(UUID(int=n).bytes_le).decode()}\n" if guid else ""
    return (
        f"\ndn: CN=u{n},{dn}\nobjectClass: user\n{extra}sAMAccountName: u{n}\nmailNickname: u{n}\n"
        f"userPrincipalName: u{n}@contoso.example\n{guid_line}{state}\n"
    )


async def cost(
    name: str, settings: DirectorySettings, directory_usage: Callable[[], Usage]
) -> None:
    """Everybody is looked up first, at the pace of production; then rounds as in production."""
    directory = ActiveDirectory(settings)
    cached = CachedDirectory(directory, CacheSettings())
    users = KnownUsers(lambda: cached)
    try:
        ours, theirs, began = usage().cpu_s, directory_usage().cpu_s, time.monotonic()
        for _ in range(10 * USERS // PER_SECOND):
            if len(known := users.known(LOGONS)) == USERS:
                break
            await asyncio.sleep(1.0)
        took = time.monotonic() - began
        told = f"{name}: {USERS} users looked up in {took:.0f} s"
        ours, theirs = usage().cpu_s - ours, directory_usage().cpu_s - theirs
        print(
            f"\n{told}: {ours:.1f} s of ours, {theirs:.1f} s of the directory's CPU, once an hour"
        )
        ours, theirs, began = usage().cpu_s, directory_usage().cpu_s, time.monotonic()
        for _ in range(ROUNDS):
            found: set[Watched] = set()
            known = users.known(LOGONS)
            for some in batched(dict.fromkeys(known.values()), MOST_WATCHED):
                answer = (await cached.moved(some)).moved
                assert isinstance(answer, tuple), answer
                found.update(answer)
            assert len(found) == MOVED
        took = (time.monotonic() - began) / ROUNDS
        ours, theirs = (usage().cpu_s - ours) / ROUNDS, (directory_usage().cpu_s - theirs) / ROUNDS
        print(
            f"{name}: a round takes {took * 1000:.0f} ms; of a core: "
            f"{100 * theirs / EVERY_S:.2f} % of the directory (goal 2), "
            f"{100 * ours / EVERY_S:.2f} % of ours (goal 5)"
        )
    finally:
        users.close()
        cached.close()


@pytest.mark.parametrize("guid", [True, False], ids=["by GUID", "by DN"])
async def test_openldap(tmp_path: Path, guid: bool) -> None:
    staff = "OU=Staff,DC=contoso,DC=example"
    ldif = "".join(
        user(n, staff, guid=guid, extra=f"sn: x\ncn: u{n}\n").format(mdb="homeMDB: CN=DB01")
        for n in range(USERS)
    )
    with running_slapd(tmp_path / "home", ldif=ldif) as slapd:
        name = f"OpenLDAP, {'by GUID' if guid else 'by DN'}"
        await cost(name, slapd.settings(), lambda: usage(slapd.process.pid))


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samba]:
    with _crowd(tmp_path_factory.mktemp("samba") / "home") as running:
        yield running


@contextmanager
def _crowd(home: Path) -> Iterator[Samba]:
    with running_samba(home) as samba:
        staff = f"OU=Staff,{ROOT}"
        mdb = f"homeMDB: CN=Bert Local,{staff}"
        for some in batched(range(USERS), 1000):
            samba.ldb("ldbadd", "".join(user(n, staff).format(mdb=mdb) for n in some))
        yield samba


@pytest.mark.parametrize("port", [636, 3269], ids=["controller", "catalogue"])
async def test_samba(crowd: Samba, port: int) -> None:
    settings = crowd.settings(servers=(f"ldaps://{crowd.address}:{port}",))
    pid = crowd.process.pid
    await cost(f"Samba, port {port}", settings, lambda: usage_with_children(pid))

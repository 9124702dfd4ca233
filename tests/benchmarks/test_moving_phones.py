"""A thousand devices wait, 200 of their users move at once: how long until each has its 451.

`pytest -s -m bench tests/benchmarks/test_moving_phones.py` prints the figures. A real
`eas-redirect run` in front of a stand-in for Exchange that holds its errors for 20 s, over a real
directory, with the intervals of production.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import batched
from pathlib import Path

import pytest

from eas_redirect.activesync.wait import ENDINGS
from eas_redirect.directory.values import DirectorySettings
from eas_redirect.lab.http_server import Server
from eas_redirect.lab.legacy_exchange import LabAccount, LegacyExchange, Treatment
from tests.benchmarks.measure import percentile
from tests.benchmarks.sizing import take_all_descriptors
from tests.benchmarks.usage import usage_with_children
from tests.integration.device import PATH, basic
from tests.integration.running import Running, run
from tests.integration.samba import ROOT, running_samba
from tests.integration.slapd import running_slapd
from tests.integration.test_moved_slapd import WRITER, modify

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

DEVICES, MOVED = 1000, 200
DELAY_S = 20.0
ALL_S, MOST_S = 90.0, 60.0
STAFF = f"OU=Staff,{ROOT}"
PASSWORD = "Example-Passw0rd"
CONFIG = """mode = "enforce"
[exchange]
host_names = ["mail.contoso.example"]
[redirect]
end_waits = "ping"
[directory]
servers = {servers}
ca_file = "{ca_file}"
bind_user = "{bind_user}"
password_file = "{password_file}"
search_base = "{base}"
"""


class Crowd:
    """The devices. `met` has when each that was told to ask got its 451."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.waiting = 0
        self.met: dict[int, float] = {}
        self.odd: list[str] = []

    async def device(self, number: int) -> None:
        body = await self._ask(number, "Ping")
        if not body.endswith(ENDINGS["ping"]):
            self.odd.append(f"{number}: {body[:40]!r}")
            return
        answer = await self._ask(number, "FolderSync")
        if answer.startswith(b"HTTP/1.1 451 "):
            self.met[number] = time.monotonic()
        else:
            self.odd.append(f"{number}: {answer[:40]!r}")

    async def _ask(self, number: int, command: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        target = f"{PATH}?Cmd={command}&User=u{number}&DeviceId=D{number}&DeviceType=Phone"
        writer.write(
            f"POST {target} HTTP/1.1\r\nHost: mail.contoso.example\r\n"
            f"Authorization: {basic(f'CONTOSO\\u{number}', PASSWORD)}\r\n"
            "MS-ASProtocolVersion: 14.1\r\nContent-Length: 0\r\n\r\n".encode()
        )
        try:
            self.waiting += command == "Ping"
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            return head + await reader.readexactly(length)
        finally:
            self.waiting -= command == "Ping"
            writer.close()


async def measure(name: str, running: Running, move: Callable[[], None]) -> None:
    crowd = Crowd(running.port)
    tasks = []
    for some in batched(range(DEVICES), 50):
        tasks += [asyncio.create_task(crowd.device(number)) for number in some]
        await asyncio.sleep(0.25)
    await asyncio.sleep(45)  # everybody is known, and has been looked at
    assert crowd.waiting == DEVICES
    before, began = usage_with_children(running.process.pid).cpu_s, time.monotonic()
    await asyncio.sleep(40)
    share = (usage_with_children(running.process.pid).cpu_s - before) / (time.monotonic() - began)
    await asyncio.to_thread(move)
    moved_at = time.monotonic()
    until = moved_at + ALL_S + 30
    while len(crowd.met) < MOVED and time.monotonic() < until:  # noqa: ASYNC110 - no event
        await asyncio.sleep(0.5)
    await asyncio.sleep(25)  # one more look
    others = DEVICES - MOVED - crowd.waiting
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    took = [at - moved_at for at in crowd.met.values()]
    print(
        f"\n{name}: {len(took)} of {MOVED} have met their 451; half within "
        f"{percentile(took, 0.5):.0f} s, 99 % within {percentile(took, 0.99):.0f} s (goal "
        f"{MOST_S:.0f}), all within {max(took):.0f} s (goal {ALL_S:.0f}); {others} waits of others "
        f"touched; {100 * share:.2f} % of a core of ours while {DEVICES} wait"
    )
    assert crowd.odd == []
    assert sorted(crowd.met) == list(range(MOVED))
    assert others == 0


@contextmanager
def proxy(tmp_path: Path, settings: DirectorySettings) -> Iterator[tuple[Running, LegacyExchange]]:
    take_all_descriptors()
    handler = LegacyExchange(
        [
            LabAccount(
                name=f"u{n}",
                user_principal_name=f"u{n}@contoso.example",
                password=PASSWORD,
                behaviour=Treatment.UNTOLD,
            )
            for n in range(DEVICES)
        ],
        longest_ping_s=3540,
        error_delay_s=DELAY_S,
    )
    head = CONFIG.format(
        servers=list(settings.servers),
        ca_file=settings.ca_file,
        bind_user=settings.bind_user,
        password_file=settings.password_file,
        base=ROOT,
    )
    with Server(handler) as exchange, run(tmp_path / "proxy", exchange.url, head=head) as running:
        yield running, handler


def people(extra: str, home: str) -> Iterator[str]:
    for n in range(DEVICES):
        yield (
            f"\ndn: CN=u{n},{STAFF}\nobjectClass: user\n{extra.format(n)}sAMAccountName: u{n}\n"
            f"mailNickname: u{n}\nuserPrincipalName: u{n}@contoso.example\nhomeMDB: {home}\n"
        )


MOVES = "\n".join(
    f"dn: CN=u{n},{STAFF}\nchangetype: modify\nadd: targetAddress\n"
    f"targetAddress: SMTP:u{n}@contoso.mail.example\n-\ndelete: homeMDB\n"
    for n in range(MOVED)
)


async def test_openldap(tmp_path: Path) -> None:
    ldif = "".join(people("sn: x\ncn: u{0}\n", "CN=DB01"))
    with (
        running_slapd(tmp_path / "slapd", ldif=ldif, access=WRITER) as slapd,
        proxy(tmp_path, slapd.settings()) as (running, exchange),
    ):

        def move() -> None:
            modify(slapd, MOVES)
            for n in range(MOVED):
                exchange.leave(f"u{n}")

        await measure("OpenLDAP", running, move)


async def test_samba(tmp_path: Path) -> None:
    with running_samba(tmp_path / "samba") as samba:
        for some in batched(people("", f"CN=Bert Local,{STAFF}"), 500):
            samba.ldb("ldbadd", "".join(some))
        with proxy(tmp_path, samba.settings()) as (running, exchange):

            def move() -> None:
                samba.ldb("ldbmodify", MOVES)
                for n in range(MOVED):
                    exchange.leave(f"u{n}")

            await measure("Samba AD", running, move)

"""Load that judges every answer while something breaks: devices, faults, and a table of both.

What a device may get is written down beforehand: its one redirect, or Exchange's own answer byte by
byte. Whatever else comes is counted by its kind.
"""

import http.client
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.integration.device import LOCATION, PATH, basic
from tests.integration.processes import ServerProcess, free_port
from tests.integration.upstream import CASE
from tests.support import require

TIMEOUT_S = 30
PER_CONNECTION = 16  # exchanges; then a device comes back on a new one, perhaps to another worker
NORMAL_IN_A_ROW = 3  # answers of every device, all as they should be, are a normal again
WBXML = "application/vnd.ms-sync.wbxml"
NO_MAILBOX = bytes.fromhex("03016A000007564C0331323300 0101")
OK = bytes.fromhex("03016A000007564C033100 0101")
HTML = b"<html><body>You do not have permission to view this page.</body></html>"

type Kind = Literal["right", "passed", "changed", "redirected", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One phone. `moved`: it is to be redirected when the directory can be asked."""

    name: str
    user: str
    status: int
    body: bytes
    moved: bool = False
    method: str = "POST"
    target: str = f"{PATH}?Cmd=FolderSync&DeviceId=D1&DeviceType=Phone"

    @property
    def content_type(self) -> str:
        return WBXML if self.status == 200 and self.target.startswith(PATH) else "text/html"


DEVICES = (
    Device(name="moved", user="anna@contoso.example", status=200, body=NO_MAILBOX, moved=True),
    Device(name="moved-bare", user="CONTOSO\\cora", status=200, body=NO_MAILBOX, moved=True),
    Device(
        name="weak",
        user="CONTOSO\\anna",
        status=403,
        body=HTML,
        moved=True,  # Exchange is known to check logons: it has asked the proxy for one
        method="OPTIONS",
        target=PATH,
    ),
    Device(name="local", user="bert@contoso.example", status=200, body=NO_MAILBOX),
    Device(name="stranger", user="zoe@contoso.example", status=200, body=NO_MAILBOX),
    Device(name="ordinary", user="bert@contoso.example", status=200, body=OK),
    Device(
        name="owa", user="bert@contoso.example", status=200, body=HTML, method="GET", target="/owa/"
    ),
)

EXCHANGE = """\
defaults
  mode http
  timeout connect 5s
  timeout client 120s
  timeout server 120s
frontend exchange
  bind 127.0.0.1:{port}
{answers}
"""


@contextmanager
def exchange(directory: Path) -> Iterator[tuple[int, ServerProcess]]:
    """An Exchange that can be killed, hung and slowed: a process of its own (HAProxy)."""
    require("haproxy")
    directory.mkdir()
    port, answers = free_port(), []
    for device in DEVICES:
        (directory / device.name).write_bytes(device.body)
        answers.append(
            f"  http-request return status {device.status} content-type {device.content_type}"
            f" file {directory / device.name} if {{ req.hdr({CASE}) {device.name} }}"
        )
    # Whoever brings no logon is asked for one: without that a 403 counts for nothing.
    unknown = "! { req.fhdr(Authorization) -m found }"
    answers.append(f"  http-request return status 401 hdr WWW-Authenticate Negotiate if {unknown}")
    config = directory / "haproxy.cfg"
    config.write_text(EXCHANGE.format(port=port, answers="\n".join(answers)), "utf-8")
    command = ["/usr/sbin/haproxy", "-db", "-f", str(config)]
    process = ServerProcess(command, [("127.0.0.1", port)], directory / "haproxy.log")
    process.start()
    try:
        yield port, process
    finally:
        process.kill()


@dataclass(frozen=True, slots=True)
class Seen:
    """One exchange as its device saw it; `began` on the monotonic clock."""

    device: str
    began: float
    kind: Kind
    detail: str = ""
    took_s: float = 0.0


class Load:
    """`with Load(port) as load:` every device asks over and over on connections of its own."""

    def __init__(self, port: int, devices: Sequence[Device] = DEVICES, pause_s: float = 0.02):
        self._port = port
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._seen: list[Seen] = []
        self._threads = [threading.Thread(target=self._ask, args=(d,)) for d in devices]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT_S)

    def since(self, began: float) -> list[Seen]:
        with self._lock:
            return [seen for seen in self._seen if seen.began >= began]

    def normal_since(self, began: float) -> float | None:
        """When every device began the last of so many right answers in a row after `began`."""
        rows: Counter[str] = Counter()
        for seen in self.since(began):
            rows[seen.device] = rows[seen.device] + 1 if seen.kind == "right" else 0
            if len(rows) == len(self._threads) and min(rows.values()) >= NORMAL_IN_A_ROW:
                return seen.began
        return None

    def _ask(self, device: Device) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        for turn in itertools.count(1):
            if self._stop.wait(self._pause_s):
                break
            if turn % PER_CONNECTION == 0:
                connection.close()
            began = time.monotonic()
            try:
                kind, detail = _exchanged(connection, device)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                kind, detail = "lost", type(error).__name__
            seen = Seen(device.name, began, kind, detail, time.monotonic() - began)
            with self._lock:
                self._seen.append(seen)
        connection.close()


def _exchanged(connection: http.client.HTTPConnection, device: Device) -> tuple[Kind, str]:
    headers = {
        "Host": "mail.contoso.example",
        CASE: device.name,
        "Authorization": basic(device.user),
        "MS-ASProtocolVersion": "14.1",
        "User-Agent": "Phone/1.0",
    }
    connection.request(device.method, device.target, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    return judge(device, answer.status, answer.getheader("X-MS-Location"), body)


def judge(device: Device, status: int, location: str | None, body: bytes) -> tuple[Kind, str]:
    """What an answer is to this device."""
    if status == 451:
        good = device.moved and location == LOCATION and body == b""
        return ("right", "") if good else ("redirected", f"to {location}")
    if (status, body) == (device.status, device.body):
        return ("passed" if device.moved else "right"), ""
    if status in (502, 503, 504):  # no answer of Exchange's reached the proxy
        return "lost", "no answer"
    return "changed", f"{status}, {len(body)} bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that breaks and is repaired.

    `means`: how exchanges end while what broke is away, such as `no answer`; any number of them are
    the fault's own. `cuts`: how many more it may take with it, those that were under way.
    """

    name: str
    begin: Callable[[], None]
    mend: Callable[[], None]
    lasts_s: float = 2.0
    means: str | None = None
    cuts: int = 0


@dataclass(slots=True)
class Survey:
    """What the exchanges of one fault came to."""

    fault: Fault
    kinds: Counter[Kind] = field(default_factory=Counter)
    details: Counter[str] = field(default_factory=Counter)
    meant: int = 0  # lost in the way that the fault means
    slowest_s: float = 0.0
    normal_s: float | None = None  # after the mending

    def count(self, seen: Seen) -> None:
        self.kinds[seen.kind] += 1
        self.slowest_s = max(self.slowest_s, seen.took_s)
        if seen.kind in ("changed", "redirected", "lost"):
            self.details[f"{seen.device}: {seen.kind} {seen.detail}"] += 1
        self.meant += seen.kind == "lost" and seen.detail == self.fault.means

    @property
    def sent(self) -> int:
        return self.kinds.total()

    @property
    def lost(self) -> int:
        """Beyond those that the fault itself cut."""
        return self.kinds["lost"] - self.cut

    @property
    def cut(self) -> int:
        return self.meant + min(self.fault.cuts, self.kinds["lost"] - self.meant)


def suffer(load: Load, fault: Fault, *, settle_s: float = 30.0) -> Survey:
    """One fault from its beginning until everything is normal again."""
    survey, began = Survey(fault), time.monotonic()
    fault.begin()
    try:
        time.sleep(fault.lasts_s)  # a fault takes real time: other processes live in it
    finally:
        fault.mend()
    repaired = time.monotonic()
    while time.monotonic() < repaired + settle_s:
        normal = load.normal_since(repaired)
        if normal is not None:
            survey.normal_s = normal - repaired
            break
        time.sleep(0.05)
    for seen in load.since(began):
        survey.count(seen)
    return survey


def pulses(process: ServerProcess, count: int = 6) -> None:
    """A server that gets a tenth of the time it needs."""
    for _ in range(count):
        process.pause()
        time.sleep(0.3)
        process.resume()
        time.sleep(0.03)


def table(surveys: Sequence[Survey]) -> str:
    lines = [
        f"{'fault':<36}{'sent':>6}{'passed':>8}{'changed':>9}{'lost':>6}{'cut':>5}"
        f"{'wrong redirects':>17}{'slowest':>9}{'normal after':>14}"
    ]
    for s in surveys:
        normal = "never" if s.normal_s is None else f"{s.normal_s:.1f} s"
        slowest = f"{s.slowest_s:.1f} s"
        lines.append(
            f"{s.fault.name:<36}{s.sent:>6}{s.kinds['passed']:>8}{s.kinds['changed']:>9}{s.lost:>6}"
            f"{s.cut:>5}{s.kinds['redirected']:>17}{slowest:>9}{normal:>14}"
        )
    return "\n".join(lines)

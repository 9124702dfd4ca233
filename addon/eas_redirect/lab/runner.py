"""The whole lab as one context: certificates, files, stand-ins and the real mitmdump."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from eas_redirect.directory.adoption import SETTLE_S
from eas_redirect.judging.ended_waits import beside
from eas_redirect.lab.authority import InUseError, LabCertificates, locked
from eas_redirect.lab.http_server import Server
from eas_redirect.lab.ldif_export import write_ldif
from eas_redirect.lab.legacy_exchange import (
    LONGEST_PING_S,
    LabAccounts,
    LegacyExchange,
    ProductVersion,
)
from eas_redirect.lab.lent_interface import lent
from eas_redirect.lab.outcome import JournalLine, OutcomeRow, outcome_of, read_journal, tells_of
from eas_redirect.lab.personas import (
    AUTODISCOVER,
    CLOUD,
    CLOUD_AUTODISCOVER,
    FABRIKAM,
    HOST,
    PERSONAS,
    RELATIONSHIPS,
    Persona,
)
from eas_redirect.lab.phone import PATH, Route
from eas_redirect.lab.placement import Placement, loopback, names_and_addresses, transparent
from eas_redirect.lab.processes import (
    ChildProcess,
    ProxyProcess,
    free_port,
    start_haproxy,
    start_judge,
    start_proxy,
)
from eas_redirect.lab.target_server import TargetServer
from eas_redirect.lab.walk import Walk, knock, walk_all
from eas_redirect.telemetry.record import Carrier

JOURNAL_WAIT_S = 10.0
LEAVES_S = 0.5  # so long a Ping waits until Exchange says that the mailbox has left

CONFIG = """\
# Made by `eas-redirect lab`. docs/reference.md explains every key.
mode = "enforce"

[exchange]
host_names = ["mail.contoso.example", "autodiscover.contoso.example"]
default_domain = "CONTOSO"

[directory]
snapshot = "directory.ldif"

watch_s = 1

[redirect]
end_waits = "ping"

[autodiscover]
phones = "listed"

[journal]
path = "eas-journal.jsonl"
"""


CARRIED = """
[proxy]
upstream = "{upstream}"
upstream_name = "{name}"
upstream_ca = "{ca}"
listen = "{listen}"
cert = "{cert}"

[judge]
listen = "{judge}"
servers = ["{judge}"]
"""
"""What HAProxy and its judge need besides CONFIG."""


class WorkDirectoryError(Exception):
    """The work directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSettings:
    """Where the lab keeps its files and where its proxy listens (port 0: any free one).
    `transparent`: in network namespaces, with the proxy in the phones' path; then `listen`,
    `port` and `names` are ignored."""

    work: Path
    certificates: Path
    listen: str = "127.0.0.1"
    port: int = 0
    carrier: Carrier = "mitmproxy"
    transparent: bool = False
    interface: str | None = None  # with `transparent`: the one that leads real phones in
    old_phones: bool = False  # that know RSA and TLS 1.0 only
    names: tuple[str, ...] = ()  # further names of the proxy, for its certificate
    personas: Sequence[Persona] = field(default=PERSONAS)


class Lab:
    """`with Lab(settings, say) as lab: rows = lab.walk()`; leaving ends everything that was
    started. `say` gets one line for each step."""

    def __init__(self, settings: LabSettings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self._stack = ExitStack()
        self.journal = settings.work / "eas-journal.jsonl"
        self._unjudged = settings.work / "haproxy.jsonl"  # of HAProxy's own

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        settings = self._settings
        stack.enter_context(_claimed(settings.work))
        self._say(f"certificates in {settings.certificates}")
        with _advice_on_files():
            self.certificates = LabCertificates(
                settings.certificates, for_old_phones=settings.old_phones
            )
            config = self._write_files()
        self.site = self._choose_site(stack)
        with self.site.at_servers():
            self._start_servers(stack)
        with self.site.at_proxy():
            if settings.carrier == "haproxy":
                self.proxy = self._start_haproxy(config, stack)
            else:
                self.proxy = self._start_proxy(config)
            stack.enter_context(self.proxy.child)
            self._answer_names(stack)
        host, port = self.proxy.address
        beside = "HAProxy and a judge" if settings.carrier == "haproxy" else "mitmdump"
        self._say(f"{beside} with eas-redirect at {host}:{port}")
        self.network = self._map_network()

    def _choose_site(self, stack: ExitStack) -> Placement:
        if not self._settings.transparent:
            return loopback(self._settings.listen, self._settings.port)
        self._say("network namespaces for a phone, a gate and servers")
        interface, work = self._settings.interface, self._settings.work
        door = partial(lent, interface, work, self._say) if interface else None
        return stack.enter_context(transparent(door))

    def _start_servers(self, stack: ExitStack) -> None:
        accounts = [persona.account for persona in self.personas]
        exchange = self._legacy = LegacyExchange(
            accounts,
            version=ProductVersion.EXCHANGE_2013,
            longest_ping_s=LONGEST_PING_S,
            wait_s=LEAVES_S,
            on_wait=self._move,
            location=f"https://{FABRIKAM}{PATH}",
        )
        names = (HOST, AUTODISCOVER, "localhost", "127.0.0.1")
        own = self.certificates.issue("lab-exchange", names)
        host, port = self.site.exchange
        self.exchange = stack.enter_context(
            Server(exchange, tls=own.server_context(), host=host, port=port)
        )
        self._say(f"an old Exchange (a stand-in for 2013) at {self.exchange.url}")
        away = self.certificates.issue("lab-target", (CLOUD, FABRIKAM, CLOUD_AUTODISCOVER))
        back = f"https://{HOST}{PATH}"
        modern = (CLOUD, CLOUD_AUTODISCOVER)
        handler = TargetServer(LabAccounts(accounts), modern_hosts=modern, back=back)
        self._arrivals = handler.arrivals
        host, port = self.site.target
        self.target = stack.enter_context(
            Server(handler, tls=away.server_context(), host=host, port=port)
        )
        self._say(f"where mailboxes moved to (a stand-in for {CLOUD}) at {self.target.url}")

    def _front(self) -> Path:
        own = (HOST, AUTODISCOVER, "localhost", "127.0.0.1")
        names = dict.fromkeys((*own, *self._settings.names))
        return self.certificates.issue("lab-front", tuple(names)).file.resolve()

    def _start_haproxy(self, config: Path, stack: ExitStack) -> ProxyProcess:
        """With the files that users get, and the judge beside it."""
        judge_port = free_port("127.0.0.1")
        host, port = self.site.proxy
        port = port or free_port(host)
        tables = CARRIED.format(
            upstream=self.exchange.url,
            name=HOST,
            listen=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            cert=self._front(),
            ca=self.certificates.ca_file.resolve(),
            judge=f"127.0.0.1:{judge_port}",
        )
        config.write_text(CONFIG + tables, "utf-8")
        stack.enter_context(start_judge(config, self._settings.work / "judge.log"))
        child = start_haproxy(config, self._settings.work / "haproxy", self._unjudged)
        return ProxyProcess(child=child, address=(host, port))

    def _start_proxy(self, config: Path) -> ProxyProcess:
        """A reverse proxy has a certificate; a transparent one makes one for each name it meets."""
        work = self._settings.work
        front = self._front()
        self.certificates.write_mitmproxy_ca(work / "mitmproxy")
        return start_proxy(
            config,
            work / "mitmdump.log",
            mode="transparent" if self.site.transparent else f"reverse:{self.exchange.url}",
            confdir=work / "mitmproxy",
            certificates=() if self.site.transparent else (str(front),),
            upstream_ca=self.certificates.ca_file.resolve(),
            listen=self.site.proxy,
            old_phones=self._settings.old_phones,
        )

    def _answer_names(self, stack: ExitStack) -> None:
        """For real phones: addresses, and the lab's own names."""
        settings = self._settings
        if settings.interface is None:
            return
        there = self.target.host
        here = self.exchange.host
        names = {HOST: here, AUTODISCOVER: here}
        names |= dict.fromkeys((CLOUD, FABRIKAM, CLOUD_AUTODISCOVER), there)
        command = names_and_addresses(settings.interface, names, settings.work)
        child = stack.enter_context(ChildProcess("dnsmasq", command, settings.work / "dnsmasq.log"))
        child.wait_for("started, version")
        self._say(f"real phones at {settings.interface}: dnsmasq gives addresses and names")

    def _map_network(self) -> Route:
        """What DNS would tell the phones."""
        transparent = self.site.transparent
        here = (self.exchange.host, self.exchange.port) if transparent else self.proxy.address
        there = (self.target.host, self.target.port)
        addresses = {HOST: here, AUTODISCOVER: here}
        addresses |= dict.fromkeys((CLOUD, FABRIKAM, CLOUD_AUTODISCOVER), there)
        return Route(addresses, self.certificates.client_context(), self.site.dial)

    def _write_files(self) -> Path:
        """The configuration, the directory snapshot; the journal of an earlier run goes."""
        work = self._settings.work
        self.journal.unlink(missing_ok=True)
        beside(str(self.journal)).unlink(missing_ok=True)
        self._unjudged.unlink(missing_ok=True)
        self._write_directory()
        config = work / "eas-redirect.toml"
        config.write_text(CONFIG, "utf-8")
        return config.resolve()

    def _write_directory(self, *moved: str) -> None:
        """Users whose mailbox is yet to move are still here, except those who have `moved`."""
        users = [
            p.directory_user_before if p.ended and p.name not in moved else p.directory_user
            for p in self.personas
        ]
        ldif = self._settings.work / "directory.ldif"
        fresh = ldif.with_suffix(".new")
        fresh.write_text(write_ldif(users, RELATIONSHIPS), "utf-8")
        # It is whole, and the proxy need not wait to see that nobody writes any more.
        os.utime(fresh, (time.time() - SETTLE_S,) * 2)
        fresh.replace(ldif)

    def _move(self, name: str) -> None:
        """While the phone waits."""
        self._legacy.leave(name)
        self._write_directory(name)

    @property
    def personas(self) -> Sequence[Persona]:
        """HAProxy's side ends no waits, so the persona that needs it is left out."""
        carried = self._settings.carrier == "haproxy"
        return [p for p in self._settings.personas if not (carried and p.ended)]

    @property
    def has_door(self) -> bool:
        """Whether real phones can come into the transparent lab."""
        return self._settings.interface is not None

    def walk(self) -> tuple[OutcomeRow, ...]:
        """Every persona through the proxy; a row for each."""
        personas = self.personas
        self._say(f"{len(personas)} devices ask for their mail")
        if self.site.transparent:
            knock(self.network)
        walks = walk_all(personas, self.network)
        journal = self._await_journal(walks)
        return outcome_of(
            walks,
            self.exchange.exchanged,
            journal,
            {arrival.user for arrival in self._arrivals if arrival.status == 200},
            both_sides_seen=self.site.transparent,
        )

    def _await_journal(self, walks: Sequence[Walk]) -> tuple[JournalLine, ...]:
        """The journal once it has lines for every walk; after a while, whatever there is."""
        deadline = time.monotonic() + JOURNAL_WAIT_S
        lines = self._read_journals()
        both = self.site.transparent
        while not tells_of(lines, walks, both_sides_seen=both) and time.monotonic() < deadline:
            time.sleep(0.02)
            lines = self._read_journals()
        return lines

    def _read_journals(self) -> tuple[JournalLine, ...]:
        """The journal, and HAProxy's lines about exchanges that nobody judged."""
        return read_journal(self.journal) + read_journal(self._unjudged)


@contextmanager
def _advice_on_files() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = "name other directories with --work and --certs."
        raise WorkDirectoryError(f"{error}: {advice}") from error


@contextmanager
def _claimed(work: Path) -> Iterator[None]:
    """Only one lab at a time may use the work directory."""
    with ExitStack() as stack:
        try:
            with _advice_on_files():
                stack.enter_context(locked(work, wait=False))
        except InUseError as error:
            advice = "end it, or give this one a directory of its own with --work."
            raise WorkDirectoryError(f"Another lab runs in {work}: {advice}") from error
        yield

"""Worst days: servers that die, hang, drip, lie about who they are. All of it on real sockets."""

import asyncio
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from eas_redirect.directory.ldap.active_directory import ActiveDirectory
from eas_redirect.directory.values import DirectorySettings, Found, Lookup, Unavailable
from eas_redirect.lab.authority import LabCertificates
from tests.directory.logons import logon
from tests.integration.slapd import Slapd, running_slapd

pytestmark = pytest.mark.integration

ANNA = logon("CONTOSO\\anna")
GRACE_S = 2.0  # for a busy machine, beyond a time limit
type Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Slapd, Slapd]]:
    """Two servers with the same forest, of one CA."""
    authority = LabCertificates(tmp_path / "tls")
    with (
        running_slapd(tmp_path / "one", authority=authority) as one,
        running_slapd(tmp_path / "two", authority=authority) as two,
    ):
        yield one, two


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with running_slapd(tmp_path_factory.mktemp("slapd") / "home") as running:
        yield running


@asynccontextmanager
async def asking(
    settings: DirectorySettings, cool_down_s: float = 0.2
) -> AsyncIterator[ActiveDirectory]:
    directory = ActiveDirectory(settings, cool_down_s=cool_down_s)
    try:
        yield directory
    finally:
        directory.close()


async def ask(directory: ActiveDirectory) -> Lookup:
    return (await directory.recipient(ANNA)).lookup


async def ask_many(directory: ActiveDirectory, count: int = 40) -> list[Lookup]:
    return await asyncio.gather(*(ask(directory) for _ in range(count)))


async def until_found(directory: ActiveDirectory, timeout_s: float = 30) -> None:
    give_up = time.monotonic() + timeout_s
    while not isinstance(last := await ask(directory), Found):
        assert time.monotonic() < give_up, last
        await asyncio.sleep(0.05)


async def failure(settings: DirectorySettings) -> Unavailable:
    """What a look-up ends with; within the time limit, and with no password in its words."""
    async with asking(settings) as directory:
        began = time.monotonic()
        lookup = await ask(directory)
        assert time.monotonic() - began < settings.lookup_timeout_s + GRACE_S
    assert isinstance(lookup, Unavailable), lookup
    assert "Passw0rd" not in lookup.message
    return lookup


@asynccontextmanager
async def listening(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """The port of a server that is no directory."""
    writers: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
        # Else the loop may end first, and a later test is blamed for what was left open.
        await asyncio.wait_for(server.wait_closed(), 10)


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Accepts, reads, says nothing."""
    while await reader.read(4096):
        pass


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Promises a long message and sends a byte of it every now and then, for ever."""
    await reader.read(1)
    writer.write(bytes.fromhex("3084000fffff"))
    while not writer.is_closing():
        writer.write(b"\x02")
        await asyncio.sleep(0.05)


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()
    writer.close()


def footprint() -> tuple[int, int]:
    """Threads, open descriptors."""
    return threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only


async def test_one_of_two_killed_under_load_loses_nothing(pair: tuple[Slapd, Slapd]) -> None:
    one, two = pair
    async with asking(one.settings(two)) as directory:
        assert all(isinstance(lookup, Found) for lookup in await ask_many(directory))
        load = asyncio.gather(*(ask_many(directory) for _ in range(5)))
        await asyncio.sleep(0.01)
        one.process.kill()
        assert all(isinstance(lookup, Found) for lookups in await load for lookup in lookups)
        assert (await directory.recipient(ANNA)).server == f"127.0.0.1:{two.tls_port}"


async def test_one_of_two_hanging_loses_nothing(pair: tuple[Slapd, Slapd]) -> None:
    one, two = pair
    settings = one.settings(two, lookup_timeout_s=4.0)
    async with asking(settings) as directory:
        await ask_many(directory)
        one.process.pause()
        began = time.monotonic()
        assert all(isinstance(lookup, Found) for lookup in await ask_many(directory))
        assert time.monotonic() - began < settings.lookup_timeout_s
        one.process.resume()


async def test_the_first_server_is_asked_again_when_it_is_back(pair: tuple[Slapd, Slapd]) -> None:
    one, two = pair
    async with asking(one.settings(two)) as directory:
        one.process.kill()
        await until_found(directory)
        one.process.start()
        servers = {"none"}
        give_up = time.monotonic() + 30
        while servers != {f"127.0.0.1:{one.tls_port}"}:
            assert time.monotonic() < give_up, servers
            await asyncio.sleep(0.05)
            servers = {str((await directory.recipient(ANNA)).server)}


async def test_all_down_is_said_at_once_and_mends_itself(pair: tuple[Slapd, Slapd]) -> None:
    one, two = pair
    async with asking(one.settings(two), cool_down_s=0.5) as directory:
        await ask_many(directory)
        one.process.kill()
        two.process.kill()
        lookups = await ask_many(directory)
        assert {type(lookup) for lookup in lookups} == {Unavailable}
        known = await directory.relationships()
        assert isinstance(known.relationships, Unavailable)
        two.process.start()
        await until_found(directory)


async def test_a_server_that_closes_an_idle_connection_costs_nothing(slapd: Slapd) -> None:
    async with asking(slapd.settings(pool_size=1), cool_down_s=60) as directory:
        assert isinstance(await ask(directory), Found)
        slapd.process.kill()
        slapd.process.start()
        assert isinstance(await ask(directory), Found)


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
@pytest.mark.parametrize("handler", [silent, dripping, garbage])
async def test_a_port_that_is_no_directory(slapd: Slapd, scheme: str, handler: Handler) -> None:
    async with listening(handler) as port:
        settings = slapd.settings(servers=(f"{scheme}://127.0.0.1:{port}",), lookup_timeout_s=1.0)
        fault = await failure(settings)
    assert fault.error_type in ("timeout", "tls", "disconnected")
    if handler is silent:
        assert fault.error_type == "timeout"


async def test_a_drip_does_not_hold_a_thread_beyond_the_limit(slapd: Slapd) -> None:
    async with listening(dripping) as port:
        settings = slapd.settings(
            servers=(f"ldap://127.0.0.1:{port}",), lookup_timeout_s=0.5, pool_size=1
        )
        async with asking(settings, cool_down_s=0.0) as directory:
            for _ in range(3):
                assert isinstance(await ask(directory), Unavailable)


async def test_a_hanging_server_does_not_hold_up_close(slapd: Slapd) -> None:
    before = footprint()
    directory = ActiveDirectory(slapd.settings())
    await ask_many(directory)
    slapd.process.pause()
    try:
        waiting = asyncio.gather(*(ask(directory) for _ in range(10)))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        directory.close()
        assert time.monotonic() - began < 1.0
        assert {type(lookup) for lookup in await waiting} == {Unavailable}
        give_up = time.monotonic() + 30
        while any(now > then for now, then in zip(footprint(), before, strict=True)):
            assert time.monotonic() < give_up, (footprint(), before)
            await asyncio.sleep(0.01)
    finally:
        slapd.process.resume()


async def test_the_event_loop_never_waits(slapd: Slapd) -> None:
    """While a server hangs, a task that ticks goes on ticking."""
    async with asking(slapd.settings(lookup_timeout_s=1.0)) as directory:
        slapd.process.pause()
        try:
            waiting = asyncio.gather(*(ask(directory) for _ in range(40)))
            ticks = 0
            while not waiting.done():
                await asyncio.sleep(0.01)
                ticks += 1
            await waiting
        finally:
            slapd.process.resume()
    assert ticks >= 20


async def test_bounced_servers_leave_nothing_behind(slapd: Slapd) -> None:
    async with asking(slapd.settings(lookup_timeout_s=1.0), cool_down_s=0.05) as directory:
        await until_found(directory)
        before = footprint()
        for _ in range(5):
            load = asyncio.gather(*(ask_many(directory, 20) for _ in range(5)))
            slapd.process.kill()
            await load
            slapd.process.start()
            await until_found(directory)
        threads, descriptors = footprint()
        assert threads <= before[0] + slapd.settings().pool_size
        assert descriptors <= before[1] + slapd.settings().pool_size


async def test_the_name_in_the_certificate_counts(slapd: Slapd) -> None:
    for host, good in (("localhost", True), ("127.0.0.1", True), ("127.0.0.2", False)):
        settings = slapd.settings(servers=(f"ldaps://{host}:{slapd.tls_port}",))
        if good:
            async with asking(settings) as directory:
                assert isinstance(await ask(directory), Found)
    # 127.0.0.2 does not listen; a name that the certificate lacks is found by a forwarded port.
    async with _forward(slapd.tls_port, "127.0.0.2") as port:
        fault = await failure(slapd.settings(servers=(f"ldaps://127.0.0.2:{port}",)))
    assert fault.error_type == "certificate"
    assert "127.0.0.2" in fault.message
    assert "directory.ca_file" in fault.message


@asynccontextmanager
async def _forward(port: int, host: str) -> AsyncIterator[int]:
    """A port of `host` behind which stands `port` of 127.0.0.1."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        try:
            await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))
        finally:
            there_writer.close()
            with contextlib.suppress(ConnectionError):
                await there_writer.wait_closed()

    async with listening(pump, host) as listening_port:
        yield listening_port


async def test_another_ca_is_refused_and_no_verification_takes_it(
    slapd: Slapd, tmp_path: Path
) -> None:
    other = LabCertificates(tmp_path / "other").ca_file
    fault = await failure(slapd.settings(ca_file=str(other)))
    assert fault.error_type == "certificate"
    assert "set directory.ca_file to the CA that issued it" in fault.message
    fault = await failure(slapd.settings(ca_file=None))
    assert fault.error_type == "certificate"
    async with asking(slapd.settings(ca_file=None, verify=False)) as directory:
        assert isinstance(await ask(directory), Found)


@pytest.mark.parametrize("content", [None, "no certificate\n"], ids=["missing", "empty"])
async def test_a_ca_file_that_cannot_be_used(
    slapd: Slapd, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    fault = await failure(slapd.settings(ca_file=str(file)))
    assert fault.error_type == "certificate"
    assert f"directory.ca_file ({file}) cannot be used" in fault.message


async def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=500)
    authority = LabCertificates(tmp_path / "tls", now=long_ago)
    with running_slapd(tmp_path / "home", authority=authority) as slapd:
        fault = await failure(slapd.settings())
    assert fault.error_type == "certificate"
    assert "certificate has expired" in fault.message


async def test_start_tls_is_verified_like_tls(slapd: Slapd, tmp_path: Path) -> None:
    settings = slapd.settings(servers=(slapd.ldap_url,), start_tls=True)
    async with asking(settings) as directory:
        assert isinstance(await ask(directory), Found)
    other = LabCertificates(tmp_path / "other").ca_file
    fault = await failure(
        slapd.settings(servers=(slapd.ldap_url,), start_tls=True, ca_file=str(other))
    )
    assert fault.error_type == "certificate"


async def test_start_tls_that_is_not_offered_sends_no_password(tmp_path: Path) -> None:
    with running_slapd(tmp_path / "home", with_tls=False) as slapd:
        fault = await failure(slapd.settings(servers=(slapd.ldap_url,), start_tls=True))
    assert fault.error_type == "tls"
    assert "offers no StartTLS" in fault.message


@pytest.mark.parametrize(
    ("server", "error_type"),
    [
        ("ldaps://127.0.0.1:{closed}", "connection_refused"),
        ("ldaps://no-such-host.invalid:{closed}", "host_not_found"),
        ("ldaps://127.0.0.1:{plain}", "tls"),
    ],
)
async def test_servers_that_are_not_there(slapd: Slapd, server: str, error_type: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = server.format(closed=unused.getsockname()[1], plain=slapd.port)
        fault = await failure(slapd.settings(servers=(url,)))
    assert fault.error_type == error_type, fault


@pytest.mark.parametrize("first", ["refused", "hanging"])
async def test_the_addresses_of_a_name_are_tried_in_turn(
    slapd: Slapd, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """A domain's own name has the addresses of all its domain controllers; `localhost` has two."""
    resolve = socket.getaddrinfo
    others = {"refused": "127.0.0.9", "hanging": "127.0.0.8"}

    def resolved(host: str, port: int, *further: int) -> list[object]:
        if host != "dc1.contoso.example":
            return list(resolve(host, port, *further))
        stream = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*stream, (address, port)) for address in (others[first], "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    settings = slapd.settings(servers=(f"ldaps://dc1.contoso.example:{slapd.tls_port}",))
    with _deaf("127.0.0.8", slapd.tls_port):
        async with asking(settings) as directory:
            began = time.monotonic()
            assert isinstance(await ask(directory), Found)
            assert time.monotonic() - began < settings.lookup_timeout_s


@contextlib.contextmanager
def _deaf(address: str, port: int) -> Iterator[None]:
    """A port that takes no connection and refuses none: its queue is full."""
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(socket.socket())
        server.bind((address, port))
        server.listen(0)
        for _ in range(4):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect((address, port))
        yield


async def test_a_wrong_password_is_told_and_mends_when_it_is_rotated(
    slapd: Slapd, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2-Basic-Passw0rd")
    async with asking(slapd.settings(password_file=str(file))) as directory:
        lookup = await ask(directory)
        assert isinstance(lookup, Unavailable)
        assert lookup.error_type == "invalid_credentials"
        assert "hunter2" not in repr(lookup)
        file.write_text(slapd.password_file.read_text())
        await until_found(directory)


async def test_anonymous(slapd: Slapd) -> None:
    async with asking(slapd.settings(bind="anonymous", bind_user=None)) as directory:
        assert isinstance(await ask(directory), Found)


async def test_kerberos_without_its_package_says_what_to_install(
    slapd: Slapd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "ldap3.protocol.sasl.kerberos", raising=False)
    for package in ("gssapi", "winkerberos"):
        monkeypatch.setitem(sys.modules, package, None)
    fault = await failure(slapd.settings(bind="kerberos", bind_user=None))
    assert fault.error_type == "kerberos"
    assert "install eas-redirect[kerberos]" in fault.message


REFERRALS = """
dn: OU=Elsewhere,DC=contoso,DC=example
objectClass: referral
objectClass: extensibleObject
ou: Elsewhere
ref: ldap://127.0.0.1:{port}/OU=Elsewhere,DC=contoso,DC=example
"""


async def test_referrals_are_never_followed(tmp_path: Path) -> None:
    """Not the continuation reference below the base, and not one in place of an answer."""
    called: list[object] = []

    async def trap(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(writer.get_extra_info("peername"))
        writer.close()

    async with listening(trap) as port:
        with running_slapd(tmp_path / "home", ldif=REFERRALS.format(port=port)) as slapd:
            async with asking(slapd.settings()) as directory:
                assert isinstance(await ask(directory), Found)
            elsewhere = "OU=Elsewhere,DC=contoso,DC=example"
            fault = await failure(slapd.settings(search_base=elsewhere))
    assert fault.error_type in ("referral", "no_such_object")
    assert called == []


async def test_a_result_that_is_cut_off_is_no_answer(tmp_path: Path) -> None:
    """ldap3 raises nothing when a server stops at its size limit."""
    ldif = "".join(RELATIONSHIP.format(n=n) for n in range(20))
    limits = "sizelimit size.soft=10 size.hard=10 size.pr=10 size.prtotal=10"
    with running_slapd(tmp_path / "home", ldif=ldif, extra=limits) as slapd:
        async with asking(slapd.settings()) as directory:
            known = (await directory.relationships()).relationships
    assert isinstance(known, Unavailable), known
    assert known.error_type == "search_refused"


RELATIONSHIP = """
dn: CN=R{n},CN=Federation,CN=Contoso,CN=Microsoft Exchange,CN=Services,CN=Configuration,
 DC=contoso,DC=example
objectClass: msExchFedSharingRelationship
cn: R{n}
msExchFedDomainNames: r{n}.example
"""


async def test_more_relationships_than_a_page_holds(tmp_path: Path) -> None:
    ldif = "".join(RELATIONSHIP.format(n=n) for n in range(1203))
    limits = "sizelimit size.soft=500 size.hard=500 size.pr=500 size.prtotal=unlimited"
    with running_slapd(tmp_path / "home", ldif=ldif, extra=limits) as slapd:
        async with asking(slapd.settings()) as directory:
            known = (await directory.relationships()).relationships
    assert isinstance(known, tuple)
    assert len(known) == 1203 + 2


async def test_a_hidden_federation_reads_as_none(tmp_path: Path) -> None:
    hidden = 'access to dn.subtree="CN=Services,CN=Configuration,DC=contoso,DC=example" by * none'
    with running_slapd(tmp_path / "home", access=hidden) as slapd:
        async with asking(slapd.settings()) as directory:
            assert (await directory.relationships()).relationships == ()


async def test_hidden_partitions_leave_the_domain_that_the_server_names(tmp_path: Path) -> None:
    hidden = 'access to dn.subtree="CN=Partitions,CN=Configuration,DC=contoso,DC=example" by * none'
    with running_slapd(tmp_path / "home", access=hidden) as slapd:
        async with asking(slapd.settings()) as directory:
            anna = await directory.recipient(logon("contoso.example\\anna"))
            other = await directory.recipient(logon("FABRIKAM\\anna"))
    assert isinstance(anna.lookup, Found)
    assert "no domain of the forest is called FABRIKAM" in " ".join(other.steps)

"""A request of our own finds what a phone's would find: an answer, or why there is none."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.test import taddons

from eas_redirect.configuration.config import Config, load_config
from eas_redirect.proxy.own_request import MAX_HEAD, Behind
from eas_redirect.service.upstream import AUTODISCOVER, OPTIONS, Answered, NoAnswer
from tests.certificates.servers import Authority, Made, serving
from tests.integration.processes import free_port

TIMEOUT_S = 10.0
ANSWER = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n"


def configured(tmp_path: Path, text: str = "") -> Config:
    (tmp_path / "forest.ldif").touch()
    path = tmp_path / "eas-redirect.toml"
    head = 'mode = "enforce"\n'
    path.write_text(f'{head}{text}\n[directory]\nsnapshot = "forest.ldif"\n', "utf-8")
    return load_config(path)


@contextmanager
def behind(tmp_path: Path, upstream: str, text: str = "") -> Iterator[Behind]:
    config = configured(tmp_path, text)
    tls_config = TlsConfig()
    with taddons.context(tls_config) as context:
        context.configure(tls_config, confdir=str(tmp_path), mode=[f"reverse:{upstream}"])
        made = Behind(lambda: config)
        yield made
        made.trust.close()


@asynccontextmanager
async def saying(*answers: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server's URL, and the heads that it was sent; the last answer is repeated, None is none."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        said = answers[min(len(heads), len(answers)) - 1]
        if said is None:
            await reader.read()  # until it is left
        else:
            writer.write(said)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


async def test_an_answer_and_what_was_asked(tmp_path: Path) -> None:
    names = "[exchange]\nhost_names = ['mail.contoso.example']\n"
    async with saying(ANSWER) as (url, heads):
        with behind(tmp_path, url, names) as own:
            found = await own.ask(TIMEOUT_S)
            await own.ask(TIMEOUT_S, AUTODISCOVER)
    assert isinstance(found, Answered)
    assert (found.status, found.expires) == (401, None)
    assert "WWW-Authenticate: NTLM" in found.head
    first, second = (head.decode().split("\r\n") for head in heads)
    assert first[0] == f"{OPTIONS} HTTP/1.1"
    assert "Host: mail.contoso.example" in first
    assert not any(line.lower().startswith(("authorization", "cookie")) for line in first)
    assert second[0] == f"{AUTODISCOVER} HTTP/1.1"
    assert "Content-Length: 0" in second, "a POST says how long it is"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", "it closed the connection without an answer"),
        (b"220 mail ESMTP\r\n\r\n", "what it answers is not HTTP"),
        (b"HTTP/1.1 nothing\r\n\r\n", "what it answers is not HTTP"),
        (b"x" * (MAX_HEAD + 1), "what it answers is not HTTP"),
        (None, "no answer within 0.3 s"),
    ],
    ids=["nothing", "another protocol", "no status", "a head without end", "silence"],
)
async def test_what_is_no_answer(said: bytes | None, why: str, tmp_path: Path) -> None:
    async with saying(said) as (url, _):
        with behind(tmp_path, url) as own:
            assert await own.ask(0.3 if said is None else TIMEOUT_S) == NoAnswer(why=why)


async def test_nobody_is_there(tmp_path: Path) -> None:
    with behind(tmp_path, f"http://127.0.0.1:{free_port()}") as own:
        refused = await own.ask(TIMEOUT_S)
    assert isinstance(refused, NoAnswer)
    assert "onnect" in refused.why


async def test_tls_as_a_phone_has_it(tmp_path: Path) -> None:
    """By the trusted file that the configuration names, and by either name of Exchange."""
    authority = Authority(tmp_path / "ca")
    file = Made(names=("mail.contoso.example",)).write(tmp_path / "server", authority)
    names = "[exchange]\nhost_names = ['mail.contoso.example']\n"
    with serving(file) as server:
        url = f"https://localhost:{server.port}"
        with behind(tmp_path, url, names) as own:
            strange = await own.ask(TIMEOUT_S)
            own.trust.adopt(authority.file)
            known = await own.ask(TIMEOUT_S)
        with behind(tmp_path, url) as own:
            own.trust.adopt(authority.file)
            unnamed = await own.ask(TIMEOUT_S)
            own.reached("mail.contoso.example")
            called = await own.ask(TIMEOUT_S)
    assert isinstance(strange, NoAnswer)
    assert "certificate verify failed" in strange.why
    assert isinstance(known, Answered)
    assert known.expires is not None, "so that a certificate that ends can be told in time"
    assert isinstance(unnamed, NoAnswer)
    assert isinstance(called, Answered), "a phone has reached it by that name"


async def test_a_renewed_certificate_is_taken_once_its_file_is(tmp_path: Path) -> None:
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(old.file.read_bytes())
    with (
        serving(Made().write(tmp_path / "server", new)) as server,
        behind(tmp_path, f"https://localhost:{server.port}") as own,
    ):
        own.trust.adopt(trusted)
        assert isinstance(await own.ask(TIMEOUT_S), NoAnswer)
        trusted.write_bytes(new.file.read_bytes())
        assert isinstance(await own.ask(TIMEOUT_S), Answered), "it fails, so the file is read again"
        before = own.trust.in_force
        trusted.write_bytes(old.file.read_bytes())
        assert await own.renew_trust(TIMEOUT_S) is None
        assert own.trust.in_force == before, "what Exchange does not fit is not taken"
        trusted.write_bytes(b"no certificate")
        assert await own.renew_trust(TIMEOUT_S) is None
        assert isinstance(await own.ask(TIMEOUT_S), Answered)


async def test_there_is_nobody_to_ask_without_one_server(tmp_path: Path) -> None:
    config = configured(tmp_path)
    with taddons.context() as context:
        context.options.update(mode=["regular"])
        own = Behind(lambda: config)
        assert own.peer() is None
        assert isinstance(await own.ask(TIMEOUT_S), NoAnswer)
        assert await own.renew_trust(TIMEOUT_S) is None


def test_what_can_be_told_of_it_without_mitmproxy(tmp_path: Path) -> None:
    text = "[proxy]\nupstream_name = 'ex07.contoso.local'\n"
    with behind(tmp_path, "https://192.0.2.1:8443", text) as own:
        peer = own.peer()
    assert peer is not None
    assert (peer.host, peer.port, peer.tls) == ("192.0.2.1", 8443, True)
    assert peer.names == ("ex07.contoso.local",)

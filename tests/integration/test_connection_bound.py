"""NTLM and Negotiate: three legs on one upstream connection, and who a connection is afterwards."""

import base64
import os
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eas_redirect.lab.authority import LabCertificates
from tests.activesync.test_authorization import spnego
from tests.integration.messages import CONFIG, FOLDER_SYNC, LOCATION, NO_MAILBOX, at, post
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.rawserver import RawServer, Wire, connected

pytestmark = pytest.mark.integration

SIGNATURE = b"NTLMSSP\0"
OFFER = b"WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\n"
# No name in the query either: only the connection knows who it is.
NAMELESS = FOLDER_SYNC.replace(b"User=anna&", b"")
SCHEMES = pytest.mark.parametrize("scheme", [b"NTLM", b"Negotiate"])


def first_message() -> bytes:
    """MS-NLMP 2.2.1.1, without domain and workstation."""
    return SIGNATURE + struct.pack("<II", 1, 0x8207) + bytes(16)


def challenge_message(challenge: bytes) -> bytes:
    """MS-NLMP 2.2.1.2: the server's eight bytes at offset 24."""
    return SIGNATURE + struct.pack("<I", 2) + bytes(12) + challenge + bytes(16)


def last_message(challenge: bytes, domain: str, user: str) -> bytes:
    """MS-NLMP 2.2.1.3. The response that proves the password is the challenge itself here."""
    parts = [challenge, challenge, domain.encode("utf-16-le"), user.encode("utf-16-le"), b"", b""]
    start, fields = 64, b""
    for part in parts:
        fields += struct.pack("<HHI", len(part), len(part), start)
        start += len(part)
    head = SIGNATURE + struct.pack("<I", 3) + fields + struct.pack("<I", 0x0001)
    assert len(head) == 64
    return head + b"".join(parts)


class Insisting:
    """A server where every connection has to log on in three legs, with its own challenge.

    A last message for another connection's challenge is refused, and so is a request on a
    connection that has not logged on: what a proxy breaks when it mixes connections.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, str]] = []  # connection, status, who
        self.closes_after: int | None = None  # answers, then the connection is closed
        self.hangs_on = b"\0"  # what stands in a request that is never answered

    def serve(self, wire: Wire) -> None:
        challenge, who, number = os.urandom(8), "", len(self.seen) + 1000 * id(wire)
        answers = 0
        while True:
            request = wire.read_request()
            if self.hangs_on in request:
                wire.wait_for_end()
                return
            sent = _message(request)
            if sent is not None and sent[1][8] == 1:
                scheme, who = sent[0], ""
                token = base64.b64encode(challenge_message(challenge))
                answer = _refusal(b"WWW-Authenticate: " + scheme + b" " + token + b"\r\n")
            elif sent is not None:
                who = _who(sent[1]) if challenge in sent[1] else ""
                answer = NO_MAILBOX if who else _refusal(OFFER)
            else:
                answer = NO_MAILBOX if who else _refusal(OFFER)
            self.seen.append((number, int(answer.split()[1]), who))
            wire.send(answer)
            answers += 1
            if answers == self.closes_after:
                return


def _refusal(headers: bytes) -> bytes:
    return b"HTTP/1.1 401 Unauthorized\r\n" + headers + b"Content-Length: 3\r\n\r\n401"


def _message(request: bytes) -> tuple[bytes, bytes] | None:
    _, found, rest = request.partition(b"\r\nAuthorization: ")
    if not found:
        return None
    scheme, _, token = rest.partition(b"\r\n")[0].partition(b" ")
    message = base64.b64decode(token)
    return scheme, message[message.index(SIGNATURE) :]  # it may stand in SPNEGO


def _who(message: bytes) -> str:
    length, _, start = struct.unpack_from("<HHI", message, 36)
    return message[start : start + length].decode("utf-16-le")


@pytest.fixture
def insisting() -> Insisting:
    return Insisting()


@pytest.fixture
def proxy(insisting: Insisting, tmp_path: Path) -> Iterator[Mitmdump]:
    with RawServer(insisting.serve) as server:
        mode = f"reverse:http://127.0.0.1:{server.port}"
        with mitmdump(tmp_path, mode, config=CONFIG) as running:
            yield running


def log_on(
    client: Wire,
    scheme: bytes,
    user: str,
    target: bytes = NAMELESS,
    wrapped: Callable[[bytes], bytes] = bytes,
) -> bytes:
    """The three legs; the last answer."""
    client.send(post(target))
    assert OFFER in client.read_answer()
    client.send(post(target, _authorization(scheme, first_message())))
    answer = client.read_answer()
    token = answer.partition(b"WWW-Authenticate: " + scheme + b" ")[2].partition(b"\r\n")[0]
    challenge = base64.b64decode(token)[24:32]
    last = wrapped(last_message(challenge, "CONTOSO", user))
    client.send(post(target, _authorization(scheme, last)))
    return client.read_answer()


def _authorization(scheme: bytes, message: bytes) -> bytes:
    return b"Authorization: " + scheme + b" " + base64.b64encode(message)


@SCHEMES
def test_three_legs_run_on_one_upstream_connection(
    scheme: bytes, insisting: Insisting, proxy: Mitmdump
) -> None:
    with connected(proxy.port) as client:
        assert log_on(client, scheme, "bert", b"/EWS/Exchange.asmx") == NO_MAILBOX
        client.send(post(b"/EWS/Exchange.asmx"))
        assert client.read_answer() == NO_MAILBOX
    assert len({number for number, _, _ in insisting.seen}) == 1
    assert [status for _, status, _ in insisting.seen] == [401, 401, 200, 200]


@SCHEMES
def test_a_device_that_logged_on_so_is_redirected(scheme: bytes, proxy: Mitmdump) -> None:
    """With the last leg, and later on the same connection without any Authorization."""
    with connected(proxy.port) as client:
        assert LOCATION in log_on(client, scheme, "anna")
        client.send(post(NAMELESS))
        assert LOCATION in client.read_answer()
    lines = proxy.exchanges(4)
    reasons = ["unauthenticated", "unauthenticated", "mailbox_moved", "mailbox_moved"]
    assert [at(line, "event.reason") for line in lines] == reasons
    assert at(lines[3], "user.name") == "anna"


def test_ntlm_inside_spnego_names_who_it_is(proxy: Mitmdump) -> None:
    """Whatever the query says: Exchange goes by the logon."""
    target = NAMELESS + b"&User=anna"
    with connected(proxy.port) as client:
        assert LOCATION not in log_on(client, b"Negotiate", "bert", target, spnego)
    with connected(proxy.port) as client:
        assert LOCATION in log_on(client, b"Negotiate", "anna", NAMELESS, spnego)
    named = [at(line, "user.name") for line in proxy.exchanges(6)]
    assert (named[2], named[5]) == ("bert", "anna")


def test_many_at_once_are_not_mixed_up(insisting: Insisting, proxy: Mitmdump) -> None:
    """Anna's connections are redirected, Bert's never."""
    users = ["anna", "bert"] * 10
    wires = [socket.create_connection(("127.0.0.1", proxy.port), timeout=30) for _ in users]
    clients = [Wire(wire) for wire in wires]
    for turn in range(3):
        for client, user in zip(clients, users, strict=True):
            answer = log_on(client, b"NTLM", user) if turn == 0 else again(client)
            assert (LOCATION in answer) is (user == "anna")
    for client in clients:
        client.close()
    whose = {number: who for number, _, who in insisting.seen if who}
    assert all(not who or whose[number] == who for number, _, who in insisting.seen)


def again(client: Wire) -> bytes:
    client.send(post(NAMELESS))
    return client.read_answer()


def test_a_new_upstream_connection_starts_without_a_name(
    insisting: Insisting, proxy: Mitmdump
) -> None:
    """Exchange closed the one that had logged on, and the client's ended with it."""
    insisting.closes_after = 3
    with connected(proxy.port) as client:
        assert LOCATION in log_on(client, b"NTLM", "anna")
        assert client.wait_for_end() == "close"
    with connected(proxy.port) as client:
        assert OFFER in again(client)
        assert LOCATION in log_on_again(client)


def log_on_two_users(client: Wire, insisting: Insisting) -> None:
    """Anna, then Bert towards EWS, then a request that only the connection can name: it is Bert's,
    which we cannot know, so it is nobody's."""
    client.send(post(NAMELESS, _authorization(b"NTLM", first_message())))
    token = client.read_answer().partition(b"WWW-Authenticate: NTLM ")[2].partition(b"\r\n")[0]
    challenge = base64.b64decode(token)[24:32]
    for target, user in ((NAMELESS, "anna"), (b"/EWS/Exchange.asmx", "bert")):
        message = last_message(challenge, "CONTOSO", user)
        client.send(post(target, _authorization(b"NTLM", message)))
        assert (LOCATION in client.read_answer()) is (user == "anna")
    assert insisting.seen[-1][2] == "bert"
    assert again(client) == NO_MAILBOX


def test_a_second_logon_by_another_path_ends_what_was_known(
    insisting: Insisting, proxy: Mitmdump
) -> None:
    with connected(proxy.port) as client:
        log_on_two_users(client, insisting)
    assert at(proxy.exchanges(3)[-1], "event.reason") == "no_identity"


def log_on_again(client: Wire) -> bytes:
    """Two legs: the offer is known. The server closes after three answers."""
    client.send(post(NAMELESS, _authorization(b"NTLM", first_message())))
    answer = client.read_answer()
    token = answer.partition(b"WWW-Authenticate: NTLM ")[2].partition(b"\r\n")[0]
    message = last_message(base64.b64decode(token)[24:32], "CONTOSO", "anna")
    client.send(post(NAMELESS, _authorization(b"NTLM", message)))
    return client.read_answer()


def test_http_2_is_refused_towards_clients(insisting: Insisting, tmp_path: Path) -> None:
    """One HTTP/2 connection carries many requests; a logon that belongs to one cannot."""
    certificates = LabCertificates(tmp_path / "certs")
    front = certificates.issue("front", ["mail.contoso.example"])
    offer = ssl.create_default_context(cafile=str(certificates.ca_file))
    offer.set_alpn_protocols(["h2", "http/1.1"])
    words = ("--certs", f"mail.contoso.example={front.file}")
    with RawServer(insisting.serve) as server:
        mode = f"reverse:http://127.0.0.1:{server.port}"
        with (
            mitmdump(tmp_path / "proxy", mode, config=CONFIG, arguments=words) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as raw,
            offer.wrap_socket(raw, server_hostname="mail.contoso.example") as secured,
        ):
            assert secured.selected_alpn_protocol() == "http/1.1"
            with Wire(secured) as client:
                assert LOCATION in log_on(client, b"NTLM", "anna")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("stickyauth", "~u .", "stickyauth is set: one user's logon would be sent for another"),
        ("http2", "true", "http2=true: an HTTP/2 client gets a new upstream connection"),
    ],
)
def test_an_option_that_breaks_this_is_warned_of(
    option: str, value: str, said: str, insisting: Insisting, tmp_path: Path
) -> None:
    options = {option: value}
    with RawServer(insisting.serve) as server:
        mode = f"reverse:http://127.0.0.1:{server.port}"
        with mitmdump(tmp_path, mode, config=CONFIG, options=options) as proxy:
            proxy.wait_for_log(said)

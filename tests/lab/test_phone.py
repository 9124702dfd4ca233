"""The lab's phone says what devices say, and the proxy's readers read it."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.activesync.authorization import read_authorization
from eas_redirect.activesync.request import read_request
from eas_redirect.lab.authority import LabCertificates
from eas_redirect.lab.http_server import Reply, Request, Server
from eas_redirect.lab.phone import CODES, DeviceRequest, Got, Line, Phone, Route, basic

HOST = "mail.contoso.example"
SHORT = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=20)
ID = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=32)


def phone(device_id: str = "ApplABC1", user: str = "anna@contoso.example") -> Phone:
    return Phone(device_id, "iPhone", "Apple-iPhone12C1/2202.55", user, basic(user, "a:b"))


@given(
    st.sampled_from(sorted(CODES)),
    ID,
    SHORT,
    st.sampled_from(["plain", "base64"]),
    st.sampled_from(["12.1", "14.1"]),
)
def test_what_it_asks_is_what_is_read(
    command: str, device_id: str, user: str, query: str, version: str
) -> None:
    device = phone(device_id, user)
    ask = DeviceRequest(command, version, query, policy_key=7)
    found = read_request(ask.method, device.target(ask), device.headers(ask))
    assert (found.command, found.device_id, found.device_type) == (command, device_id, "iPhone")
    assert (found.user, found.protocol_version) == (user, version)
    assert (found.query_encoding, found.problem, found.has_policy_key) == (query, None, True)


def test_options_has_no_query_and_no_version() -> None:
    ask = DeviceRequest("OPTIONS", query="none")
    found = read_request(ask.method, phone().target(ask), phone().headers(ask))
    assert (found.method, found.command, found.protocol_version) == ("OPTIONS", None, None)


def test_a_question_to_autodiscover_is_xml_by_post() -> None:
    ask = DeviceRequest("Autodiscover")
    assert (ask.method, phone().target(ask).lower()) == ("POST", "/autodiscover/autodiscover.xml")
    names = dict(phone().headers(ask))
    assert names["Content-Type"].startswith("text/xml")
    assert "MS-ASProtocolVersion" not in names


@given(SHORT, st.text(st.characters(codec="utf-8")))
def test_a_logon_is_read_back_without_its_password(user: str, password: str) -> None:
    credentials = read_authorization(basic(user, password))
    assert credentials.logon is not None
    assert credentials.logon.text == user
    assert base64.b64decode(basic(user, password).split()[1]).decode() == f"{user}:{password}"


class Counting:
    """Answers with how many requests came, and closes where it is told to."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.closes = False

    async def __call__(self, request: Request) -> Reply:
        self.asked.append(request)
        headers = (("Connection", "close"),) if self.closes else ()
        return Reply(200, headers, str(len(self.asked)).encode())


@pytest.fixture
def network(tmp_path: Path) -> Iterator[tuple[Route, Counting]]:
    authority, counting = LabCertificates(tmp_path), Counting()
    tls = authority.issue("here", (HOST,)).server_context()
    with Server(counting, tls=tls, host="127.0.0.1", port=0) as server:
        yield Route({HOST: ("127.0.0.1", server.port)}, authority.client_context()), counting


def asked(line: Line) -> Got:
    ask = DeviceRequest()
    return line.send(ask.method, phone().target(ask), phone().headers(ask))


def test_one_connection_is_kept_until_an_answer_closes_it(
    network: tuple[Route, Counting],
) -> None:
    route, counting = network
    with Line(route, HOST) as line:
        first, second = asked(line), asked(line)
        counting.closes = True
        third, fourth = asked(line), asked(line)
    assert [got.wire_body for got in (first, second, third, fourth)] == [b"1", b"2", b"3", b"4"]
    assert first.local_port == second.local_port == third.local_port != fourth.local_port


def test_a_name_that_the_lab_does_not_know_never_reaches_the_network(
    network: tuple[Route, Counting],
) -> None:
    with pytest.raises(KeyError), Line(network[0], "autodiscover.contoso.example"):
        pass


def test_where_it_is_sent_is_what_a_451_or_settings_say() -> None:
    location = "https://outlook.office365.com/Microsoft-Server-ActiveSync"
    got = Got(451, "Redirect", (("x-ms-location", location),), b"", 1)
    assert (got.location, got.is_settings) == (location, False)
    assert Got(200, "OK", (), b"no settings", 1).location is None

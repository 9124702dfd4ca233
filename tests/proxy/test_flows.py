"""What a flow says of the server, of the names by which it was called, and whose it is."""

from ipaddress import ip_network

import pytest
from mitmproxy import http
from mitmproxy.addons.view import View
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow
from mitmproxy.utils import emoji

from eas_redirect.activesync.authorization import Credentials
from eas_redirect.activesync.request import COMMAND_CODES
from eas_redirect.proxy import flows
from tests.captures.captures import eas_flow

FRONT = (ip_network("10.0.0.0/8"),)
NOBODY = Credentials(scheme="none")
OURS = frozenset({"mail.contoso.example"})


def flow(
    url: str = "https://mail.contoso.example/Microsoft-Server-ActiveSync",
    mode: str = "reverse:https://ex07.contoso.local",
    peer: str = "10.0.0.1",
    **headers: str,
) -> http.HTTPFlow:
    made = tflow.tflow(resp=True)
    made.client_conn.peername = (peer, 4711)
    made.client_conn.proxy_mode = ProxyMode.parse(mode)
    made.client_conn.sni = None
    made.server_conn.sni = None
    made.request = http.Request.make("POST", url)
    for name, value in headers.items():
        made.request.headers[name.replace("_", "-")] = value
    return made


@pytest.mark.parametrize(
    ("headers", "names"),
    [
        ({"Host": "Mail.Contoso.Example:443"}, ("mail.contoso.example",)),
        ({"Host": "10.0.0.9"}, ("10.0.0.9",)),
        ({"Host": ".."}, ()),
        (
            {"Host": "backend", "X_Forwarded_Host": "mail.contoso.example"},
            ("backend", "mail.contoso.example"),
        ),
        (
            {"Host": "backend", "X_Original_Host": "mail.contoso.example:443"},
            ("backend", "mail.contoso.example"),
        ),
        (
            {"Host": "backend", "Forwarded": 'for=192.0.2.7;host="mail.contoso.example"'},
            ("backend", "mail.contoso.example"),
        ),
    ],
)
def test_names_by_which_a_client_called(headers: dict[str, str], names: tuple[str, ...]) -> None:
    called = flow(**headers)
    assert flows.called_names(called, FRONT) == names
    stranger = flow(peer="192.0.2.7", **headers)
    assert flows.called_names(stranger, FRONT) == names[:1], "nobody trusts a phone's own word"
    assert flows.called_names(called) == names[:1]


def test_the_device_s_own_address_is_handed_on() -> None:
    called = flow(X_Forwarded_For="192.0.2.7")
    assert flows.client_address(called, FRONT) == "192.0.2.7"
    assert flows.client_address(called, ()) is None, "a front that trusted_proxies forgets"
    assert flows.client_address(flow(), ()) == "10.0.0.1"
    assert flows.client_address(flow(), FRONT) is None, "a front's own address is nobody's"
    facts = flows.wire_facts(called, flows.request_of(called), NOBODY, FRONT)
    assert (facts.client_address, facts.forwarded_ip) == ("10.0.0.1", "192.0.2.7")


def test_several_hosts_are_no_name() -> None:
    called = flow(Host="a.example")
    called.request.headers.add("Host", "b.example")
    assert flows.called_names(called, FRONT) == ()


@pytest.mark.parametrize(
    ("mode", "url", "sni", "host", "ours"),
    [
        ("reverse:https://ex07.contoso.local", "https://192.0.2.1/x", None, "other", "ours"),
        ("regular", "https://mail.contoso.example/x", None, "x", "ours"),
        ("regular", "https://MAIL.contoso.example./x", None, "x", "ours"),
        ("regular", "https://eas.fabrikam.example/x", None, "mail.contoso.example", "foreign"),
        ("regular", "http://eas.fabrikam.example/x", None, "mail.contoso.example", "foreign"),
        ("transparent", "https://198.51.100.10/x", "mail.contoso.example", "x", "ours"),
        ("transparent", "https://198.51.100.10/x", "eas.fabrikam.example", "x", "foreign"),
        (
            "transparent",
            "https://198.51.100.10/x",
            "eas.fabrikam.example",
            "mail.contoso.example",
            "foreign",
        ),
        ("transparent", "https://198.51.100.10/x", None, "mail.contoso.example", "foreign"),
        ("transparent", "http://198.51.100.10/x", None, "mail.contoso.example", "ours"),
        ("transparent", "http://198.51.100.10/x", None, "eas.fabrikam.example", "foreign"),
    ],
)
def test_whose_server_it_is(mode: str, url: str, sni: str | None, host: str, ours: str) -> None:
    """With TLS the name is one that the server's certificate has to bear."""
    called = flow(url, mode, Host=host)
    called.client_conn.sni = sni
    assert flows.is_ours(called, OURS) is (ours == "ours")
    assert flows.is_ours(called, ()) is mode.startswith("reverse")


def mark_of(command: str | None, marked: str = "") -> str:
    asked = eas_flow(0, command)
    asked.marked = marked
    flows.mark_command(asked, flows.request_of(asked))
    return str(asked.marked)


@pytest.mark.parametrize(
    ("command", "mark"),
    [("Ping", ":bell:"), (None, ":grey_question:"), ("Telepathy", ":mailbox:")],
)
def test_a_list_tells_commands_apart(command: str | None, mark: str) -> None:
    with taddons.context(View()):
        assert mark_of(command) == mark


def test_without_a_list_nothing_is_marked() -> None:
    with taddons.context():
        assert mark_of("Ping") == ""


def test_a_mark_that_somebody_gave_stays() -> None:
    with taddons.context(View()):
        assert mark_of("Ping", ":arrow_right:") == ":arrow_right:"


def test_every_command_has_a_mark_that_mitmproxy_knows() -> None:
    assert set(flows.COMMAND_MARKS) >= set(COMMAND_CODES.values())
    assert {*flows.COMMAND_MARKS.values(), flows.OTHER_MARK} <= set(emoji.emoji)

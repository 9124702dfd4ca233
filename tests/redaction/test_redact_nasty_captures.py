"""Captures with personal data in every place that ActiveSync, HTTP, TLS and mitmproxy's flow have.

Each is redacted by the command; nothing of it may be left, and `explain` says the same of both.
"""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mitmproxy import flow, http

from eas_redirect.activesync.wbxml import Document, element, write
from eas_redirect.redaction import forms, redact_head
from eas_redirect.redaction.pseudonyms import Pseudonyms
from eas_redirect.redaction.redact import _sentence
from tests.captures.captures import PATH, eas_flow, status, write_flows
from tests.cli.running import run
from tests.cli.test_redact_command import everything, flows_in

WORD, OTHER, MAIL, PHONE = "Zebedee", "Quillfeather", "zebedee@quillfeather.example", "01705550199"
SPACED, SHORT_PHONE = "0170-555-0199", "1705550199"
IPV4, IPV6, MAC, IMEI = "10.20.30.40", "2001:678:4:1::25", "00:1b:44:11:3a:b7", "35-209900-176148-1"
SECRETS = (WORD, OTHER, MAIL, PHONE, SPACED, SHORT_PHONE, IPV4, IPV6, MAC, IMEI, "Max", "Tom1975")
TOKEN = base64.b64encode(WORD.encode() * 3).decode()
type Report = dict[str, list[dict[str, list[dict[str, object]]]]]
type Change = Callable[[http.HTTPFlow], object]


def asked(name: str, value: str) -> Change:
    return lambda found: found.request.headers.add(name, value)


def answered(name: str, value: str) -> Change:
    def change(found: http.HTTPFlow) -> None:
        assert found.response is not None
        found.response.headers.add(name, value)

    return change


def body(*texts: tuple[int, str, str | bytes], root: tuple[int, str] = (0, "Sync")) -> Change:
    """Each text in an element of this code page and name."""

    def change(found: http.HTTPFlow) -> None:
        assert found.response is not None
        elements = (element(page, name, text) for page, name, text in texts)
        found.response.raw_content = write(Document(element(*root, *elements)))
        found.response.headers["Content-Length"] = str(len(found.response.raw_content))

    return change


def at(path: str, value: object) -> Change:
    """An attribute of the flow, by dots."""

    def change(found: http.HTTPFlow) -> None:
        *way, last = path.split(".")
        target: object = found
        for name in way:
            target = getattr(target, name)
        setattr(target, last, value)

    return change


def reply(name: str, value: object) -> Change:
    return at(f"response.data.{name}", value)


def target(query: str) -> Change:
    return at("request.path", f"{PATH}?{query}")


def base64_target(device_type: bytes, tags: bytes = b"") -> Change:
    data = b"\x8d\x00\x09\x04\x02D1\x00" + bytes([len(device_type)]) + device_type + tags
    return target(base64.b64encode(data).decode())


def error(text: str) -> Change:
    return at("error", flow.Error(text, 1.0))


CASES: dict[str, Change] = {
    "a balancer's cookie": answered("Set-Cookie", f"BIGipServer{WORD}=1677787402.20480; path=/"),
    "a cookie sent": asked("Cookie", f"BIGipServer~{WORD}~{OTHER}_pool=rd5o0; cadata=x"),
    "a cookie's expiry": answered("Set-Cookie", f"cadata=1; Expires={WORD}; Path=/{OTHER}"),
    "Pragma": answered("Pragma", f"user-{WORD}"),
    "X-Powered-By": answered("X-Powered-By", f"ASP.NET on {WORD}"),
    "X-MS-ASThrottle": answered("X-MS-ASThrottle", f"CommandFrequency:{MAIL}"),
    "Server": answered("Server", f"Microsoft-IIS/8.5 ({WORD})"),
    "Date": answered("Date", f"Mon, 02 Mar 2026 08:00:00 GMT {WORD}"),
    "Expires": answered("Expires", MAIL),
    "Cache-Control": answered("Cache-Control", f"private={WORD}"),
    "Via": answered("Via", f"1.1 {WORD}"),
    "Retry-After": answered("Retry-After", PHONE),
    "Content-Type": answered("X-Content-Type-Options", WORD),
    "a media type": asked("Accept", f"application/x-{WORD}, */*"),
    "Accept-Language": asked("Accept-Language", f"de-{WORD}"),
    "Connection": asked("Connection", f"keep-alive, {WORD}"),
    "MS-ASProtocolVersion": asked("MS-ASProtocolCommands", f"Sync,{WORD}"),
    "a header's name": asked(f"X-{WORD}-{OTHER}", "1"),
    "a header's name of the answer": answered(f"X-Host-{WORD}", "1"),
    "User-Agent": asked("User-Agent", f"{WORD}s-Phone/1.0 ({MAIL})"),
    "an address in Server": answered("Server", f"nginx {IPV4}"),
    "an address as a version": answered("Server", f"nginx/{IPV4}"),
    "an IPv6 address in Server": answered("Server", f"nginx {IPV6}"),
    "a telephone in Server": answered("Server", f"Microsoft-IIS/8.5 ({SPACED})"),
    "a telephone in Keep-Alive": answered("Keep-Alive", f"timeout=5, max={PHONE}"),
    "an address as Exchange's version": answered("MS-Server-ActiveSync", IPV4),
    "an address as the protocol's": asked("MS-ASProtocolVersion", IPV4),
    "an address in User-Agent": asked("User-Agent", f"Android/{IPV4}"),
    "a telephone in User-Agent": asked("User-Agent", f"Apple-iPhone12C1/{SHORT_PHONE}"),
    "a telephone in groups": asked("User-Agent", f"iPhone {SPACED}"),
    "an IMEI": asked("User-Agent", f"SAMSUNG {IMEI}"),
    "a MAC address": asked("User-Agent", f"Android {MAC}"),
    "a first name that is a model's": asked("User-Agent", "Max-iPhone/1.0 (iPhone von Max)"),
    "a year of birth": asked("User-Agent", "Tom1975-iPhone"),
    "a token that is none": asked("Authorization", f"Negotiate {TOKEN}"),
    "the realm": answered("WWW-Authenticate", f'Basic realm="{WORD}"'),
    "the reason": reply("reason", f"Not for {WORD}".encode()),
    "the answer's version": reply("http_version", f"HTTP/{WORD}".encode()),
    "the method": at("request.data.method", WORD.encode()),
    "the scheme": at("request.data.scheme", WORD.encode()),
    "the authority": at("request.data.authority", f"{WORD}:pw@{OTHER}".encode()),
    "DeviceType": target(f"Cmd=Sync&User=u&DeviceId=D1&DeviceType={WORD}sPhone"),
    "SaveInSent": target(f"Cmd=SendMail&User=u&DeviceId=D1&DeviceType=iPhone&SaveInSent={WORD}"),
    "a parameter twice": target(f"Cmd=Sync&User=u&User={WORD}&DeviceId=D1&DeviceType=iPhone"),
    "a parameter's name, encoded": target(f"Cmd=Sync&%55ser={WORD}&DeviceId=D1&DeviceType=iPhone"),
    "encoded twice": target("Cmd=Sync&User=%255aebedee&DeviceId=D1&DeviceType=iPhone"),
    "a long id": target(f"Cmd=Sync&User=u&DeviceId=D1&DeviceType=iPhone&LongId={WORD}%2F{OTHER}"),
    "an unknown parameter": target(f"Cmd=Sync&User=u&DeviceId=D1&DeviceType=iPhone&x%41={WORD}%41"),
    "a percent sign alone": target(f"Cmd=Sync&User={WORD}%zz&DeviceId=D1&DeviceType=iPhone"),
    "behind the path": at("request.path", f"{PATH}/default.eas?Cmd=Sync&User={WORD}"),
    "Cmd": target(f"Cmd={WORD}&User=u&DeviceId=D1&DeviceType=iPhone"),
    "DeviceType in base64": base64_target(WORD.encode()),
    "options in base64": base64_target(b"iPhone", b"\x07\x07" + WORD.encode()),
    "an unknown tag in base64": base64_target(b"iPhone", b"\x63\x07" + WORD.encode()),
    "a scheme in a location": answered("X-MS-Location", f"{WORD}://outlook.office365.com/"),
    "a path in a location": answered("Location", f"https://outlook.office365.com/{WORD}"),
    "a folder's id": body((7, "ServerId", MAIL), (7, "ParentId", WORD), root=(7, "FolderSync")),
    "a collection's id": body((0, "CollectionId", f"{MAIL}/Inbox"), (0, "SyncKey", f"{{{WORD}}}7")),
    "a message's class": body((2, "MessageClass", f"IPM.Note.{WORD}"), (0, "Class", WORD)),
    "Search": body((15, "Name", WORD), (15, "Range", f"0-{PHONE}"), root=(15, "Search")),
    "a telephone as a range": body((15, "Range", "0170-5550199"), root=(15, "Search")),
    "an address as a version in a body": body((0, "Version", IPV4)),
    "credentials of a share": body(
        (20, "UserName", WORD), (20, "Password", OTHER), (19, "LinkId", f"https://{WORD}.example"),
        root=(20, "ItemOperations"),
    ),
    "a certificate": body(
        (11, "Certificate", base64.b64encode(f"CN={WORD} {OTHER}".encode()).decode()),
        root=(11, "ValidateCert"),
    ),
    "a calendar's text": body(
        (17, "Data", f"BEGIN:VCALENDAR\r\nATTENDEE;CN={WORD}:mailto:{MAIL}\r\n".encode()),
        root=(20, "ItemOperations"),
    ),
    "an approved app": body((14, "ApplicationName", f"example.{WORD}"), root=(14, "Provision")),
    "a string table": reply("content", b"\x03\x01j\x08Zebedee\0E\x4e\x83\0\x01\x01"),
    "behind the document": reply("content", status(0, "Sync", 1) + WORD.encode()),
    "numbers that are none": body((0, "Status", PHONE), (0, "WindowSize", MAIL)),
    "DeviceInformation": body(
        (18, "Model", f"{WORD}s iPhone"), (18, "OS", f"iOS 17 {OTHER}"), (18, "FriendlyName", MAIL),
        (18, "UserAgent", f"iOS/17 {WORD}"), (18, "OSLanguage", WORD), root=(18, "Settings"),
    ),
    "policies": body((14, "PolicyType", WORD), (14, "AllowCamera", PHONE), root=(14, "Provision")),
    "opaque data": body((0, "Status", WORD.encode()), (17, "Data", MAIL.encode())),
    "an error": error(f"{WORD} refused: cannot reach {OTHER}"),
    "an error with an address": error(f"connection to {MAIL} timed out"),
    "a telephone in an error": error("call 0170 555 0199"),
    "a MAC address in an error": error(f"no route to {MAC}"),
    "an IPv6 address in an error": error(f"cannot connect to [{IPV6}]:443"),
    "a comment": at("comment", f"451 → {WORD}.{OTHER}.example (mailbox_moved) · {MAIL}"),
    "a verdict of a look": at("comment", f"today: pass ({WORD})"),
    "a mark": at("marked", WORD),
    "a replay": at("is_replay", WORD),
    "SNI": at("client_conn.sni", f"{WORD}.{OTHER}.example"),
    "ciphers": at("client_conn.cipher_list", (WORD, OTHER)),
    "a cipher": at("server_conn.cipher", WORD),
    "ALPN": at("client_conn.alpn", WORD.encode()),
    "ALPN offers": at("client_conn.alpn_offers", (WORD.encode(), b"h2")),
    "a connection's id": at("client_conn.id", f"{WORD}-{OTHER}"),
    "a connection's error": at("server_conn.error", MAIL),
    "the server before": at("server_conn.via", ("https", (f"{WORD}.example", 443))),
    "a port": at("client_conn.peername", ("192.0.2.7", int(PHONE))),
    "trailers": at("response.trailers", http.Headers([(b"X-User", MAIL.encode())])),
    "metadata": at("metadata", {"eas": {"eas": {"upstream": {"status": int(PHONE)},
        "directory": {"relationship": WORD, "target_domain": f"{OTHER}.example"},
        "redirect": {"location": f"https://{WORD}.example/{OTHER}"}}, "event": {"reason": WORD}}}),
    "metadata of others": at("metadata", {"script": MAIL, WORD: 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_nothing_of_anybody_is_left(name: str, tmp_path: Path) -> None:
    nasty = eas_flow(0, "Sync", body=status(0, "Sync", 1))
    CASES[name](nasty)
    source, clean = tmp_path / "nasty.flows", tmp_path / "clean.flows"
    write_flows(source, [eas_flow(5, "Ping", user=MAIL, body=status(13, "Ping", 1)), nasty])
    ran = run("redact", str(source), "-o", str(clean))
    assert (ran.code, ran.err) == (0, "")
    found = everything(clean).lower()
    for secret in SECRETS:
        assert secret.lower().encode() not in found
        if len(secret) > 5:  # what is shorter comes up by chance
            assert base64.b64encode(secret.encode()).strip(b"=")[:-1].lower() not in found
    assert kinds(explained(source)) == kinds(explained(clean))


def explained(path: Path) -> Report:
    found: Report = json.loads(run("explain", str(path), "--json").out)
    return found


def kinds(report: Report) -> list[object]:
    return [[found["kind"] for found in device["findings"]] for device in report["devices"]]


def test_whoever_is_somebody_else_stays_so(tmp_path: Path) -> None:
    """Forty users of two letters and a digit, each with a device named as shortly."""
    flows = [eas_flow(n, "Sync", user=f"u{n}", device=f"d{n}") for n in range(40)]
    for n, found in enumerate(flows):
        found.request.path = f"{PATH}?Cmd=Sync&User=u{n}&DeviceId=d{n}&DeviceType=iPhone"
    source, clean = write_flows(tmp_path / "a.flows", flows), tmp_path / "b.flows"
    assert run("redact", str(source), "-o", str(clean)).code == 0
    assert len(explained(clean)["devices"]) == len(explained(source)["devices"]) == 40
    assert len({found.request.path for found in flows_in(clean)}) == 40


def test_a_logon_in_an_older_character_set_stays_one(tmp_path: Path) -> None:
    nasty = eas_flow(0, "Sync")
    logon = base64.b64encode("CONTOSO\\zébédée:Päss".encode("latin-1")).decode()
    nasty.request.headers["Authorization"] = f"Basic {logon}"
    nasty.request.path = f"{PATH}?Cmd=Sync&User=z%E9b%E9d%E9e&DeviceId=D1&DeviceType=iPhone"
    source, clean = write_flows(tmp_path / "a.flows", [nasty]), tmp_path / "b.flows"
    assert run("redact", str(source), "-o", str(clean)).code == 0
    assert kinds(explained(source)) == kinds(explained(clean)) == [[]]


def test_ids_as_exchange_counts_them_stay_in_a_query(tmp_path: Path) -> None:
    query = "Cmd=GetAttachment&User=u&DeviceId=D&CollectionId=5%3A12&ItemId="
    nasty = eas_flow(0, "GetAttachment")
    nasty.request.path = f"{PATH}?{query}{WORD}"
    source, clean = write_flows(tmp_path / "a.flows", [nasty]), tmp_path / "b.flows"
    assert run("redact", str(source), "-o", str(clean)).code == 0
    path = flows_in(clean)[0].request.path
    assert "CollectionId=5%3A12" in path
    assert WORD not in path


def test_there_are_forty() -> None:
    assert len(CASES) >= 40


def test_what_is_equal_stays_equal_and_as_long(tmp_path: Path) -> None:
    """Folders by address, a key that is no number, a balancer's cookie in two flows."""
    flows = [eas_flow(n, "Sync") for n in range(2)]
    for found in flows:
        body((0, "CollectionId", MAIL), (0, "SyncKey", f"{{{WORD}}}7"))(found)
        answered("Set-Cookie", f"BIGipServer{WORD}=1; path=/")(found)
    source, clean = write_flows(tmp_path / "a.flows", flows), tmp_path / "b.flows"
    assert run("redact", str(source), "-o", str(clean)).code == 0
    one, other = (found.response for found in flows_in(clean))
    assert one is not None
    assert other is not None
    assert one.raw_content == other.raw_content
    assert len(one.raw_content or b"") == len(flows[0].response.raw_content or b"")  # type: ignore[union-attr]
    cookies = {answer.headers["Set-Cookie"] for answer in (one, other)}
    assert {len(cookie) for cookie in cookies} == {len(f"BIGipServer{WORD}=1; path=/")}
    assert len(cookies) == 1


def test_what_was_taken_anywhere_is_found_in_what_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the redaction forgets one header; the word was taken out of another place."""
    lax = {**forms.HEADERS, "server": lambda _: True}
    monkeypatch.setattr(redact_head, "HEADERS", lax)
    nasty = eas_flow(0, user=MAIL, headers={"Server": f"IIS of {OTHER}"})
    source = write_flows(tmp_path / "nasty.flows", [nasty])
    ran = run("redact", str(source), "-o", str(tmp_path / "clean.flows"))
    assert ran.code == 1
    assert "headers of the answer" in ran.err
    assert not (tmp_path / "clean.flows").exists()


@pytest.mark.parametrize(
    "agent",
    [
        "Apple-iPhone12C1/1902.67",
        "SAMSUNG-SM-G900F/101.403",
        "Android-Mail/2023.10.15",
        "MSFT-WP/8.10.14234",
        "MSFT-WIN-4/10.0.19041",
        "Outlook-iOS-Android/1.0",
        "Mozilla/5.0 (iPhone; iOS 17)",
        "curl/7.88.1",
        "Secure Mail/20.1",
        "WorxMail-iOS/10.7",
        "MaaS360/3.1",
        "iOS/17.4.1 (21E236) dataaccessd/1.0",
    ],
)
def test_what_apps_call_themselves_stays(agent: str, tmp_path: Path) -> None:
    source = write_flows(tmp_path / "a.flows", [eas_flow(0, asked={"User-Agent": agent})])
    assert run("redact", str(source), "-o", str(tmp_path / "b.flows")).code == 0
    assert flows_in(tmp_path / "b.flows")[0].request.headers["User-Agent"] == agent


def test_errors_of_the_network_keep_the_words_by_which_their_cause_is_known() -> None:
    names = Pseudonyms()
    for text in (
        "[Errno -2] Name or service not known",
        "[Errno 8] nodename nor servname provided, or not known",
        "getaddrinfo failed",
        "net::ERR_NAME_NOT_RESOLVED",
        "net::ERR_CERT_DATE_INVALID",
        "tlsv1 alert unknown ca",
        "OpenSSL Error([('SSL routines', '', 'tlsv13 alert certificate required')])",
        "OpenSSL Error([('SSL routines', '', 'tls alert handshake failure')])",
        "The remote server does not speak TLS.",
        "The remote server and mitmproxy cannot agree on a TLS version to use. You may need to"
        " adjust mitmproxy's tls_version_server_min option.",
        "[Errno 111] Connect call failed ('127.0.0.1')",
        "peer closed connection without sending complete message body (incomplete chunked read)",
    ):
        assert _sentence(text, names) == text
    assert "Meier" not in _sentence("Meier not known, Errno Meier-2", names)

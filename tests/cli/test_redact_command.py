"""`redact`: nothing that identifies or tells stays, structure does, and the search finds leaks."""

import base64
import gzip
import json
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from mitmproxy import flow as mitmproxy_flow
from mitmproxy import http
from mitmproxy.io import FlowReader
from mitmproxy.proxy import mode_specs

from eas_redirect.activesync.wbxml import Document, Element, element, parse, write
from eas_redirect.proxy.flows import WAIT_ENDED
from eas_redirect.redaction import redact as redact_module
from eas_redirect.redaction import redact_body, redact_head
from tests.activesync.test_authorization import jwt, ntlm3
from tests.activesync.vectors import VECTORS
from tests.captures.captures import COOKIE, eas_flow, story, write_flows, write_har
from tests.cli.running import run
from tests.support import DATA

SECRETS = (DATA / "secrets.txt").read_text(encoding="utf-8").split("\n")
SUBJECT = "Lunch with the auditors on Friday"
LOCATION = "https://outlook.office365.com/Microsoft-Server-ActiveSync"


def mail() -> bytes:
    """A Sync answer with everything that a message tells."""
    item = element(
        0,
        "ApplicationData",
        element(2, "From", '"Berta Beispiel" <berta@fabrikam.example>'),
        element(2, "To", '"Anna Anders" <anna@contoso.example>'),
        element(2, "Subject", SUBJECT),
        element(2, "Read", "1"),
        element(
            17, "Body", element(17, "Type", "1"), element(17, "Data", f"Dear Anna, {SUBJECT}!")
        ),
        element(22, "ConversationId", b"\xde\xad\xbe\xef"),
        element(1, "LastName", "Mustermann"),
    )
    add = element(0, "Add", element(0, "ServerId", "5:11"), item)
    collection = element(0, "Collection", element(0, "Status", "1"), element(0, "Commands", add))
    return write(Document(element(0, "Sync", element(0, "Collections", collection))))


def provision() -> bytes:
    policy = element(
        14,
        "Policy",
        element(14, "Status", "1"),
        element(14, "PolicyKey", "3141592653"),
        element(14, "Data", element(14, "EASProvisionDoc", element(14, "AllowCamera", "1"))),
    )
    root = element(14, "Provision", element(14, "Status", "1"), element(14, "Policies", policy))
    return write(Document(root))


def sent_mail() -> bytes:
    mime = f"From: anna@contoso.example\r\nSubject: {SUBJECT}\r\n\r\nHello Berta\r\n".encode()
    return write(Document(element(21, "SendMail", element(21, "Mime", mime))))


def multipart() -> bytes:
    parts = [VECTORS["ItemOperations"], SUBJECT.encode(), b"\xff\xd8secret"]
    at, head = 4 + 8 * len(parts), struct.pack("<I", len(parts))
    for part in parts:
        head += struct.pack("<II", at, len(part))
        at += len(part)
    return head + b"".join(parts)


def base64_query() -> str:
    data = b"\x8d\x09\x09\x04\x0bApplDEVICE1\x04" + struct.pack("<I", 3141592653)
    data += b"\x06iPhone\x08\x0cCONTOSO\\anna\x01\x023x"
    return base64.b64encode(data).decode()


def revealing() -> list[http.HTTPFlow]:
    """Every place in which something of anybody can stand."""
    flows = [
        eas_flow(0, "Sync", body=mail(), headers={"Set-Cookie": f"cadata={COOKIE}; path=/"}),
        eas_flow(1, "Sync", body=gzip.compress(mail()), headers={"Content-Encoding": "gzip"}),
        eas_flow(2, "Provision", body=provision(), asked={"Cookie": f"cadata={COOKIE}"}),
        eas_flow(3, "SendMail", sent=sent_mail()),
        eas_flow(4, code=403, body=f"<html>{SUBJECT}</html>".encode()),
        eas_flow(5, "ItemOperations", body=multipart()),
        eas_flow(6, user="anna@contoso.example", body=b"\x03\x01" + SUBJECT.encode()),
        eas_flow(7, code=None),
        eas_flow(8, "Sync", body=b"", headers={"X-BEServer": "EXCH1.contoso.example"}),
        *(eas_flow(20 + n, "Sync", body=VECTORS["Sync"]) for n in range(6)),
    ]
    for flow in (flows[0], flows[5]):
        assert flow.response is not None
    flows[5].response.headers["Content-Type"] = "application/vnd.ms-sync.multipart"  # type: ignore[union-attr]
    ntlm = base64.b64encode(ntlm3("CONTOSO", "anna")).decode()
    tokens = [f"NTLM {ntlm}", jwt({"upn": "anna@contoso.example"}), f"Bearer {SECRETS[1]}"]
    tokens += ["Digest username=anna", "NTLM !!", "NTLM TlRMTVNTUAABAAAA"]
    for flow, token in zip(flows[9:], tokens, strict=True):
        flow.request.headers["Authorization"] = token
    flows[9].request.path = f"/Microsoft-Server-ActiveSync?{base64_query()}"
    flows[10].request.path = f"/Microsoft-Server-ActiveSync?{base64_query()[:-9]}!"
    flows[11].request.headers["X-Requested-With"] = SECRETS[5]
    flows[12].request.headers["Cookie"] = COOKIE
    reverse = mode_specs.ProxyMode.parse("reverse:https://ex2007.intern.example")
    flows[3].client_conn.proxy_mode = reverse
    flows[4].backup()  # as mitmproxy does before somebody edits
    flows[4].request.headers["X-Real-IP"] = "1"
    flows[5].comment, flows[5].marked = "Anna's telephone, 0170 5550199", "anna"
    flows[6].comment = "451 → mail.contoso.example (anna)"
    flows[7].error = mitmproxy_flow.Error("connecting 'EXCH1' ('2001:db8:77::25', 443) failed", 1.0)
    flows[8].response.data.reason = b"Anna Anders is not here"  # type: ignore[union-attr]
    flows[0].client_conn.sni = "mail.contoso.example"
    flows[0].comment = "451 → mail.contoso.example (mailbox_moved)"
    flows[0].metadata["eas"] = {
        "message": "anna@contoso.example",
        "user": {"name": "anna"},
        "event": {"reason": "mailbox_moved"},
        "eas": {
            "decision": "redirect",
            "evidence": "certain",
            "upstream": {"status_code": 200, "status": 123},
            "redirect": {"location": LOCATION},
        },
    }
    return flows


def flows_in(path: Path) -> list[http.HTTPFlow]:
    with path.open("rb") as file:
        return [flow for flow in FlowReader(file).stream() if isinstance(flow, http.HTTPFlow)]


def everything(path: Path) -> bytes:
    """The file's bytes, and what is hidden in them behind gzip and base64."""
    found = path.read_bytes()
    for flow in flows_in(path):
        for message in (flow.request, flow.response):
            if message is None:
                continue
            found += message.content or b""
            for value in message.headers.values():
                for part in value.replace(".", " ").split():
                    with_padding = part + "=" * (-len(part) % 4)
                    try:
                        found += base64.urlsafe_b64decode(with_padding)
                    except ValueError:
                        continue
    return found


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    source = write_flows(tmp_path / "capture.flows", revealing())
    ran = run("redact", str(source), "-o", str(tmp_path / "clean.flows"))
    assert (ran.code, ran.err) == (0, "")
    assert "15 exchanges" in ran.out
    return tmp_path / "clean.flows"


@pytest.mark.parametrize(
    "secret",
    [
        *filter(None, SECRETS),
        "anna",
        "contoso",
        "Beispiel",
        "Mustermann",
        "fabrikam",
        "auditors",
        "ApplDEVICE1",
        "EXCH1",
        "ex2007",
        "192.0.2.7",
        "2001:db8:77",
        "5550199",
        "Hello Berta",
    ],
)
def test_nothing_of_anybody_is_left(clean: Path, secret: str) -> None:
    found = everything(clean).lower()
    assert secret.lower().encode() not in found
    assert secret.lower().encode("utf-16-le") not in found
    assert base64.b64encode(secret.encode()).strip(b"=")[:-1].lower() not in found


def test_structure_statuses_and_sizes_stay(clean: Path) -> None:
    before, after = revealing(), flows_in(clean)
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        assert one.request.method == other.request.method
        assert len(one.request.content or b"") == len(other.request.content or b"")
        assert one.request.timestamp_start == other.request.timestamp_start
        assert list(one.request.headers) == list(other.request.headers)
        if one.response is None or other.response is None:
            assert one.response is other.response is None
            continue
        assert one.response.status_code == other.response.status_code
        assert len(one.response.content or b"") == len(other.response.content or b"")
        assert list(one.response.headers) == list(other.response.headers)
        if (one.response.content or b"").startswith(b"\x03\x01\x6a"):
            assert shape(one.response) == shape(other.response)


def shape(response: http.Response) -> list[tuple[int, str, int]]:
    return list(walk(parse(response.content or b"").root))


def walk(root: Element) -> Iterator[tuple[int, str, int]]:
    sizes = (len(c.encode() if isinstance(c, str) else c) for c in data_in(root))
    yield root.page, root.name, sum(sizes)
    for child in root.elements:
        yield from walk(child)


def data_in(root: Element) -> list[str | bytes]:
    return [child for child in root.children if isinstance(child, str | bytes)]


def test_explain_says_the_same_of_both(clean: Path, tmp_path: Path) -> None:
    one = json.loads(run("explain", str(tmp_path / "capture.flows"), "--json").out)
    other = json.loads(run("explain", str(clean), "--json").out)

    def told(report: dict[str, list[dict[str, object]]]) -> list[object]:
        return [
            (entry["command"], entry["status_code"], entry["eas_status"], entry["evidence"])
            for device in report["devices"]
            for entry in device["exchanges"]  # type: ignore[attr-defined]
        ]

    assert told(one) == told(other)
    assert len(one["devices"]) == len(other["devices"])


def test_stand_ins_are_the_same_throughout(clean: Path) -> None:
    flows = flows_in(clean)
    users = {flow.request.query["User"] for flow in flows[:9]}
    devices = {flow.request.query["DeviceId"] for flow in flows[:9]}
    assert len(users) == len(devices) == 1
    basic = base64.b64decode(flows[0].request.headers["Authorization"].split()[1]).decode()
    assert basic.partition(":")[0].endswith("\\" + users.pop())
    assert flows[0].request.headers["Host"] == flows[0].client_conn.sni
    assert flows[0].request.headers["Host"] in flows[0].comment


def test_public_hosts_stay_and_so_does_the_record(clean: Path) -> None:
    record = flows_in(clean)[0].metadata["eas"]
    assert record["eas"]["redirect"]["location"] == LOCATION
    assert record["event"]["reason"] == "mailbox_moved"
    assert "message" not in record


def test_another_run_gives_other_stand_ins(clean: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.flows"
    assert run("redact", str(tmp_path / "capture.flows"), "-o", str(again)).code == 0
    one, other = flows_in(clean)[0], flows_in(again)[0]
    assert one.request.query["DeviceId"] != other.request.query["DeviceId"]


def test_a_har_becomes_a_clean_flow_file(tmp_path: Path) -> None:
    source = write_har(tmp_path / "capture.har", story())
    ran = run("redact", str(source), "--output", str(tmp_path / "clean.flows"))
    assert (ran.code, ran.err) == (0, "")
    assert len(flows_in(tmp_path / "clean.flows")) == len(story())
    assert b"contoso" not in everything(tmp_path / "clean.flows").lower()


def test_other_flows_are_left_out(tmp_path: Path) -> None:
    other = eas_flow(1)
    other.request.path = "/owa/auth?user=anna"
    source = write_flows(tmp_path / "capture.flows", [eas_flow(0), other])
    ran = run("redact", str(source), "-o", str(tmp_path / "clean.flows"))
    assert ran.code == 0
    assert "1 exchanges; 1 other flows" in ran.out


@pytest.mark.parametrize("place", ["headers", "body", "target", "connections", "notes"])
def test_a_leak_is_found_and_the_file_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The search does not trust the redaction: here is one that forgets something."""
    if place == "headers":

        def forgetful(name: str, value: str, names: object) -> str:
            original(name, value, names)  # type: ignore[arg-type]
            return value

        original = redact_head.redacted_header
        monkeypatch.setattr(redact_module, "redacted_header", forgetful)
    elif place == "body":
        original_body = redact_body.redacted_wbxml

        def leaving(data: bytes, names: object) -> bytes:
            original_body(data, names)  # type: ignore[arg-type]
            return data

        monkeypatch.setattr(redact_module, "redacted_wbxml", leaving)
    elif place == "connections":
        monkeypatch.setattr(redact_module, "redact_connections", lambda _clean, _names: None)
    elif place == "notes":
        monkeypatch.setattr(redact_module, "_unedited", http.HTTPFlow.copy)
    else:
        monkeypatch.setattr(redact_module, "redacted_target", lambda target, _: target)
    source = write_flows(tmp_path / "capture.flows", revealing())
    ran = run("redact", str(source), "-o", str(tmp_path / "clean.flows"))
    assert ran.code == 1
    assert place in ran.err
    assert not (tmp_path / "clean.flows").exists()
    assert not any(secret in ran.err for secret in SECRETS if secret)


@pytest.mark.parametrize(
    ("content", "code"), [(b"", 1), (b"no capture", 1), (b'{"log": {"entries": [', 1)]
)
def test_what_is_no_capture(tmp_path: Path, content: bytes, code: int) -> None:
    source = tmp_path / "file"
    source.write_bytes(content)
    ran = run("redact", str(source), "-o", str(tmp_path / "clean.flows"))
    assert ran.code == code
    assert ran.err.startswith("! ")


def test_a_damaged_flow_is_left_out(tmp_path: Path) -> None:
    """mitmproxy loads states whose parts have other types than its own."""
    flows = [eas_flow(0), eas_flow(1)]
    flows[0].comment = 5  # type: ignore[assignment]
    source = write_flows(tmp_path / "capture.flows", flows)
    ran = run("redact", str(source), "-o", str(tmp_path / "clean.flows"))
    assert ran.code == 1
    assert "! a flow was left out: it is damaged" in ran.err
    assert len(flows_in(tmp_path / "clean.flows")) == 1


def test_what_is_interrupted_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_flows: object, _names: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(redact_module, "leaks", interrupted)
    source = write_flows(tmp_path / "capture.flows", story())
    with pytest.raises(KeyboardInterrupt):
        redact_module.redact(source, tmp_path / "clean.flows", lambda _: None)
    assert not (tmp_path / "clean.flows").exists()


def test_files_that_are_missing_or_in_the_way(tmp_path: Path) -> None:
    source = write_flows(tmp_path / "capture.flows", story())
    assert run("redact", str(tmp_path / "none"), "-o", str(tmp_path / "x")).code == 2
    ran = run("redact", str(source), "-o", str(source))
    assert ran.code == 2
    assert "exists already" in ran.err
    ran = run("redact", str(source), "-o", str(tmp_path / "no" / "such" / "place"))
    assert (ran.code, "cannot be written" in ran.err) == (2, True)


@pytest.mark.parametrize(
    "subject",
    [
        "Mailbox moved",
        "iPhone",
        "certificate list",
        "Server closed",
        "Negotiate",
        "path",
        "Class",
        "Outlook",
        "Office365: outlook.office365.com",
        LOCATION,
        "certain",
        "Sync user",
        "ActiveSync Cmd",
        "Authorization",
        "regular",
        "redirect",
        "HTTP/1.1",
    ],
)
def test_words_that_a_capture_holds_anyway_are_no_leak(tmp_path: Path, subject: str) -> None:
    """A mail may be about the very things that mitmproxy and ActiveSync talk about."""
    flows = revealing()
    item = element(0, "ApplicationData", element(2, "Subject", subject))
    body = write(Document(element(0, "Sync", element(0, "Add", item))))
    flows.append(eas_flow(40, "Sync", body=body, headers={"WWW-Authenticate": "Negotiate"}))
    source = write_flows(tmp_path / "capture.flows", flows)
    ran = run("redact", str(source), "-o", str(tmp_path / "clean.flows"))
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.parametrize("write", [write_flows, write_har])
def test_a_name_that_says_har_makes_one(
    write: Callable[[Path, Sequence[http.HTTPFlow]], Path], tmp_path: Path
) -> None:
    source = write(tmp_path / "capture", revealing())
    written = tmp_path / "Für den Hersteller.HAR"
    ran = run("redact", str(source), "-o", str(written))
    assert (ran.code, ran.err) == (0, "")
    assert "a HAR, 15 exchanges" in ran.out
    log = json.loads(written.read_bytes())["log"]
    assert (log["version"], len(log["entries"])) == ("1.2", 15)
    found = written.read_bytes().lower()
    for secret in (*SECRETS, SUBJECT, COOKIE, "anna", "contoso", "ex2007", "192.0.2", "DEVICE1"):
        assert not secret or secret.lower().encode() not in found
    assert ("keeps what the proxy recorded of 1 exchange" in ran.out) == (write is write_flows)


def test_a_har_tells_what_the_capture_told(tmp_path: Path) -> None:
    source, written = write_flows(tmp_path / "story", story()), tmp_path / "story.har"
    assert run("redact", str(source), "-o", str(written)).code == 0
    assert kinds_and_statuses(written) == kinds_and_statuses(source)


def kinds_and_statuses(path: Path) -> list[object]:
    told = json.loads(run("explain", str(path), "--json").out)
    said = ("method", "command", "status_code", "eas_status", "evidence", "waited_s", "count")
    return [[[e[name] for name in said] for e in d["exchanges"]] for d in told["devices"]]


def test_what_a_har_says_beside_its_bodies_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redact_module, "_comment", lambda comment, _: comment)
    flow = eas_flow(0)
    flow.comment = "ask CONTOSO\\anneliese"
    source = write_flows(tmp_path / "capture.flows", [eas_flow(1, user="anneliese"), flow])
    ran = run("redact", str(source), "-o", str(tmp_path / "clean.har"))
    assert ran.code == 1
    assert "something is left in the notes" in ran.err
    assert not (tmp_path / "clean.har").exists()


def test_the_comment_of_an_ended_wait_stays(tmp_path: Path) -> None:
    flow = eas_flow(0, "Ping")
    flow.comment = f"{WAIT_ENDED} · today: pass (other_answer)"
    source = write_flows(tmp_path / "capture.flows", [flow])
    assert run("redact", str(source), "-o", str(tmp_path / "clean.flows")).code == 0
    assert flows_in(tmp_path / "clean.flows")[0].comment == flow.comment


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("-", 2, "from a file and not from standard input"),
        ("folder", 2, "folder is a folder: name a flow file"),
        ("absent.flows", 2, "There is no capture"),
        ("other.flows", 1, "holds no exchange of ActiveSync (1 other flow)."),
        ("packed.flows.gz", 1, "unpack it first"),
    ],
)
def test_what_is_no_capture_leaves_no_file(
    source: str, code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    other = eas_flow(0)
    other.request.path = "/owa/"
    write_flows(Path("other.flows"), [other])
    Path("packed.flows.gz").write_bytes(gzip.compress(Path("other.flows").read_bytes()))
    ran = run("redact", source, "-o", "clean.flows")
    assert ran.code == code
    assert said in ran.err
    assert not Path("clean.flows").exists()

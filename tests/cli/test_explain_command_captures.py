"""`explain CAPTURE`: timelines, findings, exit codes; nothing in a file ends in a traceback."""

import base64
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mitmproxy.addons.savehar import SaveHar
from mitmproxy.io import tnetstring

from eas_redirect.activesync.wbxml import Document, element, write
from eas_redirect.captures.har import entries
from tests.activesync.vectors import VECTORS
from tests.captures.captures import (
    COOKIE,
    PASSWORD,
    POLICY_KEY,
    eas_flow,
    har_entry,
    status,
    story,
    write_flows,
    write_har,
)
from tests.cli.running import run
from tests.conftest import Golden
from tests.support import DATA


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "eas-redirect.toml"
    path.write_text(
        f'mode = "enforce"\n[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n'
        '[exchange]\nhost_names = ["mail.contoso.example"]\n'
    )
    return path


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return write_flows(tmp_path / "capture.flows", story())


def test_the_story_without_a_configuration(capture: Path, golden: Golden) -> None:
    ran = run("explain", str(capture))
    assert (ran.code, ran.err) == (1, "")
    golden(DATA / "golden" / "explain-evidence.txt", ran.out)


def test_the_story_with_a_configuration(capture: Path, config: Path, golden: Golden) -> None:
    ran = run("explain", str(capture), "--config", str(config))
    assert (ran.code, ran.err) == (1, "")
    golden(DATA / "golden" / "explain-decisions.txt", ran.out)


def test_the_story_as_json(capture: Path, config: Path, golden: Golden) -> None:
    ran = run("explain", str(capture), "--config", str(config), "--json")
    assert ran.code == 1
    golden(DATA / "golden" / "explain-decisions.json", ran.out)
    devices = json.loads(ran.out)["devices"]
    assert devices[0]["exchanges"][0]["decided"]["reason"] == "logon_not_proven"
    assert devices[0]["exchanges"][1]["decided"]["reason"] == "mailbox_moved"


def test_a_server_that_the_configuration_does_not_name_gets_no_verdict(
    capture: Path, config: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.toml"
    other.write_text(config.read_text().replace("mail.contoso.example", "eas.fabrikam.example"))
    ran = run("explain", str(capture), "--config", str(other))
    assert ran.code == 1
    assert "mailbox_moved" not in ran.out
    assert "add its name to exchange.host_names" in ran.out
    named = tmp_path / "named.toml"
    text = config.read_text().partition("[exchange]")[0]
    named.write_text(text + '[proxy]\nupstream = "https://mail.contoso.example"\n')
    assert "redirect (mailbox_moved)" in run("explain", str(capture), "-c", str(named)).out


def test_a_har_tells_the_same_story(tmp_path: Path, capture: Path, config: Path) -> None:
    har = write_har(tmp_path / "capture.har", story())
    from_har = json.loads(run("explain", str(har), "-c", str(config), "--json").out)
    from_flows = json.loads(run("explain", str(capture), "-c", str(config), "--json").out)
    assert len(from_har["devices"]) == len(from_flows["devices"])
    for one, other in zip(from_har["devices"], from_flows["devices"], strict=True):
        assert (one["user"], one["device_id"]) == (other["user"], other["device_id"])
        decided = [[e["decided"] for e in d["exchanges"]] for d in (one, other)]
        assert decided[0] == decided[1]


def test_a_har_that_mitmproxy_saved(tmp_path: Path) -> None:
    path = tmp_path / "saved.har"
    path.write_text(json.dumps(SaveHar().make_har(story())))
    said = json.loads(run("explain", str(path), "--json").out)
    assert said["troubles"] == []
    entries = [entry for device in said["devices"] for entry in device["exchanges"]]
    assert {(e["command"], e["eas_status"]) for e in entries} >= {
        ("FolderSync", 123),
        ("Sync", 129),
        ("Ping", 1),
    }


@pytest.mark.parametrize("secret", [PASSWORD, POLICY_KEY, COOKIE])
def test_no_secret_is_shown(capture: Path, config: Path, secret: str) -> None:
    for options in ([], ["--json"], ["-c", str(config)], ["-c", str(config), "--json"]):
        ran = run("explain", str(capture), *options)
        assert secret not in ran.out + ran.err


@pytest.mark.parametrize(
    ("options", "devices"),
    [
        (["--device", "appldevice1"], {"ApplDEVICE1"}),
        (["--user", "CONTOSO\\carl"], {"BLOCKED3"}),
        (["--user", "bert"], {"SEC2"}),
        (["--user", "bert", "--device", "OLD5"], set()),
    ],
)
def test_filters(capture: Path, options: list[str], devices: set[str]) -> None:
    ran = run("explain", str(capture), "--json", *options)
    assert {device["device_id"] for device in json.loads(ran.out)["devices"]} == devices


def test_a_device_with_nothing_wrong_is_exit_code_0(tmp_path: Path) -> None:
    good = write_flows(
        tmp_path / "good.flows", [eas_flow(0, body=status(7, "FolderSync", 1)), eas_flow(9, "Sync")]
    )
    ran = run("explain", str(good))
    assert ran.code == 0
    assert "!" not in ran.out


def test_only_what_another_configuration_would_change(
    capture: Path, config: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.toml"
    other.write_text(config.read_text() + 'min_protocol_version = "2.5"\n')
    ran = run("explain", str(capture), "-c", str(config), "--against", str(other))
    assert ran.code == 1
    assert ran.out.count("now ") == 1
    assert "OLD5" in ran.out
    assert "protocol_version_too_low" in ran.out
    assert "redirect (mailbox_moved) → outlook.office365.com" in ran.out

    weak = tmp_path / "weak.toml"
    weak.write_text(config.read_text() + "weak_statuses = []\n")
    said = json.loads(
        run("explain", str(capture), "-c", str(config), "--against", str(weak), "--json").out
    )
    assert {change["then"]["reason"] for change in said["changes"]} == {"other_answer"}
    assert {change["device"] for change in said["changes"]} == {"OLD5", "192.0.2.7"}

    same = run("explain", str(capture), "-c", str(config), "--against", str(config))
    assert same.code == 0
    assert "alike" in same.out


def test_redirects_that_a_device_ignores(tmp_path: Path) -> None:
    flows = [eas_flow(n * 60, code=451, body=b"") for n in range(3)]
    for flow in flows:
        flow.metadata["eas"] = {
            "event": {"reason": "mailbox_moved"},
            "eas": {
                "decision": "redirect",
                "evidence": "certain",
                "upstream": {"status_code": 200, "status": 123},
                "redirect": {"location": "https://outlook.office365.com/x"},
            },
        }
    ran = run("explain", str(write_flows(tmp_path / "ignored.flows", flows)))
    assert ran.code == 1
    assert "200     123 UserHasNoMailbox" in ran.out.replace("  123", "     123")
    assert "redirect (mailbox_moved) → outlook.office365.com" in ran.out
    assert "was answered 451 3 times and came back" in ran.out


def test_bodies_that_were_not_kept(tmp_path: Path) -> None:
    path = write_flows(tmp_path / "streamed.flows", [eas_flow(0, body=None)])
    assert "eas_bodies=keep" in run("explain", str(path)).out


def test_long_runs_of_equal_exchanges_are_one_line(tmp_path: Path) -> None:
    ping = status(13, "Ping", 1)
    path = write_flows(
        tmp_path / "pings.flows", (eas_flow(n, "Ping", body=ping) for n in range(2000))
    )
    ran = run("explain", str(path))
    assert ran.code == 0
    assert "x2000" in ran.out
    assert len(ran.out.splitlines()) == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\0\1\2\3", "neither a flow file"),
        (b"GET / HTTP/1.1\r\n", "neither a flow file"),
        (b"99999999999:", "neither a flow file"),
        (b"3:abc,", "neither a flow file"),
        (b"version: 1\n\ndn: DC=x\n", "is an export of the directory (LDIF), and neither a flow"),
        (b"{", "no HAR"),
        (b'{"log": {}}', "no HAR"),
        (b'{"log": {"entries": 5}}', "no HAR"),
        (b'{"log": {"entries": [', "cut short"),
        (b'{"log": {"entries": [{', "cut short"),
        (b'{"log": {"entries": [5]}}', "cut short or damaged"),
        (b'{"log": {"entries": [{}]}}', "an entry of the HAR cannot be read"),
        (b"[]", "no export of tshark"),
        (b'[{"_source": {"layers": {"frame": {"frame.time_epoch": "1"}}}}]', "no export of tshark"),
        (b'[{"_source": ', "cut short or damaged"),
        (b'{"log": {"entries": [' + b"[" * 100_000, "damaged"),
        (b'{"log": {"entries": [{"a":' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_files_that_are_no_captures(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    ran = run("explain", str(path))
    assert (ran.code, ran.err) == (1, "")
    assert said in ran.out


def test_a_capture_cut_short_is_told_as_far_as_it_goes(capture: Path) -> None:
    whole = capture.read_bytes()
    capture.write_bytes(whole[: len(whole) * 2 // 3])
    ran = run("explain", str(capture))
    assert ran.code == 1
    assert "ApplDEVICE1" in ran.out
    assert "cut short or damaged behind flow" in ran.out


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(), at=st.floats(0, 1), kind=st.sampled_from(["flows", "har"]))
def test_damaged_files_never_end_in_a_traceback(
    tmp_path: Path, data: bytes, at: float, kind: str
) -> None:
    make = write_flows if kind == "flows" else write_har
    path = make(tmp_path / f"damaged.{kind}", story()[:2])
    whole = path.read_bytes()
    cut = int(at * len(whole))
    path.write_bytes(whole[:cut] + data + whole[cut + len(data) :])
    assert run("explain", str(path)).code in (0, 1)


HEADER = b"\x03\x01\x6a\0"
BASE64: dict[str, object] = {"encoding": "base64"}
MOVED = base64.b64encode(VECTORS["FolderSync"]).decode()
GZIPPED = base64.b64encode(gzip.compress(VECTORS["FolderSync"])).decode()
GZIP: dict[str, object] = {
    "response__headers": [
        {"name": "Content-Encoding", "value": "gzip"},
        {"name": "Content-Type", "value": "application/vnd.ms-sync.wbxml"},
    ]
}


def har_with(tmp_path: Path, **changes: object) -> Path:
    path = write_har(tmp_path / "odd.har", [eas_flow(0, body=VECTORS["FolderSync"])])
    document = json.loads(path.read_text())
    entry = document["log"]["entries"][0]
    for key, value in changes.items():
        target, *rest = key.split("__")
        if rest:
            entry[target][rest[0]] = value
        else:
            entry[target] = value
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"response__content": {}}, "export the HAR with content"),
        ({"response__content": {"size": 15}}, "export the HAR with content"),
        ({"response__content": {"text": "!", "encoding": "base64"}}, "export the HAR"),
        ({"response__content": {"size": 0}}, "FolderSync"),
        ({"response__content": None}, "export the HAR with content"),
        ({"response__content": {"text": MOVED, "encoding": "Base64"}}, "UserHasNoMailbox"),
        ({"response__content": {"text": f"{MOVED[:8]}\r\n{MOVED[8:]}", **BASE64}}, "UserHasNo"),
        ({"response__content": {"text": MOVED}}, "UserHasNoMailbox"),
        ({"response__content": {"text": MOVED[:-1]}}, "Export it with bodies in base64"),
        ({"response__content": {"text": GZIPPED, **BASE64}, **GZIP}, "UserHasNoMailbox"),
        ({"response__content": {"text": MOVED, **BASE64}, **GZIP}, "UserHasNoMailbox"),
        ({"startedDateTime": "2026-03-02T08:00:00.4302331-05:00"}, "2026-03-02 13:00:00"),
        ({"startedDateTime": "2026-03-02T10:00:00+0200"}, "2026-03-02 08:00:00"),
        ({"startedDateTime": "0001-01-01T00:00:00+10:00"}, "a flow of the capture is damaged"),
        ({"time": float("inf")}, "UserHasNoMailbox"),
        ({"_initiator": {"entries": [{}]}, "connection": "443"}, "UserHasNoMailbox"),
        ({"response": None}, "was not answered"),
        ({"response__status": "200"}, "UserHasNoMailbox"),
        ({"response__status": 200.0}, "UserHasNoMailbox"),
        ({"response__status": "200 "}, "UserHasNoMailbox"),
        ({"response__status": True}, "was not answered"),
        ({"response__status": "none"}, "was not answered"),
        ({"response__status": float("nan")}, "was not answered"),
        ({"time": "120"}, "  0.1 s  "),
        ({"response__headers": {"Content-Type": "application/vnd.ms-sync.wbxml"}}, "UserHasNo"),
        ({"time": None}, "UserHasNoMailbox"),
        ({"request__headers": None}, "anna, device"),
        ({"request__headers": [{"name": 5}]}, "anna, device"),
        ({"request__headers": [{"name": "X-Empty", "value": None}, None]}, "anna, device"),
        ({"startedDateTime": 1772438400000}, "2026-03-02 08:00:00"),
        ({"startedDateTime": "2026-03-02T08:00:00"}, "2026-03-02 08:00:00"),
        ({"response___charlesStatus": "COMPLETE"}, "UserHasNoMailbox"),
        ({"response___charlesStatus": "EXCEPTION", "response__headers": []}, "was not answered"),
        ({"request__url": "not a url"}, "an entry of the HAR cannot be read"),
        ({"startedDateTime": "yesterday"}, "an entry of the HAR cannot be read"),
        ({"request": None}, "an entry of the HAR cannot be read"),
    ],
)
def test_har_entries_that_lack_something(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    ran = run("explain", str(har_with(tmp_path, **changes)))
    assert said in ran.out


OPAQUE = HEADER + b"\0\x07VL\x03123\0\x01R\xc3\x10\x81\x9c" + b"a" * 14 + b"\x01\x01"
UTF_8 = HEADER + b"\0\x07VL\x03123\0\x01R\x03M\xc3\xbcller\0\x01\x01"
WBXML = "application/vnd.ms-sync.wbxml"


def content(text: str, size: int | None = None) -> dict[str, object]:
    found: dict[str, object] = {"mimeType": WBXML, "text": text}
    return found if size is None else {**found, "size": size}


@pytest.mark.parametrize(
    ("written", "lost"),
    [
        (content(OPAQUE.decode("latin-1"), len(OPAQUE)), False),
        (content(OPAQUE.decode("latin-1")), False),
        (content(UTF_8.decode(), len(UTF_8)), False),
        (content(UTF_8.decode("latin-1"), len(UTF_8)), False),
        (content(UTF_8.decode()), False),
        (content(VECTORS["FolderSync"].decode()), False),
        (content(VECTORS["FolderSync"].decode(), 9), False),  # a size of what was packed
        (content(OPAQUE.decode("utf-8", "replace"), len(OPAQUE)), True),
        (content(OPAQUE.decode("utf-8", "replace")), True),
        (content(OPAQUE.decode("utf-8", "ignore"), len(OPAQUE)), True),
        (content(OPAQUE.decode("cp1252", "replace"), len(OPAQUE)), True),
        (content(OPAQUE.decode("latin-1")[:20], len(OPAQUE)), True),
    ],
    ids=[
        *("bytes", "bytes without a size", "UTF-8", "bytes of UTF-8", "UTF-8 without a size"),
        *("ASCII", "another size", "replaced", "replaced without a size", "dropped", "Windows"),
        "cut",
    ],
)
def test_bodies_that_a_har_holds_as_text(
    tmp_path: Path, written: dict[str, object], *, lost: bool
) -> None:
    """Bytes that cannot be had back are the capture's fault, never Exchange's."""
    ran = run("explain", str(har_with(tmp_path, response__content=written)))
    assert "malformed" not in ran.out
    assert ("Export it with bodies in base64" in ran.out, "UserHasNoMailbox" in ran.out) == (
        lost,
        not lost,
    )


def test_what_a_device_sent_may_be_lost_too(tmp_path: Path) -> None:
    sent = {"mimeType": WBXML, "text": "\x03\x01j\0\ufffd"}
    ran = run("explain", str(har_with(tmp_path, request__postData=sent)))
    assert "Export it with bodies in base64" in ran.out
    assert "UserHasNoMailbox" in ran.out


def as_bytes(log: dict[str, object], encoding: str = "utf-8") -> bytes:
    return json.dumps({"log": log}, indent=1).encode(encoding)


ENTRIES: dict[str, object] = {
    "entries": [har_entry(eas_flow(0, body=VECTORS["FolderSync"]))],
}


@pytest.mark.parametrize(
    "content",
    [
        as_bytes({"pages": [{"title": '"entries": [{'}], **ENTRIES}),
        as_bytes({"_own": {"entries": [{"a": 1}]}, "comment": "entries", **ENTRIES}),
        as_bytes({"_numbers": [1, 2.5e3, None, True], "_n": 12, **ENTRIES, "creator": {}}),
        as_bytes({"_padding": "x" * (3 << 20), **ENTRIES}),
        b"\xef\xbb\xbf\r\n" + as_bytes(ENTRIES),
        b"\n" * 1000 + as_bytes(ENTRIES),
        as_bytes(ENTRIES, "utf-16"),
        json.dumps(ENTRIES).encode(),
    ],
    ids=["title", "inner", "numbers", "long", "mark", "lines", "utf-16", "bare"],
)
def test_where_the_entries_of_a_har_are(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.har"
    path.write_bytes(content)
    said = json.loads(run("explain", str(path), "--json").out)
    assert said["troubles"] == []
    assert said["devices"][0]["exchanges"][0]["eas_status"] == 123


def test_a_har_whose_window_ends_anywhere() -> None:
    """Values are cut where the reader's first window ends: numbers, names, brackets, entries."""
    head = '{"log": {"_padding": "'
    tail = '", "_n": 1234, "_m": [5, {"a": 6}], "entries": [{"request": 1}, {"b": 789}]}}'
    for end in range((1 << 20) - 40, (1 << 20) + 5):
        text = head + "x" * (end - len(head)) + tail
        found = list(entries(io.StringIO(text), lambda _: None))
        assert found == [{"request": 1}, {"b": 789}], end


@pytest.mark.parametrize(
    ("change", "value", "said"),
    [
        ("metadata", 5, "a flow of the capture is damaged"),
        ("error", "", "a flow of the capture is damaged"),
        ("version", 99, "written by a newer mitmproxy"),
        ("version", [0, 10], "written by a mitmproxy that is too old"),
        ("version", [0, 8, 1], "written by a mitmproxy that is too old"),
    ],
)
def test_flows_with_a_damaged_state(tmp_path: Path, change: str, value: object, said: str) -> None:
    """mitmproxy loads states whose parts have other types than its own."""
    state = {**eas_flow(0).get_state(), change: value}
    path = tmp_path / "damaged.flows"
    path.write_bytes(tnetstring.dumps(eas_flow(9).get_state()) + tnetstring.dumps(state))
    ran = run("explain", str(path))
    assert (ran.code, ran.err) == (1, "")
    assert f"! {said}" in ran.out or f"! the capture was {said}" in ran.out
    assert "1 exchange:" in ran.out


@pytest.mark.parametrize("time_s", [float("nan"), 1e300, -1e18])
@pytest.mark.parametrize("message", ["request", "response"])
def test_times_that_are_none(tmp_path: Path, message: str, time_s: float) -> None:
    flow = eas_flow(0)
    getattr(flow, message).timestamp_start = time_s
    path = write_flows(tmp_path / "times.flows", [flow])
    ran = run("explain", str(path), "--json")
    said = json.loads(ran.out, parse_constant=pytest.fail)
    assert bool(said["troubles"]) is (message == "request")


def test_a_har_is_read_entry_by_entry(tmp_path: Path) -> None:
    """More entries than one window of the reader holds."""
    mail = write(Document(element(21, "SendMail", element(21, "Mime", b"x" * 100_000))))
    flows = [eas_flow(n, "SendMail", body=mail) for n in range(30)]
    ran = run("explain", str(write_har(tmp_path / "long.har", flows)), "--json")
    device = json.loads(ran.out)["devices"][0]
    assert sum(entry["count"] for entry in device["exchanges"]) == 30


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no/such/file"], "There is no capture"),
        (["missing.flow"], "There is no capture"),
        (["missing.flows", "--device", "x"], "There is no capture"),
        (["-"], "from a file and not from standard input: name a flow file"),
        (["/"], "/ is a folder: name a flow file"),
    ],
)
def test_captures_that_are_not_there(arguments: list[str], said: str) -> None:
    ran = run("explain", *arguments)
    assert ran.code == 2
    assert said in ran.err


def test_a_directory_out_of_reach_is_exit_code_3(capture: Path, tmp_path: Path) -> None:
    config = tmp_path / "ldap.toml"
    lines = ['servers = ["ldap://127.0.0.1:9"]', 'bind = "anonymous"', "verify = false"]
    config.write_text(
        'mode = "enforce"\n[exchange]\nhost_names = ["mail.contoso.example"]\n[directory]\n'
        + "\n".join([*lines, "connect_timeout_s = 1"])
    )
    ran = run("explain", str(capture), "--config", str(config))
    assert ran.code == 3
    assert "directory_unavailable" in ran.out


def test_against_needs_a_configuration(capture: Path, config: Path) -> None:
    ran = run("explain", str(capture), "--against", str(config))
    assert (ran.code, ran.out) == (2, "")
    assert "--against needs --config" in ran.err


def test_a_wrong_configuration_is_named(capture: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("nonsense = 1\n")
    ran = run("explain", str(capture), "--config", str(wrong))
    assert (ran.code, ran.out) == (2, "")
    assert "nonsense" in ran.err

"""Exports of tshark as somebody sends them: answers find their requests, oddities are said."""

import json
from pathlib import Path

import pytest
from mitmproxy import http

from eas_redirect.captures import tshark
from eas_redirect.captures.capture import CaptureTrouble, read_exchanges, read_flows
from tests.activesync.vectors import VECTORS

URL = "https://mail.contoso.example/Microsoft-Server-ActiveSync?Cmd={}&User=anna&DeviceId=D1"
TYPE = "Content-Type: application/vnd.ms-sync.wbxml\r\n"
type Packet = dict[str, object]


def packet(stream: int, time_s: float, *layers: dict[str, object]) -> Packet:
    http_layer = layers[0] if len(layers) == 1 else list(layers)
    told = {"frame.time_epoch": str(time_s)}
    found = {"frame": told, "tcp": {"tcp.stream": str(stream)}, "http": http_layer}
    return {"_source": {"layers": found}}


def asked(command: str = "FolderSync", *, lines: object = None) -> dict[str, object]:
    return {
        "POST /Microsoft-Server-ActiveSync HTTP/1.1\\r\\n": {},
        "http.request.full_uri": URL.format(command),
        "http.request.line": lines or [TYPE, "MS-ASProtocolVersion: 14.1\r\n"],
        "http.file_data_raw": ["03016a00", 0, 4],
    }


def answered(body: bytes = VECTORS["FolderSync"], status: str = "200 OK") -> dict[str, object]:
    return {
        f"HTTP/1.1 {status}\\r\\n": {},
        "http.response.line": TYPE,
        "http.file_data_raw": [body.hex(), 0, len(body)],
    }


def written(tmp_path: Path, packets: list[Packet]) -> Path:
    path = tmp_path / "export.json"
    path.write_text(json.dumps(packets), "utf-8")
    return path


def flows_of(tmp_path: Path, packets: list[Packet]) -> list[http.HTTPFlow]:
    found = list(read_flows(written(tmp_path, packets)))
    assert all(isinstance(one, http.HTTPFlow) for one in found), found
    return [one for one in found if isinstance(one, http.HTTPFlow)]


def commands(flows: list[http.HTTPFlow]) -> list[tuple[str, int | None]]:
    return [
        (flow.request.query["Cmd"], flow.response.status_code if flow.response else None)
        for flow in flows
    ]


def test_an_answer_belongs_to_the_oldest_request_of_its_connection(tmp_path: Path) -> None:
    flows = flows_of(
        tmp_path,
        [
            packet(1, 100.0, asked("Ping")),
            packet(2, 101.0, asked("FolderSync")),
            packet(2, 102.5, answered()),
            packet(2, 103.0, asked("Sync"), asked("Settings")),
            packet(2, 104.0, answered(b"", "503 Busy"), answered(b"", "200 OK")),
            packet(1, 570.0, answered(b"")),
        ],
    )
    assert commands(flows) == [("FolderSync", 200), ("Sync", 503), ("Settings", 200), ("Ping", 200)]
    ping = flows[-1]
    assert ping.response is not None
    assert ping.response.timestamp_start - ping.request.timestamp_start == pytest.approx(470)
    assert ping.request.headers["MS-ASProtocolVersion"] == "14.1"


def test_evidence_is_read_as_from_any_capture(tmp_path: Path) -> None:
    path = written(tmp_path, [packet(1, 1.0, asked()), packet(1, 2.0, answered())])
    [found] = read_exchanges(path)
    assert not isinstance(found, CaptureTrouble)
    assert found.exchange.answer.eas_status == 123


def test_100_continue_is_no_answer(tmp_path: Path) -> None:
    packets = [
        packet(1, 1.0, asked("SendMail")),
        packet(1, 1.1, answered(b"", "100 Continue")),
        packet(1, 2.0, answered(b"")),
    ]
    assert commands(flows_of(tmp_path, packets)) == [("SendMail", 200)]


def test_what_nobody_answered_and_what_nobody_asked(tmp_path: Path) -> None:
    packets = [packet(7, 1.0, answered()), packet(1, 2.0, asked("Ping"))]
    assert commands(flows_of(tmp_path, packets)) == [("Ping", None)]


def test_only_so_many_requests_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tshark, "MAX_WAITING", 3)
    packets = [packet(n, float(n), asked()) for n in range(5)]
    flows = flows_of(tmp_path, [*packets, packet(4, 9.0, answered())])
    assert [flow.response is not None for flow in flows] == [False, False, True, False, False]


@pytest.mark.parametrize(
    "odd",
    [
        packet(1, 1.0, {"Line-based text data": {}}),
        packet(1, 1.0, {**answered(), "http.file_data_raw": ["xyz"]}),
        {"_source": {"layers": {"tcp": {}, "frame": {"frame.time_epoch": "noon"}, "http": {}}}},
        {"_source": {"layers": {}}},
        {"_source": None},
        {},
    ],
    ids=["no head", "no hexadecimal", "no time", "no layers", "nothing", "empty"],
)
def test_what_is_no_message_is_passed_over(tmp_path: Path, odd: Packet) -> None:
    packets = [odd, packet(1, 1.0, asked(lines="Host: mail.contoso.example\r\n")), odd]
    assert commands(flows_of(tmp_path, packets)) == [("FolderSync", None)]


def test_an_address_that_is_none_is_said(tmp_path: Path) -> None:
    broken = packet(1, 1.0, {**asked(), "http.request.full_uri": "nowhere"})
    [trouble] = read_flows(written(tmp_path, [broken]))
    assert trouble == CaptureTrouble("an exchange of the export cannot be read (ValueError)")


def test_an_export_without_http_is_said_with_what_to_write(tmp_path: Path) -> None:
    [trouble] = read_flows(written(tmp_path, [{"_source": {"layers": {"tcp": {}}}}]))
    assert isinstance(trouble, CaptureTrouble)
    assert "-T json -x --no-duplicate-keys" in trouble.text


@pytest.mark.parametrize(
    "change",
    [
        {"http.host": "mail.contoso.example", "http.request.line": "Content-Length: 4\r\n"},
        {"http.file_data": "03:01:6a:00", "http.file_data_raw": None},
    ],
    ids=["of equal keys the last one", "bodies as text"],
)
def test_an_export_that_has_lost_something_is_no_story(
    tmp_path: Path, change: dict[str, object]
) -> None:
    """Headers that the export has lost are not headers that a box took away."""
    layer = {key: value for key, value in {**asked(), **change}.items() if value is not None}
    [said] = read_exchanges(written(tmp_path, [packet(1, 1.0, layer), packet(1, 2.0, answered())]))
    assert isinstance(said, CaptureTrouble)
    assert "lacks headers or bodies" in said.text
    assert "--no-duplicate-keys" in said.text


@pytest.mark.parametrize(
    "head", ['{"index":{"_index":"packets-2026-03-02"}}\n', '<?xml version="1.0"?>\n<pdml>']
)
def test_another_format_of_tshark(tmp_path: Path, head: str) -> None:
    path = tmp_path / "export"
    path.write_text(head)
    [said] = read_exchanges(path)
    assert isinstance(said, CaptureTrouble)
    assert "export of tshark in a format that cannot be read" in said.text
    assert "-T json -x" in said.text

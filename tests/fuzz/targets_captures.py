"""Targets of captures: flow files and HAR files as somebody sends them, and their redaction."""

from collections.abc import Callable
from pathlib import Path

from mitmproxy import http

from eas_redirect.captures.capture import Captured, CaptureTrouble, read_exchanges
from eas_redirect.redaction.redact import redact
from tests.captures.captures import eas_flow, write_flows, write_har
from tests.fuzz.scratch import directory, written
from tests.fuzz.target import target

TOKENS = (
    b"4:true!",
    b"5:false!",
    b"0:~",
    b"0:,",
    b"0:]",
    b"0:}",
    b"7:content;",
    b"8:response;",
    b"999999999:",
    b"-1:",
    b"1:9#",
    b"[" * 600,
    b'{"a":' * 300,
    b'"entries"',
    b'"text": null',
    b"1e999",
    b"\\ud800",
    b"]}}",
)


def seed(write: Callable[[Path, list[http.HTTPFlow]], Path], name: str) -> list[bytes]:
    path = directory() / name
    write(path, [eas_flow(0.0), eas_flow(1.0, None)])
    return [path.read_bytes()]


def nothing(_read: int) -> None:
    """Progress that nobody looks at."""


# A flow of 3 kB costs mitmproxy a millisecond.
@target(seeds=lambda: seed(write_flows, "seed.flows"), tokens=TOKENS, per_byte_us=20, per_byte=4096)
def fuzz_flow_file(data: bytes) -> None:
    """Any file is read to its end: exchanges, and a sentence for each trouble."""
    _read(written(data, "capture.flows"))


@target(seeds=lambda: seed(write_har, "seed.har"), tokens=TOKENS, per_byte_us=20, per_byte=4096)
def fuzz_har(data: bytes) -> None:
    """The same for what begins as HAR files do."""
    _read(written(b"{" + data, "capture.har"))


def _read(path: Path) -> None:
    for found in read_exchanges(path):
        match found:
            case CaptureTrouble(text=text):
                assert text.isprintable()
            case Captured():
                assert found.exchange.request.method


@target(seeds=lambda: seed(write_flows, "seed.flows"), tokens=TOKENS, per_byte_us=80, per_byte=8192)
def fuzz_redact(data: bytes) -> None:
    """Any capture becomes one without secrets: what was taken out is found nowhere in it."""
    source, redacted = written(data, "capture.flows"), directory() / "redacted.flows"
    redacted.unlink(missing_ok=True)
    result = redact(source, redacted, nothing)
    assert result.leaks == ()

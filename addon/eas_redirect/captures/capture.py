"""Captures: flow files of mitmproxy and HAR files, as EAS exchanges in the order they were saved,
with the questions of phones to Autodiscover among them.

One flow is in memory at a time. What cannot be read is a `CaptureTrouble` among the exchanges,
never an exception. The exchanges are made by the functions that the addon uses on live flows.
"""

import codecs
import gc
import io
import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, TextIO

from mitmproxy import exceptions, http
from mitmproxy import flow as mitmproxy_flow
from mitmproxy.io import FlowReader

from eas_redirect.activesync.authorization import identify
from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.response import Answer, Evidence
from eas_redirect.autodiscover.answer import AutodiscoverEvidence, NoMailboxHere, OtherAnswer
from eas_redirect.captures.har import HARError, read_har
from eas_redirect.captures.recorded import RecordedExchange, recorded_exchange
from eas_redirect.captures.signs import Agents, Signs, SyncKeys, discovered, signs_of
from eas_redirect.captures.tshark import WRITE_IT, read_tshark
from eas_redirect.configuration.foreign_files import kind_of
from eas_redirect.judging.callers import ConnectionLogons, DeviceNames
from eas_redirect.judging.challenges import Challenges
from eas_redirect.judging.judge import Judge, Judgement
from eas_redirect.policy.decision import Step
from eas_redirect.policy.discovery import Discovery, discovery
from eas_redirect.policy.waves import Network
from eas_redirect.proxy import flows

_NEWER = "the capture was written by a newer mitmproxy than this one"
_OLDER = (
    "the capture was written by a mitmproxy that is too old: its format is not read any more."
    " Convert it with the mitmproxy of its time, or take a new one"
)
# libpcap's two byte orders, with microseconds and nanoseconds, and pcapng's section header.
_PACKETS = frozenset(
    bytes.fromhex(magic) for magic in ("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1", "0a0d0d0a")
)
_PACKETS_ADVICE = (
    "this is a capture of packets (pcap), in which TLS hides what was said. Capture with"
    " mitmdump -w on the way, or export it with tshark and the keys of TLS: docs/debugging.md"
    " shows both"
)
_HEAD = 512  # bytes that tell what a file is
_READ_HERE = ("a flow file", "a capture", "JSON")  # of `kind_of`
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")
_PACKED_ADVICE = (
    "this file is packed: unpack it first. A session archive of Fiddler (.saz) is no capture that"
    " can be read: export it as a HAR"
)
_LOG_HEADS = ("#Software:", "#Version:", "#Fields:", "#Date:")
_LOG_ADVICE = "this is a journal or a log of IIS and no capture: eas-redirect report reads it"
_EXPORT_ADVICE = f"this is an export of tshark in a format that cannot be read: {WRITE_IT}"
_LAST_TIME_S = 253_402_300_800  # the year 10000, which no clock of Python shows
_TIDY_BYTES = 16 * 1024 * 1024

type ReadProgress = Callable[[int], None]  # called with the bytes read since the last call


@dataclass(frozen=True, slots=True)
class CaptureTrouble:
    """Something unreadable in a capture: one sentence."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One EAS exchange of a capture. Times are Unix seconds; `waited_s` until the answer began."""

    time_s: float
    waited_s: float | None
    exchange: Exchange
    user_agent: str | None
    answered: bool
    got_status_code: int | None  # what the device got; our 451 where one was sent
    body_missing: bool  # the answer's body was not kept, though it might have been evidence
    contradiction: bool  # User= names somebody else than Authorization
    error: str | None
    recorded: RecordedExchange | None
    foreign: bool  # the configuration does not name the server
    connection: str  # of the client
    signs: Signs = field(default_factory=Signs)
    discovery: Discovery | None = None  # where Autodiscover was asked
    replaced: bool = False  # what Autodiscover was asked, or had said, is not in the capture

    async def judged_by(self, judge: Judge, trace: list[Step] | None = None) -> Judgement:
        """As if it had come live."""
        if self.discovery is not None:
            return await judge.discover(self.discovery, trace)
        return await judge.judge(self.exchange, trace)


class Seen:
    """What the exchanges of a capture reveal about later ones."""

    def __init__(self) -> None:
        self._time_s = 0.0
        self.logons = ConnectionLogons()  # NTLM's names, from one flow of a connection to the next
        self.challenges = Challenges(clock=lambda: self._time_s)
        self.discovery_challenges = Challenges(clock=lambda: self._time_s)
        self.device_names = DeviceNames()
        self.keys = SyncKeys()
        self.agents = Agents()

    def at(self, time_s: float) -> None:
        self._time_s = max(self._time_s, time_s)


def _no_progress(_: int) -> None:
    """For callers that show no progress."""


def read_flows(
    path: Path, progress: ReadProgress = _no_progress
) -> Iterator[mitmproxy_flow.Flow | CaptureTrouble]:
    """Every flow of a flow file or a HAR, whatever its protocol."""
    tidied = _tidying(progress)
    try:
        with path.open("rb") as file:
            yield from _read(file, tidied)
    except OSError as error:
        yield CaptureTrouble(f"{path.name} cannot be read: {error.strerror}")


def read_exchanges(
    path: Path,
    weak_statuses: frozenset[int] = frozenset({403}),
    trusted: tuple[Network, ...] = (),
    progress: ReadProgress = _no_progress,
    servers: Collection[str] = (),
) -> Iterator[Captured | CaptureTrouble]:
    """The EAS exchanges of a capture; other flows are skipped. `servers`: see `is_ours`."""
    seen = Seen()
    for flow in read_flows(path, progress):
        if isinstance(flow, CaptureTrouble):
            yield flow
        elif isinstance(flow, http.HTTPFlow) and flows.is_exchange(flow):
            try:
                yield captured(flow, seen, weak_statuses, trusted, servers)
            except Exception as error:  # mitmproxy loads states of other types than its own
                yield CaptureTrouble(f"a flow of the capture is damaged ({type(error).__name__})")


def captured(
    flow: http.HTTPFlow,
    seen: Seen,
    weak_statuses: frozenset[int],
    trusted: tuple[Network, ...] = (),
    servers: Collection[str] = (),
) -> Captured:
    """One flow, given what earlier ones revealed."""
    if flows.is_discovery(flow):
        return _captured_question(flow, seen, trusted, servers)
    headers = flows.headers_of(flow.request)
    request, credentials = flows.request_of(flow, headers), flows.credentials_of(headers)
    wire = flows.wire_facts(flow, request, credentials, trusted)
    recorded = recorded_exchange(flow)
    time_s = _time(flow.request.timestamp_start)
    seen.at(time_s)
    answer = Answer(status_code=0, evidence=Evidence.NONE)
    if flow.response is not None:
        answer = flows.answer_in_capture(flow, flow.response, request, weak_statuses)
    connections, server = (flow.client_conn.id, flow.server_conn.id), flows.server_of(flow)
    remembered = seen.logons.recall(*connections, credentials)
    if flow.response is not None:
        seen.logons.answered(*connections, credentials, answer.status_code)
        seen.challenges.answered(server, credentials, answer.status_code)
    if recorded is not None and recorded.shows_challenge:
        seen.challenges.met(server)
    exchange = Exchange(
        request=request,
        credentials=credentials,
        identity=identify(request, credentials, remembered),
        answer=answer,
        called_names=flows.called_names(flow, trusted),
        further_names=flows.further_names(flow),
        client_address=flows.client_address(flow, trusted),
        challenged=seen.challenges.known(server),
    )
    if flow.response is not None:
        seen.device_names.learn(exchange, exchange.called_names)
    return Captured(
        time_s=time_s,
        waited_s=_waited(flow),
        exchange=exchange,
        user_agent=wire.user_agent,
        answered=flow.response is not None,
        got_status_code=flow.response.status_code if flow.response else None,
        body_missing=_is_body_missing(flow, recorded),
        contradiction=wire.contradiction,
        error=wire.error_message,
        recorded=recorded,
        foreign=recorded is None and not flows.is_ours(flow, servers),
        connection=flow.client_conn.id,
        signs=signs_of(flow, request, answer.eas_status, _waited(flow), seen.keys, seen.agents),
    )


def _captured_question(
    flow: http.HTTPFlow,
    seen: Seen,
    trusted: tuple[Network, ...],
    servers: Collection[str],
) -> Captured:
    """The same for a question to Autodiscover."""
    credentials = flows.credentials_of(flows.headers_of(flow.request))
    recorded, response = recorded_exchange(flow), flow.response
    time_s = _time(flow.request.timestamp_start)
    seen.at(time_s)
    server = flows.server_of(flow)
    said: AutodiscoverEvidence = OtherAnswer("There was no whole answer.")
    status = 0
    if response is not None:
        said = flows.said_by_autodiscover(response)
        status = (recorded and recorded.status_code) or response.status_code
        seen.discovery_challenges.answered(server, credentials, status)
    if recorded is not None and recorded.shows_challenge:
        seen.discovery_challenges.met(server)
    told = recorded is not None and recorded.decision == "redirect"
    if told and recorded is not None and recorded.evidence == Evidence.WEAK:
        said = NoMailboxHere()  # which is all that there was to read
    asked = flows.asked_of_autodiscover(flow.request)
    found = discovery(
        asked,
        said,
        status_code=status,
        credentials=credentials,
        user_agent=", ".join(flows.field_values(flow.request, b"user-agent")),
        device_names=seen.device_names(),
        called_names=(*flows.called_names(flow, trusted), *flows.further_names(flow)),
        client_address=flows.client_address(flow, trusted),
        challenged=seen.discovery_challenges.known(server),
    )
    wire = flows.wire_facts(flow, found.exchange.request, credentials, trusted)
    lost = flow.request.raw_content is None
    return Captured(
        time_s=time_s,
        waited_s=_waited(flow),
        exchange=found.exchange,
        user_agent=wire.user_agent,
        answered=response is not None,
        got_status_code=response.status_code if response else None,
        body_missing=lost and recorded is None and status not in (0, 401),
        contradiction=wire.contradiction,
        error=wire.error_message,
        recorded=recorded,
        foreign=recorded is None and not flows.is_ours(flow, servers),
        connection=flow.client_conn.id,
        # No version is agreed on before Autodiscover has answered.
        signs=replace(
            signs_of(flow, found.exchange.request, None, _waited(flow), seen.keys, seen.agents),
            version_sent=True,
            page=None,  # it is XML
            discovered=None if response is None else discovered(response),
        ),
        discovery=found,
        replaced=recorded is not None and (lost or (told and isinstance(said, OtherAnswer))),
    )


def _tidying(progress: ReadProgress) -> ReadProgress:
    """Flows form reference cycles, and a few large ones do not trigger Python's garbage
    collection."""
    unseen = 0

    def advance(count: int) -> None:
        nonlocal unseen
        progress(count)
        unseen += count
        if unseen > _TIDY_BYTES:
            unseen = 0
            gc.collect()

    return advance


def _read(file: BinaryIO, progress: ReadProgress) -> Iterator[mitmproxy_flow.Flow | CaptureTrouble]:
    if (advice := _no_capture(file.read(_HEAD))) is not None:
        yield CaptureTrouble(advice)
        return
    file.seek(0)
    if (found := _json_encoding(file)) is not None:
        encoding, first = found
        yield from _read_text(file, encoding, read_har if first == "{" else read_tshark, progress)
    else:
        yield from _read_flow_file(file, progress)


def _no_capture(head: bytes) -> str | None:
    """What to do with a file that something else has to read first."""
    if head[:4] in _PACKETS:
        return _PACKETS_ADVICE
    if head.startswith(_PACKED):
        return _PACKED_ADVICE
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = head.decode("utf-16" if wide else "utf-8-sig", "replace").lstrip()
    if text.startswith(_LOG_HEADS) or (text.startswith("{") and '"@timestamp"' in text):
        return _LOG_ADVICE
    if text.startswith('{"index"') or "<pdml" in text or "<psml" in text:
        return _EXPORT_ADVICE
    kind = kind_of(head)
    if kind is not None and not kind.startswith(_READ_HERE):
        return f"the file is {kind}, and neither a flow file of mitmproxy nor a HAR"
    return None


def _json_encoding(file: BinaryIO) -> tuple[str, str] | None:
    """How a file that looks like JSON is encoded, and its first character: a HAR is an object, a
    tshark export a list. Windows shells write UTF-16."""
    start = file.read(4096)
    file.seek(0)
    encoding = "utf-16" if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    text = start.decode(encoding, "replace").lstrip()
    return (encoding, text[0]) if text.startswith(("{", "[")) else None


def _read_text(
    file: BinaryIO,
    encoding: str,
    read: Callable[[TextIO, ReadProgress], Iterator[http.HTTPFlow | HARError]],
    progress: ReadProgress,
) -> Iterator[mitmproxy_flow.Flow | CaptureTrouble]:
    text = io.TextIOWrapper(file, encoding=encoding, errors="replace")
    try:
        for found in read(text, progress):
            yield CaptureTrouble(str(found)) if isinstance(found, HARError) else found
    except HARError as error:
        yield CaptureTrouble(str(error))
    finally:
        text.detach()  # the caller closes the file


def _read_flow_file(
    file: BinaryIO, progress: ReadProgress
) -> Iterator[mitmproxy_flow.Flow | CaptureTrouble]:
    """A damaged state can make mitmproxy raise anything; nothing after it can be read."""
    count, at = 0, 0
    try:
        for flow in FlowReader(file).stream():
            count += 1
            progress(file.tell() - at)
            at = file.tell()
            yield flow
    except exceptions.FlowReadException as error:
        if "cannot read files with flow format version" in str(error):
            yield CaptureTrouble(_NEWER if "please update" in str(error) else _OLDER)
        else:
            yield CaptureTrouble(_unreadable(count))
    except Exception as error:
        yield CaptureTrouble(f"{_unreadable(count)} ({type(error).__name__})")
    else:
        if count == 0:
            yield CaptureTrouble("the file is empty: it holds no flows")


def _unreadable(count: int) -> str:
    if count == 0:
        return "the file is neither a flow file of mitmproxy nor a HAR"
    return f"the capture is cut short or damaged behind flow {count}"


def _is_body_missing(flow: http.HTTPFlow, recorded: RecordedExchange | None) -> bool:
    """An answer that was cut off has none because of that."""
    if flow.response is None or recorded is not None or flow.response.raw_content is not None:
        return False
    if flow.error is not None:
        return False
    return flow.response.status_code == 200 and flow.request.method == "POST"


def _time(time_s: float) -> float:
    """Raises for what is not a time."""
    if not 0 <= time_s < _LAST_TIME_S:
        raise ValueError("no time")
    return time_s


def _waited(flow: http.HTTPFlow) -> float | None:
    if flow.response is not None:
        ended: float | None = flow.response.timestamp_start
    else:
        ended = flow.error.timestamp if flow.error else None
    if ended is None or not math.isfinite(ended):
        return None
    return max(0.0, ended - flow.request.timestamp_start)

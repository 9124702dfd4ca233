"""What an EAS flow is about, in a few lines for a person: request, answer, decision. No secrets."""

from typing import assert_never

from mitmproxy import http

from eas_redirect.activesync.authorization import identify
from eas_redirect.activesync.meanings import global_meaning, http_meaning
from eas_redirect.activesync.request import EASRequest
from eas_redirect.activesync.response import Answer, read_answer
from eas_redirect.autodiscover.answer import (
    AutodiscoverEvidence,
    NoMailboxHere,
    OtherAnswer,
    RedirectAddress,
)
from eas_redirect.autodiscover.phone_request import NotForPhones, PhoneRequest
from eas_redirect.captures.looking import verdict_in_words, verdict_of_today
from eas_redirect.captures.recorded import recorded_exchange
from eas_redirect.proxy import flows

SHORT = 4096  # bytes; a global status takes tens


def summary_lines(flow: http.HTTPFlow, *, is_answer: bool) -> list[str]:
    """The lines above a body. The live decision comes from the record that the flow carries;
    today's verdict comes from the addon that has loaded it."""
    if flows.is_discovery(flow):
        lines = question_lines(flow) + decision_lines(flow)
        if is_answer and flow.response is not None:
            said = flows.said_by_autodiscover(flow.response)
            lines += told_lines(flow.response.status_code, said)
        return [*lines, size_line(flow.response if is_answer else flow.request)]
    request = flows.request_of(flow)
    lines = request_lines(request, flow)
    lines += decision_lines(flow)
    if is_answer and flow.response is not None:
        lines += answer_lines(request, answer_of(request, flow.response))
    return [*lines, size_line(flow.response if is_answer else flow.request)]


def size_line(message: http.Message | None) -> str:
    """How long the body was on the wire."""
    body = None if message is None else message.raw_content
    if message is None or body is None:
        return "body not kept"
    coding = message.headers.get("Content-Encoding", "identity")
    size = f"body of {len(body):,} {'byte' if len(body) == 1 else 'bytes'}"
    return size if coding == "identity" else f"{size}, {coding}"


def decision_lines(flow: http.HTTPFlow) -> list[str]:
    """What was decided, and where it led: domain, relationship, location; and Exchange's own
    answer if ours replaced it."""
    lines = []
    record = recorded_exchange(flow)
    if record is not None and record.decision is not None:
        lines.append(f"decision: {record.decision} ({record.reason})")
        lines += _way(record.target_domain, record.relationship, record.location)
        if record.decision == "redirect" and record.status_code is not None:
            status = "" if record.eas_status is None else f", status {record.eas_status}"
            lines.append(f"Exchange answered {record.status_code}{status}")
    today = verdict_of_today(flow)
    if today is not None:
        lines.append(f"today's configuration: {verdict_in_words(today)}")
        lines += _way(today.target_domain, today.relationship, today.location)
    return lines


def _way(domain: str | None, relationship: str | None, location: str | None) -> list[str]:
    told = {"domain": domain, "relationship": relationship, "location": location}
    said = ", ".join(f"{name} {value}" for name, value in told.items() if value)
    return [f"  {said}"] if said else []


def request_lines(request: EASRequest, flow: http.HTTPFlow) -> list[str]:
    """Command, version, user; device, and whether there is a policy key; problems."""
    logon = identify(request, flows.credentials_of(flows.headers_of(flow.request))).logon
    version = f"version {request.protocol_version}" if request.protocol_version else "no version"
    user = f"user {logon.text}" if logon else "no user"
    key = "present" if request.has_policy_key else "absent"
    device = f"device {request.device_id or '?'} ({request.device_type or '?'})"
    lines = [
        f"{request.method} {request.command or '(no command)'}, {version}, {user}",
        f"{device}, policy key {key}, {request.query_encoding} query",
    ]
    return [*lines, f"problem: {request.problem}"] if request.problem else lines


def question_lines(flow: http.HTTPFlow) -> list[str]:
    """What a phone asks Autodiscover, and for whom."""
    credentials = flows.credentials_of(flows.headers_of(flow.request))
    user = f"user {credentials.logon.text}" if credentials.logon else "no user"
    match flows.asked_of_autodiscover(flow.request):
        case PhoneRequest(email_address=address):
            return [f"POST Autodiscover, address {address}, {user}"]
        case NotForPhones(why=why):
            return [f"POST Autodiscover, {user}", f"problem: {why}"]


def told_lines(status_code: int, said: AutodiscoverEvidence) -> list[str]:
    """What Autodiscover answers a phone."""
    answer = f"answer {with_meaning(status_code, http_meaning(status_code))}"
    match said:
        case RedirectAddress(address=address):
            return [f"{answer}, another address: {address}"]
        case NoMailboxHere():
            return [f"{answer}, no mailbox here"]
        case OtherAnswer(why=why):
            return [answer, why]
        case _:
            assert_never(said)


def answer_of(request: EASRequest, response: http.Response) -> Answer:
    """A longer body is not read a second time for its status: the view below shows it."""
    body = response.raw_content
    short = body if body is not None and len(body) <= SHORT else None
    return read_answer(request, response.status_code, flows.headers_of(response), short)


def answer_lines(request: EASRequest, answer: Answer) -> list[str]:
    """HTTP status, global status, evidence; location; problems."""
    facts = [f"answer {with_meaning(answer.status_code, http_meaning(answer.status_code))}"]
    if answer.eas_status is not None:
        meaning = global_meaning(request.command, answer.eas_status)
        facts.append(f"status {with_meaning(answer.eas_status, meaning)}")
    lines = [", ".join([*facts, f"evidence {answer.evidence}"])]
    if answer.location:
        lines.append(f"X-MS-Location {answer.location}")
    return [*lines, f"problem: {answer.problem}"] if answer.problem else lines


def with_meaning(number: int, meaning: str | None) -> str:
    return f"{number} ({meaning})" if meaning else str(number)

"""What a flow is about in a few lines: who asked what, what came, what was decided. No secrets."""

import pytest
from mitmproxy import http

from eas_redirect.proxy import flows
from eas_redirect.proxy.flows import METADATA
from eas_redirect.view.summary import SHORT, answer_of, summary_lines
from tests.activesync.vectors import VECTORS
from tests.captures.captures import PASSWORD, POLICY_KEY, eas_flow, status

LOCATION = "https://outlook.office365.com/Microsoft-Server-ActiveSync"
REDIRECTED = {
    "event": {"reason": "mailbox_moved"},
    "eas": {
        "decision": "redirect",
        "upstream": {"status_code": 200, "status": 123},
        "directory": {"target_domain": "contoso.mail.onmicrosoft.com", "relationship": "Cloud"},
        "redirect": {"location": LOCATION},
    },
}


def test_request_and_answer() -> None:
    flow = eas_flow(0, body=VECTORS["FolderSync"])
    asked = summary_lines(flow, is_answer=False)
    assert asked == [
        "POST FolderSync, version 14.1, user CONTOSO\\anna",
        "device ApplDEVICE1 (iPhone), policy key present, plain query",
        "body of 0 bytes",
    ]
    *same, last, size = summary_lines(flow, is_answer=True)
    assert (same, size) == (asked[:2], "body of 15 bytes")
    assert last == "answer 200 (OK), status 123 (UserHasNoMailbox), evidence certain"
    assert not any(secret in "\n".join([*asked, last]) for secret in (PASSWORD, POLICY_KEY))


def test_what_a_request_lacks_is_said() -> None:
    flow = eas_flow(0, None, user=None)
    first, second = summary_lines(flow, is_answer=False)[:2]
    assert first == "OPTIONS (no command), no version, no user"
    assert second == "device ? (?), policy key absent, none query"


def test_what_was_decided_when_it_was_live() -> None:
    flow = eas_flow(0, code=451, body=b"", headers={"X-MS-Location": LOCATION})
    flow.metadata[METADATA] = REDIRECTED
    lines = summary_lines(flow, is_answer=True)
    at = lines.index("decision: redirect (mailbox_moved)")
    assert lines[at + 1 : at + 3] == [
        "  domain contoso.mail.onmicrosoft.com, relationship Cloud, location " + LOCATION,
        "Exchange answered 200, status 123",
    ]
    assert f"X-MS-Location {LOCATION}" in lines


@pytest.mark.parametrize("record", [None, {}, {"eas": 3}, {"eas": {"decision": []}}, "text", 7])
def test_a_record_of_somebody_else_is_no_decision(record: object) -> None:
    flow = eas_flow(0)
    flow.metadata[METADATA] = record
    assert not any(line.startswith("decision") for line in summary_lines(flow, is_answer=False))


def test_a_long_body_is_not_read_again_for_its_status() -> None:
    flow = eas_flow(0, "Sync", body=status(0, "Sync", 129) + bytes(SHORT))
    assert flow.response is not None
    request = flows.request_of(flow)
    assert answer_of(request, flow.response).eas_status is None
    short = eas_flow(0, "Sync", body=status(0, "Sync", 129))
    assert short.response is not None
    assert answer_of(request, short.response).eas_status == 129


def discovery(body: str) -> http.HTTPFlow:
    flow = eas_flow(0)
    flow.request.path = "/autodiscover/autodiscover.xml"
    flow.request.headers["Content-Type"] = "text/xml"
    flow.request.content = body.encode()
    return flow


def test_a_question_to_autodiscover() -> None:
    request = "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/requestschema/2006"
    response = "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"
    flow = discovery(
        f'<Autodiscover xmlns="{request}"><Request><EMailAddress>anna@contoso.example'
        f"</EMailAddress><AcceptableResponseSchema>{response}</AcceptableResponseSchema>"
        "</Request></Autodiscover>"
    )
    assert summary_lines(flow, is_answer=False) == [
        "POST Autodiscover, address anna@contoso.example, user CONTOSO\\anna",
        f"body of {len(flow.request.raw_content or b'')} bytes",
    ]
    lines = summary_lines(flow, is_answer=True)
    assert lines[1].startswith("answer 200")
    first, problem, _ = summary_lines(discovery("<no-question/>"), is_answer=False)
    assert first == "POST Autodiscover, user CONTOSO\\anna"
    assert problem.startswith("problem: ")


@pytest.mark.parametrize(
    ("body", "coding", "line"),
    [
        (None, None, "body not kept"),
        (b"", None, "body of 0 bytes"),
        (b"x", None, "body of 1 byte"),
        (bytes(12_345), "gzip", "body of 12,345 bytes, gzip"),
    ],
)
def test_the_size_is_that_on_the_wire(body: bytes | None, coding: str | None, line: str) -> None:
    flow = eas_flow(0, body=body, headers={"Content-Encoding": coding} if coding else {})
    assert summary_lines(flow, is_answer=True)[-1] == line

"""Questions of phones to Autodiscover in captures: explained, shown and redacted."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.contentviews import Metadata

from eas_redirect.autodiscover.answer import User, write_settings
from eas_redirect.view.contentview import AutodiscoverContentview
from tests.autodiscover.vectors import (
    DOCTYPE,
    FRAMEWORK_ERROR,
    OUTLOOK_REQUEST,
    USER,
    N,
    answer,
    error,
    redirect,
    request,
    settings,
)
from tests.captures.captures import PASSWORD, eas_flow, write_flows, write_har
from tests.cli.running import run
from tests.cli.test_redact_command import everything, flows_in
from tests.support import DATA

ADDRESS = "anna@contoso.example"
MOVED = answer(USER + redirect("anna@contoso.mail.onmicrosoft.example"))
WEAK = answer(USER + error())
LOCATION = "https://outlook.office365.com/Microsoft-Server-ActiveSync"
CONFIG = (
    f'mode = "enforce"\n[directory]\nsnapshot = "{DATA / "migration.ldif"}"\n'
    '[exchange]\nhost_names = ["autodiscover.contoso.example", "mail.contoso.example"]\n'
)
UTF_16 = '<?xml version="1.0" encoding="utf-16"?>'
LATIN_1 = '<?xml version="1.0" encoding="iso-8859-1"?>'
VIEW = AutodiscoverContentview()


def question(
    said: str | bytes | None = MOVED,
    body: str | bytes | None = request(ADDRESS),
    *,
    at: float = 0,
    user: str | None = ADDRESS,
    code: int | None = 200,
    path: str = "/Autodiscover/Autodiscover.xml",
    content_type: str = "text/xml; charset=utf-8",
    headers: dict[str, str] | None = None,
) -> http.HTTPFlow:
    found = eas_flow(at, user=user, code=code)
    found.request.path = path
    found.request.headers["Host"] = "autodiscover.contoso.example"
    found.request.headers["User-Agent"] = "Android/9-EAS-2.0"
    found.request.headers["Content-Type"] = content_type
    for name in ("MS-ASProtocolVersion", "X-MS-PolicyKey"):
        del found.request.headers[name]
    found.request.raw_content = body.encode() if isinstance(body, str) else body
    if found.response is not None:
        raw = said.encode() if isinstance(said, str) else said
        found.response.headers["Content-Type"] = "text/xml; charset=utf-8"
        found.response.headers["Content-Length"] = str(len(raw or b""))
        found.response.raw_content = raw
        for name, value in (headers or {}).items():
            found.response.headers[name] = value
    return found


def configured(tmp_path: Path, autodiscover: str = 'phones = "listed"') -> str:
    path = tmp_path / "eas-redirect.toml"
    path.write_text(f"{CONFIG}[autodiscover]\n{autodiscover}\n")
    return str(path)


def report(
    tmp_path: Path, flows: Iterable[http.HTTPFlow], *options: str
) -> tuple[list[dict[str, object]], list[str]]:
    """Every exchange and the kinds of findings, of all devices."""
    ran = run("explain", str(write_flows(tmp_path / "c.flows", flows)), "--json", *options)
    assert ran.code in (0, 1), ran.err
    devices = json.loads(ran.out)["devices"]
    exchanges = [entry for device in devices for entry in device["exchanges"]]
    return exchanges, [finding["kind"] for device in devices for finding in device["findings"]]


def decided(tmp_path: Path, flow: http.HTTPFlow, *options: str) -> tuple[object, object]:
    ([exchange], _) = report(tmp_path, [flow], *options)
    found = exchange["decided"]
    assert isinstance(found, dict)
    return found["decision"], found["reason"]


def test_a_phone_that_would_be_told(tmp_path: Path) -> None:
    capture = str(write_flows(tmp_path / "c.flows", [question()]))
    ran = run("explain", capture, "--config", configured(tmp_path))
    assert ran.code == 0
    assert "Autodiscover" in ran.out
    assert "another address" in ran.out
    assert "redirect (mailbox_moved) → outlook.office365.com" in ran.out


def test_what_a_har_has_is_read_too(tmp_path: Path) -> None:
    flow = question()
    path = write_har(tmp_path / "c.har", [flow])
    har = json.loads(path.read_text())
    har["log"]["entries"][0]["request"]["postData"] = {"text": request(ADDRESS)}
    path.write_text(json.dumps(har))
    ran = run("explain", str(path), "--config", configured(tmp_path))
    assert "redirect (mailbox_moved)" in ran.out, ran.out


@pytest.mark.parametrize(
    ("flow", "reason"),
    [
        (question(body=request("bert@contoso.example")), "autodiscover_identity_mismatch"),
        (question(user="bert@contoso.example"), "autodiscover_identity_mismatch"),
        (question(answer(redirect("anna@other.example"))), "other_answer"),
        (question(answer(USER + settings())), "other_answer"),
        (question(WEAK), "other_answer"),
        (question(FRAMEWORK_ERROR), "other_answer"),
        (question(DOCTYPE + answer(redirect("&x;"), declaration="")), "other_answer"),
        (question(body=b"<"), "other_answer"),
        (question(user=None), "no_identity"),
        (question(code=401, said=""), "unauthenticated"),
        (question(code=500), "other_answer"),
        (question(code=None), "no_answer"),
    ],
)
def test_a_phone_that_would_not_be_told(tmp_path: Path, flow: http.HTTPFlow, reason: str) -> None:
    assert decided(tmp_path, flow, "--config", configured(tmp_path)) == ("pass", reason)


def test_who_is_not_told_and_what_to_do(tmp_path: Path) -> None:
    flows = [question(user="bert@contoso.example")]
    assert report(tmp_path, flows, "--config", configured(tmp_path))[1] == [
        "autodiscover_identity_mismatch"
    ]
    assert report(tmp_path, [question()])[1] == ["autodiscover_untold"]
    off = configured(tmp_path, 'phones = "off"')
    assert report(tmp_path, [question()], "--config", off)[1] == ["autodiscover_untold"]
    assert report(tmp_path, [question(code=404)])[1] == ["autodiscover_failed"]
    listed = configured(tmp_path, 'phones = "listed"\nlisted = ["Apple"]')
    reason = decided(tmp_path, question(), "--config", listed)[1]
    assert reason == "autodiscover_client_not_listed"


def test_no_question_of_a_phones_is_left_out(tmp_path: Path) -> None:
    others = [
        question(body=OUTLOOK_REQUEST),
        question(path="/autodiscover/autodiscover.svc"),
        question(path="/autodiscover/autodiscover.json?Email=a%40b"),
    ]
    others.append(question())
    others[-1].request.method = "GET"
    assert report(tmp_path, others) == ([], [])


def test_weak_evidence_counts_behind_a_challenge(tmp_path: Path) -> None:
    config = configured(tmp_path, 'phones = "all"\nweak = true')
    asked, told = question(code=401, said="", user=None), question(WEAK, at=5)
    exchanges, _ = report(tmp_path, [asked, told], "--config", config)
    assert [x["decided"]["reason"] for x in exchanges] == ["unauthenticated", "mailbox_moved"]  # type: ignore[index]
    assert decided(tmp_path, question(WEAK), "--config", config)[1] == "logon_not_proven"


def test_the_name_that_devices_call_is_learned_from_the_capture(tmp_path: Path) -> None:
    path = tmp_path / "eas-redirect.toml"
    bare = CONFIG.replace("host_names", "# host_names")
    path.write_text(
        f'{bare}[proxy]\nupstream = "https://192.0.2.1"\n[autodiscover]\nphones = "all"\n'
    )
    flow, device = question(), eas_flow(0, user="bert@contoso.example")
    for each in (flow, device):
        each.request.data.host = each.request.data.host  # as it came
        each.request.host_header = each.request.headers["Host"]
        each.request.data.host = "192.0.2.1"
    reasons = [
        [x["decided"]["reason"] for x in report(tmp_path, flows, "-c", str(path))[0]]  # type: ignore[index]
        for flows in ([flow], [device, flow])
    ]
    assert reasons[0] == ["redirect_loop"]
    assert reasons[1][-1] == "mailbox_moved"


def recorded(decision: str, evidence: str) -> dict[str, object]:
    return {
        "event": {"action": "eas.autodiscover", "reason": "mailbox_moved"},
        "eas": {
            "decision": decision,
            "evidence": evidence,
            "autodiscover": "redirect",
            "upstream": {"status_code": 200},
            "redirect": {"location": LOCATION},
        },
    }


def test_what_was_told_when_it_was_live_is_known(tmp_path: Path) -> None:
    """Our answer replaced Exchange's address: there is nothing left to judge."""
    flow = question(write_settings(LOCATION, User(email_address=ADDRESS)), body=None)
    flow.metadata["eas"] = recorded("redirect", "certain")
    ([exchange], kinds) = report(tmp_path, [flow], "--config", configured(tmp_path))
    for key in ("decided", "recorded"):
        assert exchange[key]["decision"] == "redirect"  # type: ignore[index]
    assert kinds == []


def test_what_was_streamed_away_is_told(tmp_path: Path) -> None:
    assert report(tmp_path, [question(body=None)])[1] == ["bodies_missing"]


def test_two_configurations(tmp_path: Path) -> None:
    one, other = configured(tmp_path), tmp_path / "other.toml"
    other.write_text(f'{CONFIG}[autodiscover]\nphones = "off"\n')
    capture = str(write_flows(tmp_path / "c.flows", [question()]))
    ran = run("explain", capture, "--config", one, "--against", str(other))
    assert ran.code == 1
    assert "now    redirect (mailbox_moved) → outlook.office365.com" in ran.out
    assert "then   pass (other_answer)" in ran.out


# -- redacted --------------------------------------------------------------------------------


NASTY = "Zebedee Quillfeather"
NAMED = (
    f"<Culture>en:us</Culture><User><DisplayName>{NASTY}</DisplayName>"
    "<EMailAddress>zebedee@quillfeather.example</EMailAddress></User>"
)
SERVER = (
    "<Action><Settings><Server><Type>MobileSync</Type>"
    "<Url>https://ex07.quillfeather.example/Microsoft-Server-ActiveSync</Url>"
    "<Name>ex07.quillfeather.example</Name><ServerData>CertEnrollZebedee</ServerData></Server>"
    "</Settings></Action>"
)
ODD = "<Action><Zebedee xmlns='urn:quillfeather'>quillfeather</Zebedee></Action>"
FOUND = error(data=f"{NASTY} on ex07.quillfeather.example")
CAPTURED = {
    "redirect": question(answer(NAMED + redirect("zebedee@quillfeather.example"))),
    "settings": question(answer(NAMED + SERVER)),
    "error": question(answer(NAMED + FOUND)),
    "error that is known": question(WEAK),
    "an element of its own": question(answer(ODD)),
    "framework": question(FRAMEWORK_ERROR.replace("Invalid Request", NASTY)),
    "gzip": question(
        gzip.compress(answer(NAMED + redirect("z@quillfeather.example")).encode()),
        headers={"Content-Encoding": "gzip"},
    ),
    "UTF-16": question(
        body=(UTF_16 + request("zebedee@quillfeather.example", declaration="")).encode("utf-16"),
        content_type="text/xml",
    ),
    "Latin-1": question(
        body=request(NASTY + "ü", declaration=LATIN_1).encode("latin-1"),
        content_type="text/xml",
    ),
    "DOCTYPE": question(body=DOCTYPE.replace("hostname", "zebedee") + request("&x;")[38:]),
    "not well-formed": question(body=request("zebedee@quillfeather.example")[:-3]),
    "no XML": question(NASTY),
    "another's logon": question(user="CONTOSO\\zebedee"),
    "no schema": question(body=request("zebedee", schema=f"{N}/quillfeather")),
    "401": question(code=401, said=""),
}


@pytest.mark.parametrize("name", CAPTURED)
def test_a_redacted_question_explains_the_same(tmp_path: Path, name: str) -> None:
    flow = CAPTURED[name].copy()
    flow.comment = "Settings → outlook.office365.com (mailbox_moved)"
    before = report(tmp_path, [flow])
    source = write_flows(tmp_path / "in.flows", [flow])
    ran = run("redact", str(source), "-o", str(tmp_path / "out.flows"))
    assert ran.code == 0, ran.err
    written = everything(tmp_path / "out.flows").lower()
    for secret in ("zebedee", "quillfeather", "ex07", "anna", PASSWORD.lower()):
        assert secret.encode() not in written
        assert secret.encode("utf-16-le") not in written
    [clean] = flows_in(tmp_path / "out.flows")
    assert clean.request.path == "/Autodiscover/Autodiscover.xml"
    assert clean.comment == flow.comment
    after = report(tmp_path, [clean])
    told = ("command", "status_code", "evidence", "autodiscover", "meaning", "body_missing")
    assert [[x[key] for key in told] for x in before[0]] == [
        [x[key] for key in told] for x in after[0]
    ]
    assert before[1] == after[1]


def test_one_address_has_one_stand_in(tmp_path: Path) -> None:
    flow = question(answer(USER + redirect(ADDRESS)))
    source = write_flows(tmp_path / "in.flows", [flow])
    assert run("redact", str(source), "-o", str(tmp_path / "out.flows")).code == 0
    [clean] = flows_in(tmp_path / "out.flows")
    lines = VIEW.prettify(clean.request.raw_content or b"", seen(clean)).splitlines()
    address = lines[0].partition("address ")[2].partition(",")[0]
    assert "@" in address
    assert f"user {address}" in lines[0]
    assert clean.response is not None
    assert f"<Redirect>{address}</Redirect>".encode() in (clean.response.raw_content or b"")
    assert clean.response.headers["Content-Length"] == str(len(clean.response.raw_content or b""))


# -- shown -----------------------------------------------------------------------------------


def seen(flow: http.HTTPFlow, *, is_answer: bool = False) -> Metadata:
    message = flow.response if is_answer else flow.request
    return Metadata(flow=flow, http_message=message, content_type="text/xml")


def test_the_view_of_a_question_and_its_answer() -> None:
    flow = question()
    flow.metadata["eas"] = recorded("would_redirect", "certain")
    assert VIEW.prettify(request(ADDRESS).encode(), seen(flow)) == (
        "<!-- POST Autodiscover, address anna@contoso.example, user anna@contoso.example -->\n"
        "<!-- decision: would_redirect (mailbox_moved) -->\n"
        f"<!--   location {LOCATION} -->\n"
        f"<!-- body of {len(request(ADDRESS))} bytes -->\n"
        f'<Autodiscover xmlns="{N}/mobilesync/requestschema/2006">\n'
        "  <Request>\n"
        "    <EMailAddress>anna@contoso.example</EMailAddress>\n"
        f"    <AcceptableResponseSchema>{N}/mobilesync/responseschema/2006"
        "</AcceptableResponseSchema>\n"
        "  </Request>\n"
        "</Autodiscover>"
    )
    shown = VIEW.prettify(MOVED.encode(), seen(flow, is_answer=True)).splitlines()
    assert shown[3].startswith("<!-- answer 200")
    assert "another address: anna@contoso.mail.onmicrosoft.example" in shown[3]
    assert "      <Redirect>anna@contoso.mail.onmicrosoft.example</Redirect>" in shown
    assert PASSWORD not in "\n".join(shown)


def test_the_view_is_for_phones_questions_alone() -> None:
    assert VIEW.render_priority(b"x", seen(question())) == 2
    assert VIEW.render_priority(b"", seen(question())) == 1.5
    assert VIEW.render_priority(b"x", seen(question(body=OUTLOOK_REQUEST))) == -1
    assert VIEW.render_priority(b"x", seen(eas_flow(0))) == -1
    assert VIEW.render_priority(b"x", Metadata(flow=None)) == -1


@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: answer(text).encode()))
def test_the_view_shows_whatever_comes(data: bytes) -> None:
    flow = question(data)
    text = VIEW.prettify(data, seen(flow, is_answer=True))
    assert text.startswith("<!-- POST Autodiscover")
    assert all(c.isprintable() or c in "\t\n" for c in text)

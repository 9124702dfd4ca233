"""Hostile URLs are refused; good ones give one canonical location."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.activesync.exchange import Exchange
from eas_redirect.directory.values import OrganizationRelationship
from eas_redirect.policy import target as targets
from eas_redirect.policy.exchange_online import DEFAULT_HOST_MAP
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.target import (
    MAX_URL,
    Refused,
    endpoint,
    is_allowed,
    is_full_name,
    is_own_name,
    leads_to,
    target_for,
)
from eas_redirect.policy.verdict import Endpoint, Pass, Policy, Step, Trail
from eas_redirect.policy.waves import Criteria, Wave
from tests.policy.builders import CLOUD, MOVED, exchange
from tests.support import DATA

LOCATION = re.compile(
    r"https://(?=[^/]{3,253}/)[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+/Microsoft-Server-ActiveSync"
)


def hostile() -> list[str]:
    lines = (DATA / "hostile_urls.txt").read_text(encoding="utf-8").splitlines()
    return [unescape(line) for line in lines if not line.startswith("#")]


def unescape(line: str) -> str:
    """The escapes that the file's first line names; every other backslash stands for itself."""
    escapes = {"\\r": "\r", "\\n": "\n", "\\t": "\t", "\\0": "\0"}
    pattern = r"\\U[0-9a-f]{8}|\\u[0-9a-f]{4}|\\x[0-9a-f]{2}|\\[rnt0]"
    return re.sub(pattern, lambda m: escapes.get(m[0]) or chr(int(f"0x{m[0][2:]}", 0)), line)


def test_each_hostile_url_is_refused_and_not_quoted() -> None:
    assert len(hostile()) > 100
    for url in hostile():
        refused = endpoint(url)
        assert isinstance(refused, Refused), ascii(url)
        assert refused.detail.startswith("The TargetOwaURL cannot be used: "), ascii(url)
        assert "evil" not in refused.detail, ascii(url)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://outlook.com/owa/contoso.example", "outlook.office365.com"),
        ("HTTPS://Outlook.Office.Com", "outlook.office365.com"),
        ("https://www.outlook.com?x", "outlook.office365.com"),
        ("https://outlook.office365.com/owa", "outlook.office365.com"),
        ("http://partner.outlook.cn/owa/contoso.example", "partner.outlook.cn"),
        ("https://outlook.office365.us#x", "outlook.office365.us"),
        ("https://mail.contoso.example:8443/owa?x=1@2", "mail.contoso.example"),
        ("https://m.contoso.example/owa/%0d%0aX:y", "m.contoso.example"),
        ("https://outlook.com.contoso.example/owa", "outlook.com.contoso.example"),
        ("https://bücher.example/owa", "xn--bcher-kva.example"),
        ("https://BÜCHER.example/owa", "xn--bcher-kva.example"),
        ("https://xn--bcher-kva.example/owa", "xn--bcher-kva.example"),
        ("https://xn--strae-oqa.example/owa", "xn--strae-oqa.example"),
        ("https://почта.example/owa", "xn--80a1acny.example"),
        ("https://日本語テスト.example/owa", "xn--zckzah9945czlbtz6h.example"),
        ("https://1a.2b.example/owa", "1a.2b.example"),
    ],
)
def test_a_good_url_gives_its_endpoint(url: str, host: str) -> None:
    target = endpoint(url)
    assert isinstance(target, Endpoint)
    assert target.location == f"https://{host}/Microsoft-Server-ActiveSync"
    assert target.host == host


@pytest.mark.parametrize(
    ("label", "verdict"), [("a" * 63, "good"), ("a" * 64, "refused"), ("ü" * 60, "refused")]
)
def test_labels_end_at_63_characters(label: str, verdict: str) -> None:
    target = endpoint(f"https://{label}.example/owa")
    assert isinstance(target, Endpoint) == (verdict == "good")


def test_hosts_end_at_253_characters_and_urls_at_2048() -> None:
    longest = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert len(longest) == 253
    assert isinstance(endpoint(f"https://{longest}/owa"), Endpoint)
    assert isinstance(endpoint(f"https://{longest}c/owa"), Refused)
    stem = "https://mail.contoso.example/"
    assert isinstance(endpoint(stem + "a" * (MAX_URL - len(stem))), Endpoint)
    assert isinstance(endpoint(stem + "a" * (MAX_URL - len(stem) + 1)), Refused)


def test_the_host_map_comes_before_the_single_label() -> None:
    target = endpoint("http://mail/owa", {"mail": "mail.contoso.example"})
    assert isinstance(target, Endpoint)
    assert target.mapped
    assert (target.named_host, target.host) == ("mail", "mail.contoso.example")


@pytest.mark.parametrize("value", ["mail", "192.0.2.1", "a b.example", "evil.example/owa", ""])
def test_what_the_host_map_gives_is_judged_too(value: str) -> None:
    assert isinstance(
        endpoint("https://mail.contoso.example", {"mail.contoso.example": value}), Refused
    )


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://[2001:db8::1]/owa", "IP address"),
        ("https://[v1.x]/owa", "IP address"),
        ("https://2001:db8::1/owa", "IP address"),
        ("https://user@mail.contoso.example/owa", "user information"),
        ("https://mail.contoso.example:0/owa", "port"),
        ("https://mail.contoso.example:65536/owa", "port"),
        ("https://mail.contoso.example:/owa", "port"),
        ("https://mail.contoso.example\\\\x/owa", "backslash"),
        ("ftp://mail.contoso.example", "http or https"),
    ],
)
def test_why_a_url_is_refused(url: str, says: str) -> None:
    refused = endpoint(url)
    assert isinstance(refused, Refused)
    assert says in refused.detail


CLOUDS_NAME = OrganizationRelationship(
    name="Cloud",
    domain_names=("cloud.example",),
    target_owa_url="https://outlook.office365.com/owa",
    target_application_uri="fabrikam.example",
    target_autodiscover_epr="https://autodiscover.fabrikam.example/x",
)


def test_a_name_of_exchange_onlines_is_one_whatever_the_host_map_makes_of_it() -> None:
    """Its other two names say that the relationship leads elsewhere."""
    for mapped in ("outlook.office365.com", "mail.fabrikam.example"):
        policy = Policy(host_map={"outlook.office365.com": mapped})
        found = leads_to(CLOUDS_NAME, policy)
        assert isinstance(found, Pass)
        assert found.reason is Reason.RELATIONSHIP_CONTRADICTORY
        assert "autodiscover.fabrikam.example" in found.detail


def asked(about: Exchange, policy: Policy = Policy()) -> list[Step]:  # noqa: B008 - never changed
    steps: list[Step] = []
    target_for(about, MOVED, CLOUD, policy, Trail(steps))
    return steps


def test_every_question_has_its_finding() -> None:
    for about, version in (
        (exchange(), "It speaks 14.1."),
        (exchange(method="OPTIONS", version=None), "OPTIONS is redirected at any version."),
        (replace(exchange(), is_autodiscover=True), "Autodiscover comes before a version"),
    ):
        where, loop, least, wave = asked(about)
        assert where.finding == (
            "To https://outlook.office365.com/Microsoft-Server-ActiveSync"
            " (the host map turns outlook.com into it)."
        )
        assert loop.finding == "Yes."
        assert least.finding.startswith(version)
        assert wave.finding == "In the wave everyone."


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("12.1", "The device speaks 12.1; exchange.min_protocol_version is 14.0."),
        ("fourteen", "The device names no version that can be read;"),
        (None, "The device names no version that can be read;"),
    ],
)
def test_a_version_that_is_too_low_is_named(version: str | None, says: str) -> None:
    found = target_for(exchange(version=version), MOVED, CLOUD, Policy(), None)
    assert isinstance(found, Pass)
    assert found.detail.startswith(says)


def test_a_name_without_activesync_comes_before_a_host_that_is_not_allowed() -> None:
    """The advice is to map it, and then to allow what it is mapped to."""
    vanity = replace(CLOUD, target_owa_url="https://webmail.contoso.example/owa")
    cloudy = replace(vanity, target_sharing_epr="https://outlook.office365.com/x")
    policy = Policy(allowed_hosts=("mail.fabrikam.example",))
    for relationship, reason in (
        (vanity, Reason.TARGET_NOT_ALLOWED),
        (cloudy, Reason.TARGET_OWA_URL_INVALID),
    ):
        found = leads_to(relationship, policy)
        assert isinstance(found, Pass)
        assert found.reason is reason


def test_who_is_not_meant_is_told_the_wave() -> None:
    policy = Policy(wave=Wave(only=Criteria(percent=0.0)))
    found = target_for(exchange(), MOVED, CLOUD, policy, None)
    assert isinstance(found, Pass)
    assert (found.reason, found.wave) == (Reason.NOT_IN_WAVE, "percent:0")


def test_where_a_relationship_leads_is_worked_out_once_for_each_policy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = Policy()
    found = leads_to(CLOUD, policy)
    assert isinstance(found, Endpoint)
    assert found.host == "outlook.office365.com"
    assert leads_to(replace(CLOUD), policy) is found
    mapped = replace(policy, host_map={"outlook.com": "mail.example.test"})
    assert leads_to(CLOUD, mapped) == replace(
        found,
        location="https://mail.example.test/Microsoft-Server-ActiveSync",
        host="mail.example.test",
    )
    refused = leads_to(CLOUD, replace(policy, allowed_hosts=("*.example.test",)))
    assert isinstance(refused, Pass)
    elsewhere = leads_to(replace(CLOUD, target_owa_url="https://owa.fabrikam.example/owa"), policy)
    assert isinstance(elsewhere, Endpoint)
    assert elsewhere.host == "owa.fabrikam.example"
    monkeypatch.setattr(targets, "MAX_LED", 3)
    for number in range(9):
        leads_to(replace(CLOUD, name=f"Cloud {number}"), policy)
        assert len(policy.led) <= 3
    assert leads_to(CLOUD, policy) == found


def test_the_default_host_map_leads_to_itself() -> None:
    for target in DEFAULT_HOST_MAP.values():
        assert DEFAULT_HOST_MAP[target] == target


@given(st.text(max_size=40) | st.text(max_size=30).map("https://{}/owa".format))
def test_any_text_is_refused_or_gives_a_canonical_location(text: str) -> None:
    target = endpoint(text)
    assert isinstance(target, Refused) or LOCATION.fullmatch(target.location)


@given(st.from_regex(r"https?://[a-zA-Z0-9.:@\[\]_%\\ü-]{1,40}/?", fullmatch=True))
def test_urls_that_are_nearly_good(url: str) -> None:
    target = endpoint(url)
    assert isinstance(target, Refused) or LOCATION.fullmatch(target.location)


@pytest.mark.parametrize(
    ("globs", "verdict"),
    [
        (None, "allowed"),
        (("outlook.office365.com",), "allowed"),
        (("*.office365.com",), "allowed"),
        (("outlook.*.com",), "allowed"),
        (("*.contoso.example", "*.office365.com"), "allowed"),
        (("office365.com",), "refused"),
        ((), "refused"),
    ],
)
def test_the_allow_list(globs: tuple[str, ...] | None, verdict: str) -> None:
    assert is_allowed("outlook.office365.com", globs) == (verdict == "allowed")


@pytest.mark.parametrize(
    ("host", "own", "verdict"),
    [
        ("mail.contoso.example", ["mail.contoso.example"], "own"),
        ("mail.contoso.example", ["MAIL.Contoso.Example."], "own"),
        ("xn--bcher-kva.example", ["bücher.example"], "own"),
        ("mail.contoso.example", ["eas.contoso.example", "Mail.contoso.example"], "own"),
        ("mail.contoso.example", ["192.0.2.1"], "other"),
        ("mail.contoso.example", ["::1", "eas.contoso.example"], "other"),
        ("mail.contoso.example", ["contoso.example"], "other"),
        ("mail.contoso.example", [], "other"),
    ],
)
def test_own_names(host: str, own: list[str], verdict: str) -> None:
    assert is_own_name(host, own) == (verdict == "own")


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("mail.contoso.example", "a name"),
        ("mail_1.contoso.example", "a name"),
        ("localhost", "none"),
        ("mail", "none"),
        ("192.0.2.1", "none"),
        ("[2001:db8::1]", "none"),
        ("[::ffff:192.0.2.1]", "none"),
    ],
)
def test_full_names(host: str, kind: str) -> None:
    assert is_full_name(host) == (kind == "a name")

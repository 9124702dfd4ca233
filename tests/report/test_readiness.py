"""Readiness: by family and system, never by the old server's ceiling."""

import pytest

from eas_redirect.report.readiness import (
    Behaviour,
    Prospect,
    Readiness,
    address_findings,
    likely_cause,
    logon_findings,
    os_version,
    readiness_of,
)
from eas_redirect.telemetry.clients import client_of

ONLINE = "outlook.office365.com"


@pytest.mark.parametrize(
    ("user_agent", "device_type", "scheme", "verdict", "word"),
    [
        ("Apple-iPhone14C5/2105.90", "iPhone", "basic", Prospect.ASKED, "password"),
        ("Apple-iPhone14C5/2105.90", "iPhone", "bearer", Prospect.READY, "token"),
        ("Apple-iPhone14C5/2105.90", "iPhone", "ntlm", Prospect.ASKED, "uses a password"),
        ("Apple-iPhone14C5/2105.90", "iPhone", None, Prospect.ASKED, "does not show here"),
        ("Apple-iPhone14C5/2105.90", "iPhone", "negotiate", Prospect.ASKED, "does not show here"),
        ("Apple-iPhone3C1/902.206", "iPhone", "basic", Prospect.REFUSED, "16.0 at most"),
        ("Apple-iPhone7C2/1401.403", "iPhone", "basic", Prospect.REFUSED, "passwords only"),
        (None, "iPhone", "basic", Prospect.UNKNOWN, "depends on its version"),
        ("Outlook-iOS-Android/1.0", "Outlook", "basic", Prospect.ASKED, "add the account again"),
        ("Android/4.4.2-EAS-1.3", "Android", "basic", Prospect.REFUSED, "14.1 at most"),
        ("MSFT-WIN-3/6.2.9200", "WindowsMail", "basic", Prospect.REFUSED, "14.1 at most"),
        ("MSFT-WP/8.10.14219", "WP8", "ntlm", Prospect.REFUSED, "14.1 at most"),
        ("Android-Mail/2025.01", "Android", "basic", Prospect.UNKNOWN, "depends on its version"),
        ("TestActiveSyncConnectivity", "x", "basic", Prospect.UNKNOWN, "probe"),
        ("Toaster/1.0", "Toaster", "basic", Prospect.UNKNOWN, "Nobody knows this client"),
    ],
)
def test_verdicts_for_exchange_online(
    user_agent: str | None, device_type: str, scheme: str | None, verdict: Prospect, word: str
) -> None:
    found = readiness_of(
        client_of(user_agent, device_type),
        host=ONLINE,
        protocol_version="14.1",
        ceiling="14.1",
        auth_scheme=scheme,
    )
    assert found.verdict is verdict
    assert word in found.rule
    assert found.source.startswith("https://")


@pytest.mark.parametrize(
    ("spoken", "ceiling", "verdict"),
    [
        ("14.1", "14.1", Prospect.UNKNOWN),  # the ceiling is no verdict
        ("12.1", "12.1", Prospect.UNKNOWN),  # an Exchange 2007
        ("12.1", "14.1", Prospect.REFUSED),  # chose less than it was offered
        ("16.1", "16.1", Prospect.UNKNOWN),
        (None, "14.1", Prospect.UNKNOWN),
        ("14.1", None, Prospect.UNKNOWN),
    ],
)
def test_only_a_version_below_the_ceiling_is_a_verdict(
    spoken: str | None, ceiling: str | None, verdict: Prospect
) -> None:
    for client in (None, client_of("Android-Mail/1", None)):
        found = readiness_of(client, host=ONLINE, protocol_version=spoken, ceiling=ceiling)
        assert found.verdict is verdict


def test_other_targets_have_no_such_limits() -> None:
    old = client_of("MSFT-WP/8.10.14219", "WP8")
    assert readiness_of(old, host="mail.fabrikam.example").verdict is Prospect.READY
    assert readiness_of(old, host=None).verdict is Prospect.UNKNOWN
    assert readiness_of(old, host="OUTLOOK.office365.com").verdict is Prospect.REFUSED


@pytest.mark.parametrize(
    ("form", "host", "codes"),
    [
        ("down_level", ONLINE, ["logon_down_level"]),
        ("bare", ONLINE, ["logon_bare"]),
        ("upn", ONLINE, []),
        (None, ONLINE, []),
        ("down_level", "mail.fabrikam.example", []),
    ],
)
def test_logons_that_end_with_the_move(form: str | None, host: str, codes: list[str]) -> None:
    assert [finding.code for finding in logon_findings(form, host)] == codes


@pytest.mark.parametrize(
    ("upn", "addresses", "mail", "found"),
    [
        ("anna@contoso.example", ("smtp:a@x.example", "SMTP:Anna@Contoso.example"), None, False),
        ("anna@corp.local", ("SMTP:anna@contoso.example",), None, True),
        ("anna@corp.local", (), "anna@contoso.example", True),
        ("anna@corp.local", ("smtp:anna@contoso.example",), None, False),  # no primary is known
        (None, ("SMTP:anna@contoso.example",), None, False),
    ],
)
def test_a_upn_that_is_not_the_primary_address(
    upn: str | None, addresses: tuple[str, ...], mail: str | None, found: bool
) -> None:
    findings = address_findings(upn, addresses, mail)
    assert bool(findings) is found


@pytest.mark.parametrize(
    ("said", "version"),
    [("iOS 12.1 16B92", "12.1"), ("Android 13", "13"), ("Windows", None), (None, None)],
)
def test_the_version_in_a_devices_os(said: str | None, version: str | None) -> None:
    assert os_version(said) == version


REFUSED = Readiness(verdict=Prospect.REFUSED, rule="Too old.", source="https://example.test")
ASKED = Readiness(verdict=Prospect.ASKED, rule="Password.", source="https://example.test")


@pytest.mark.parametrize(
    ("behaviour", "readiness", "word"),
    [
        (Behaviour(comebacks=4, served=3), None, "moved back"),
        (Behaviour(comebacks=4, last_reason="recipient_has_mailbox"), None, "moved back"),
        (Behaviour(comebacks=4, refused_logon=9), None, "Remove the account"),
        (Behaviour(comebacks=4, refused_logon=8), None, "ignore the redirect"),  # as NTLM logs on
        (Behaviour(comebacks=4, directory_down=4), None, "No directory"),
        (Behaviour(comebacks=4, protocol_version="12.1"), ASKED, "Speaks 12.1"),
        (Behaviour(comebacks=4, protocol_version="14.1"), REFUSED, "Too old."),
        (Behaviour(comebacks=4, protocol_version="14.1"), ASKED, "Ask the user to sign in"),
        (Behaviour(comebacks=4), None, "ignore the redirect"),
    ],
)
def test_a_cause_for_each_behaviour(
    behaviour: Behaviour, readiness: Readiness | None, word: str
) -> None:
    assert word in likely_cause(behaviour, readiness)

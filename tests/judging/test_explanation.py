"""One user explained: the words for people and for machines say the same, and nothing is hidden."""

import json
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import cast

import pytest

from eas_redirect.activesync.authorization import Logon, parse_logon
from eas_redirect.activesync.response import Answer, Evidence
from eas_redirect.autodiscover.phone_request import PhoneRequest
from eas_redirect.configuration.config import load_config
from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.values import (
    DirectoryAnswer,
    Found,
    Lookup,
    NotFound,
    Recipient,
    RelationshipsAnswer,
    Unavailable,
)
from eas_redirect.judging.explanation import (
    ASSUMED,
    AskedDevice,
    Explanation,
    explain_user,
    explanation_json,
    explanation_lines,
    open_judge,
    recipient_remarks,
)
from eas_redirect.judging.judge import Judge
from eas_redirect.policy.verdict import DiscoveryPolicy, Mode, Policy
from eas_redirect.policy.waves import Criteria, Wave
from tests.policy.builders import CLOUD, MOVED

LOCATION = "https://outlook.office365.com/Microsoft-Server-ActiveSync"
POLICY = Policy(own_names=frozenset({"mail.contoso.example"}))
DOWN = Unavailable(error_type="timeout", message="Start DC1.")


class Directory:
    """Knows one answer."""

    source = "ldap"

    def __init__(self, lookup: Lookup) -> None:
        self._answer = DirectoryAnswer(
            lookup=lookup, source="ldap", server="dc1:636", steps=("userPrincipalName: one",)
        )

    def at_hand(self, logon: Logon, *, fresh: bool) -> None:
        """Nothing."""

    def relationships_at_hand(self, *, fresh: bool) -> None:
        """Nothing."""

    async def recipient(self, logon: Logon, *, fresh: bool) -> DirectoryAnswer:  # noqa: ARG002
        return self._answer

    async def relationships(self, *, fresh: bool) -> RelationshipsAnswer:  # noqa: ARG002
        return RelationshipsAnswer(relationships=(CLOUD,), source="ldap")


async def explained(
    lookup: Lookup = Found(recipient=MOVED),  # noqa: B008 - never changed
    policy: Policy = POLICY,
    mode: Mode = "enforce",
    device: AskedDevice = AskedDevice(),  # noqa: B008 - never changed
) -> Explanation:
    judge = Judge(policy, cast("CachedDirectory", Directory(lookup)), mode)
    found = await explain_user(judge, "anna@contoso.example", device)
    assert found is not None
    return found


async def test_a_moved_user_in_words_and_in_json() -> None:
    found = await explained()
    assert list(explanation_lines(found)) == [
        "anna@contoso.example: a logon of the form upn",
        f"  assumed: {ASSUMED}",
        "  asked dc1:636:",
        "    userPrincipalName: one",
        *(f"  ✓ {step.question} {step.finding}" for step in found.steps),
        f"  → 451 to {LOCATION} (mailbox_moved)",
    ]
    said = json.loads(json.dumps(explanation_json(found)))
    assert (said["decision"], said["reason"], said["location"]) == (
        "redirect",
        "mailbox_moved",
        LOCATION,
    )
    assert said["directory"] == {
        "source": "ldap",
        "server": "dc1:636",
        "duration_ms": None,
        "asked": ["userPrincipalName: one"],
    }
    assert said["recipient"]["target_address"] == "SMTP:anna@cloud.example"
    assert (said["remarks"], said["error"], said["added_again"]) == ([], None, None)
    assert said["assumed"] == ASSUMED
    assert explanation_json(replace(found, assumed=False))["assumed"] is None
    assert len(said["steps"]) == len(found.steps) == 9


@pytest.mark.parametrize(
    ("lookup", "policy", "mode", "outcome", "advice"),
    [
        (Found(recipient=MOVED), POLICY, "observe", "observe mode: would be 451 to", None),
        (NotFound(), POLICY, "enforce", "passes (recipient_not_found).", "  What to"),
        (DOWN, POLICY, "enforce", "passes (directory_unavailable).", "  What"),
        (
            Found(recipient=MOVED),
            replace(POLICY, wave=Wave(only=Criteria(percent=0.0))),
            "enforce",
            "passes (not_in_wave)",
            None,  # that is in order
        ),
    ],
)
async def test_what_comes_of_it_and_what_to_do(
    lookup: Lookup, policy: Policy, mode: Mode, outcome: str, advice: str | None
) -> None:
    lines = list(explanation_lines(await explained(lookup, policy, mode)))
    assert any(outcome in line for line in lines)
    assert lines[-1].startswith(advice or "  →")


async def test_a_directory_that_is_down_is_an_error_and_nobodys_recipient() -> None:
    found = await explained(DOWN)
    said = explanation_json(found)
    assert said["error"] == {"type": "timeout", "message": "Start DC1."}
    assert (found.recipient, found.location, said["recipient"]) == (None, None, None)


async def test_who_was_asked_is_said_where_there_is_something_to_say() -> None:
    found = await explained()
    asked = found.judgement.asked
    assert asked is not None
    for answer, line in (
        (replace(asked, server=None), "  asked ldap:"),
        (replace(asked, steps=()), None),
        (None, None),
    ):
        one = replace(found, judgement=replace(found.judgement, asked=answer))
        assert next((said for said in explanation_lines(one) if "asked" in said), None) == line


async def test_the_exchange_that_is_made_up_is_the_clearest_case() -> None:
    """As ASSUMED says it: logged on with a password, and UserHasNoMailbox."""
    made = (await explained()).judgement.exchange
    assert made.answer == Answer(status_code=200, evidence=Evidence.CERTAIN, eas_status=123)
    assert (made.credentials.scheme, made.credentials.logon) == ("basic", made.identity.logon)
    assert (made.identity.proven, made.challenged) == (True, True)
    assert made.identity.logon == parse_logon("anna@contoso.example")


async def test_the_device_that_is_made_up() -> None:
    """By each of its four facts a wave or a version may keep it."""
    for device, reason in (
        (AskedDevice(protocol_version="12.1"), "protocol_version_too_low"),
        (AskedDevice(called_host="outlook.office365.com"), "redirect_loop"),
        (AskedDevice(), "mailbox_moved"),
    ):
        assert (await explained(device=device)).judgement.verdict.reason == reason
    wave = Wave(only=Criteria(device_types=("iphone*",)))
    for kind, decision in (("iPhone14", "redirect"), ("Outlook", "pass"), (None, "pass")):
        policy = replace(POLICY, wave=wave)
        found = await explained(policy=policy, device=AskedDevice(device_type=kind))
        assert found.judgement.decision == decision


@pytest.mark.parametrize(
    ("agent", "phones", "mode", "words"),
    [
        (None, "listed", "enforce", "Autodiscover tells the phone its new server"),
        (None, "all", "observe", "observe mode: Autodiscover would tell"),
        ("Outlook/16", "listed", "enforce", "passes (autodiscover_client_not_listed)"),
        ("Outlook/16", "all", "enforce", "Autodiscover tells"),
    ],
)
async def test_an_account_that_is_added_again(
    agent: str | None, phones: str, mode: Mode, words: str
) -> None:
    told = DiscoveryPolicy(phones=phones, listed=("Android",))  # type: ignore[arg-type]
    policy = replace(POLICY, discovery=told)
    found = await explained(policy=policy, mode=mode, device=AskedDevice(user_agent=agent))
    (line,) = (line for line in explanation_lines(found) if "added again" in line)
    assert words in line
    assert found.added_again is not None
    assert explanation_json(found)["added_again"] == {
        "decision": found.added_again.decision,
        "reason": str(found.added_again.verdict.reason),
    }


@pytest.mark.parametrize(
    ("recipient", "address"),
    [
        (MOVED, "anna.alt@contoso.example"),
        (replace(MOVED, mail=None), "anna.alt@contoso.example"),
        (replace(MOVED, mail="a.alt@contoso.example"), "a.alt@contoso.example"),
        (replace(MOVED, mail=None, proxy_addresses=()), "anna@contoso.example"),
        (replace(MOVED, target_address=None), "anna.alt@contoso.example"),
    ],
)
async def test_the_user_adds_the_account_by_the_address_that_mail_comes_to(
    recipient: Recipient, address: str
) -> None:
    policy = replace(
        POLICY,
        discovery=DiscoveryPolicy(phones="all", listed=("Android",)),
        wave=Wave(only=Criteria(networks=(ip_network("192.0.2.0/24"),))),
    )
    device = AskedDevice(client_address="192.0.2.7")
    again = (await explained(Found(recipient=recipient), policy, device=device)).added_again
    assert again is not None
    assert again.discovery is not None
    asked, answer = again.discovery.asked, again.discovery.exchange.answer
    assert isinstance(asked, PhoneRequest)
    assert asked.email_address == address
    assert answer.status_code == 200
    assert again.decision == ("pass" if recipient.target_address is None else "redirect")
    assert again.error_type is None


@pytest.mark.parametrize("user", ["", "x" * 2000, "anna\x00", "CONTOSO\\"])
async def test_what_is_no_logon_is_not_asked_about(user: str) -> None:
    judge = Judge(POLICY, cast("CachedDirectory", Directory(DOWN)), "enforce")
    assert await explain_user(judge, user, AskedDevice()) is None


@pytest.mark.parametrize(
    ("control", "wireless", "words"),
    [
        (None, None, []),
        (512, 0, []),
        (514, 0, ["disabled (userAccountControl)"]),
        (512, 4, ["ActiveSync is disabled"]),
        (512 + 2, 4 + 1, ["disabled (userAccountControl)", "ActiveSync is disabled"]),
    ],
)
def test_what_does_not_decide_is_remarked(
    control: int | None, wireless: int | None, words: list[str]
) -> None:
    recipient = replace(
        MOVED, user_account_control=control, ms_exch_oma_admin_wireless_enable=wireless
    )
    said = list(recipient_remarks(recipient))
    assert len(said) == len(words)
    assert all(word in line for word, line in zip(words, said, strict=True))


async def test_the_judge_of_a_command_is_the_services_own(tmp_path: Path) -> None:
    snapshot = Path(__file__).parents[1] / "data" / "migration.ldif"
    (tmp_path / "eas.toml").write_text(
        f'mode = "observe"\n[directory]\nsnapshot = "{snapshot}"\nlookup_timeout_s = 3.5\n', "utf-8"
    )
    judge = open_judge(load_config(tmp_path / "eas.toml", {}))
    try:
        assert (judge.mode, judge.lookup_timeout_s) == ("observe", 3.5)
    finally:
        judge.directory.close()

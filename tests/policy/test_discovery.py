"""Autodiscover's decision: a phone is told where to go, and each single thing that stops it."""

from dataclasses import dataclass, field, replace
from ipaddress import ip_network

import pytest

from eas_redirect.activesync.authorization import Credentials, Logon
from eas_redirect.autodiscover.answer import (
    AutodiscoverEvidence,
    NoMailboxHere,
    OtherAnswer,
    RedirectAddress,
)
from eas_redirect.autodiscover.phone_request import NotForPhones, PhoneRequest
from eas_redirect.directory.values import Ambiguous, Found, Lookup, NotFound, Unavailable
from eas_redirect.policy.discovery import AskTwice, decide_discovery, discovery, screen_discovery
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.verdict import DiscoveryPolicy, Pass, Policy, Redirect, Step, Verdict
from eas_redirect.policy.waves import Criteria, Wave
from tests.policy.builders import CLOUD, MOVED, logon

DOWN = Unavailable(error_type="timeout", message="The directory did not answer: look at DC1.")
BERT = replace(MOVED, dn="CN=Bert,OU=People,DC=contoso,DC=example")
HERE = replace(MOVED, home_mdb="CN=DB1", target_address=None)

ASKED = PhoneRequest(email_address="anna.alt@contoso.example")
SENT_ON = RedirectAddress(address="anna@cloud.example")
ANNA = logon("anna@contoso.example")
FOUND = Found(recipient=MOVED)
LISTED = DiscoveryPolicy(phones="listed", listed=("android/",))


@dataclass(frozen=True)
class Case:
    """Anna's phone, which Exchange sends on to her address in the cloud."""

    asked: PhoneRequest | NotForPhones = ASKED
    said: AutodiscoverEvidence = SENT_ON
    status: int = 200
    who: Logon | None = ANNA
    agent: str = "Android/9-EAS-2.0"
    device_names: tuple[str, ...] = ("mail.contoso.example",)
    challenged: bool = True
    address: str | None = None
    of_logon: Lookup = FOUND
    of_address: Lookup = FOUND
    told: DiscoveryPolicy = LISTED
    policy: Policy = field(default_factory=Policy)


def verdict_of(case: Case, trace: list[Step] | None = None) -> Verdict:
    found = discovery(
        case.asked,
        case.said,
        status_code=case.status,
        credentials=Credentials(scheme="basic", logon=case.who),
        user_agent=case.agent,
        device_names=case.device_names,
        called_names=("autodiscover.contoso.example",),
        client_address=case.address,
        challenged=case.challenged,
    )
    policy = replace(case.policy, discovery=case.told)
    screened = screen_discovery(found, policy, trace)
    if isinstance(screened, Pass):
        return screened
    return decide_discovery(screened, case.of_logon, case.of_address, (CLOUD,), policy, trace)


def test_a_phone_is_told_the_new_server() -> None:
    steps: list[Step] = []
    verdict = verdict_of(Case(), steps)
    assert isinstance(verdict, Redirect)
    assert verdict.location == "https://outlook.office365.com/Microsoft-Server-ActiveSync"
    assert verdict.relationship == "Cloud"
    assert all(step.ok for step in steps)
    assert steps[0].finding == "Yes, the evidence is certain."


@pytest.mark.parametrize(
    "case",
    [
        Case(said=RedirectAddress(address="SMTP:ANNA@Cloud.Example")),
        Case(said=RedirectAddress(address=" smtp:anna@cloud.example ")),
        Case(agent="  ANDROID/4"),
        Case(agent="", told=DiscoveryPolicy(phones="all")),
        Case(told=DiscoveryPolicy(phones="listed", listed=("Apple", "Android"))),
        Case(
            said=NoMailboxHere(),
            told=DiscoveryPolicy(phones="listed", listed=("android",), weak=True),
        ),
        Case(
            of_address=Found(recipient=replace(MOVED, dn="cn=anna,ou=people,dc=contoso,dc=example"))
        ),
        Case(of_address=Found(recipient=MOVED, by_address=True)),
    ],
)
def test_what_makes_no_difference(case: Case) -> None:
    assert isinstance(verdict_of(case), Redirect)


@pytest.mark.parametrize(
    ("reason", "word", "case"),
    [
        ("unauthenticated", "not accepted", Case(status=401)),
        ("other_answer", "not mobilesync", Case(asked=NotForPhones("It is not mobilesync."))),
        ("other_answer", "no error", Case(said=OtherAnswer("It is no error."))),
        ("other_answer", "autodiscover.weak = true", Case(said=NoMailboxHere())),
        ("autodiscover_client_not_listed", "autodiscover.listed", Case(agent="Outlook/16")),
        ("autodiscover_client_not_listed", "autodiscover.listed", Case(agent="My Android/9")),
        ("autodiscover_client_not_listed", "autodiscover.listed", Case(agent="")),
        ("unauthenticated", "not accepted", Case(status=401, asked=NotForPhones("It is none."))),
        ("no_identity", "nobody", Case(who=None)),
        (
            "logon_not_proven",
            "",
            Case(
                said=NoMailboxHere(),
                told=DiscoveryPolicy(phones="all", weak=True),
                challenged=False,
            ),
        ),
        (
            "autodiscover_identity_mismatch",
            "could know",
            Case(asked=PhoneRequest(email_address="@contoso.example")),
        ),
        ("autodiscover_identity_mismatch", "by the logon", Case(of_logon=NotFound())),
        ("autodiscover_identity_mismatch", "by the address", Case(of_address=NotFound())),
        ("autodiscover_identity_mismatch", "to the logon", Case(of_logon=Ambiguous())),
        ("autodiscover_identity_mismatch", "to the address", Case(of_address=Ambiguous())),
        (
            "autodiscover_identity_mismatch",
            "that of CN=Bert",
            Case(of_address=Found(recipient=BERT)),
        ),
        ("directory_unavailable", "DC1", Case(of_logon=DOWN)),
        ("directory_unavailable", "DC1", Case(of_address=DOWN)),
        (
            "recipient_has_mailbox",
            "",
            Case(of_logon=Found(recipient=HERE), of_address=Found(recipient=HERE)),
        ),
        (
            "no_target_address",
            "",
            Case(
                of_logon=Found(recipient=replace(MOVED, target_address=None)),
                of_address=Found(recipient=replace(MOVED, target_address=None)),
            ),
        ),
        (
            "other_answer",
            "another address",
            Case(said=RedirectAddress(address="anna@other.example")),
        ),
        (
            "other_answer",
            "another address",
            Case(said=RedirectAddress(address="bert@cloud.example")),
        ),
        ("other_answer", "another address", Case(said=RedirectAddress(address="cloud.example"))),
        (
            "other_answer",
            "another address",
            Case(said=RedirectAddress(address="x500:anna@cloud.example")),
        ),
        ("other_answer", "another address", Case(said=RedirectAddress(address=""))),
        ("other_answer", "another address", Case(said=RedirectAddress(address="anna@bad_name.x"))),
        ("redirect_loop", "", Case(policy=Policy(own_names=frozenset({"outlook.office365.com"})))),
        ("target_not_allowed", "", Case(policy=Policy(allowed_hosts=("*.example",)))),
    ],
)
def test_each_thing_that_keeps_exchanges_answer(reason: str, word: str, case: Case) -> None:
    steps: list[Step] = []
    verdict = verdict_of(case, steps)
    assert isinstance(verdict, Pass)
    assert verdict.reason == Reason(reason)
    assert word in verdict.detail
    assert [step.ok for step in steps] == [True] * (len(steps) - 1) + [False]
    assert steps[-1].reason is verdict.reason
    assert all(step.question.endswith("?") for step in steps)


@pytest.mark.parametrize(
    ("said", "kind", "evidence"),
    [
        (SENT_ON, "redirect", "certain"),
        (NoMailboxHere(), "no_mailbox", "weak"),
        (OtherAnswer("It is no error."), "other", "none"),
    ],
)
def test_what_exchange_said_in_the_words_of_the_journal(
    said: AutodiscoverEvidence, kind: str, evidence: str
) -> None:
    """Of a question that is no phone's nothing is evidence."""
    credentials = Credentials(scheme="basic", logon=ANNA)
    found = discovery(ASKED, said, status_code=200, credentials=credentials)
    assert (found.kind, str(found.exchange.answer.evidence)) == (kind, evidence)
    assert found.exchange.credentials is credentials
    assert found.exchange.request.command == "Autodiscover"
    other = discovery(NotForPhones("x"), said, status_code=200, credentials=credentials)
    assert (other.kind, str(other.exchange.answer.evidence)) == (kind, "none")


def test_a_weak_answer_is_asked_of_the_directory_anew() -> None:
    """Only certain evidence may lead to a redirect by what is remembered."""
    policy = Policy(discovery=DiscoveryPolicy(phones="all", weak=True))
    for said, fresh in ((NoMailboxHere(), True), (RedirectAddress(address="a@b.example"), False)):
        found = discovery(
            ASKED,
            said,
            status_code=200,
            credentials=Credentials(scheme="basic", logon=ANNA),
            challenged=True,
        )
        screened = screen_discovery(found, policy)
        assert isinstance(screened, AskTwice)
        assert (screened.fresh, screened.logon.text) == (fresh, "anna@contoso.example")
        assert screened.address.text == "anna.alt@contoso.example"


INSIDE = Wave(only=Criteria(networks=(ip_network("198.51.100.0/24"),)), exclude=Criteria())
BUT_THERE = Wave(exclude=Criteria(networks=(ip_network("198.51.100.0/24"),)))
A_TYPE = Criteria(device_types=("iphone",))


@pytest.mark.parametrize(
    ("wave", "address", "told"),
    [
        (INSIDE, "198.51.100.7", True),
        (INSIDE, "192.0.2.7", False),
        (INSIDE, None, False),
        (BUT_THERE, "198.51.100.7", False),
        (BUT_THERE, "192.0.2.7", True),
        (BUT_THERE, None, False),
        (Wave(only=A_TYPE), "192.0.2.7", False),
        (Wave(exclude=A_TYPE), "192.0.2.7", False),
        (Wave(only=Criteria(percent=100)), None, True),
        (Wave(only=Criteria(percent=0)), None, False),
    ],
)
def test_waves_hold_here_too_and_a_question_names_no_device(
    wave: Wave, address: str | None, told: bool
) -> None:
    verdict = verdict_of(Case(policy=Policy(wave=wave), address=address))
    assert isinstance(verdict, Redirect) is told
    assert told or verdict.reason == Reason.NOT_IN_WAVE


@pytest.mark.parametrize(
    "named", ["", "smtp:", "@cloud.example", "anna@", "anna", "x500:anna@cloud.example", "anna@.."]
)
def test_what_is_no_address_equals_none(named: str) -> None:
    verdict = verdict_of(Case(said=RedirectAddress(address=named)))
    assert isinstance(verdict, Pass)
    assert verdict.reason == Reason.OTHER_ANSWER


def test_it_is_a_command_of_its_own() -> None:
    found = discovery(ASKED, SENT_ON, status_code=200, credentials=Credentials(scheme="none"))
    assert (found.exchange.request.method, found.exchange.request.command) == (
        "POST",
        "Autodiscover",
    )

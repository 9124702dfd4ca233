"""Autodiscover's way of a decision: both names are asked for; nothing that fails tells a phone."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast

import pytest

from eas_redirect.activesync.authorization import Credentials, Logon
from eas_redirect.autodiscover.answer import (
    AutodiscoverEvidence,
    NoMailboxHere,
    OtherAnswer,
    RedirectAddress,
    User,
    write_settings,
)
from eas_redirect.autodiscover.phone_request import PhoneRequest
from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.values import (
    DirectoryAnswer,
    Found,
    Lookup,
    Recipient,
    RelationshipsAnswer,
    Unavailable,
)
from eas_redirect.judging.judge import Judge, Judgement
from eas_redirect.policy.discovery import Discovery, discovery
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.verdict import DiscoveryPolicy, Mode, Pass, Policy, Redirect
from tests.policy.builders import CLOUD, MOVED, logon

ALIAS = "anna.alt@contoso.example"
LOCATION = "https://outlook.office365.com/Microsoft-Server-ActiveSync"
POLICY = Policy(discovery=DiscoveryPolicy(phones="all", weak=True))
DOWN = Unavailable(error_type="timeout", message="DC1 is silent.")
NAMED = User(email_address="anna@say.example", display_name="Anna Says", culture="de:de")

SENT_ON = RedirectAddress(address="anna@cloud.example")

type Answering = Callable[[str], Awaitable[Lookup]]


async def moved(_name: str) -> Lookup:
    return Found(recipient=MOVED)


def down_for(down: str) -> Answering:
    async def answer(name: str) -> Lookup:
        return DOWN if name == down else Found(recipient=MOVED)

    return answer


class Directory:
    """Remembers for whom it was asked, and how freshly."""

    source = "ldap"

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self.asked: list[tuple[str, bool]] = []

    async def recipient(self, asked: Logon, *, fresh: bool) -> DirectoryAnswer:
        self.asked.append((asked.text, fresh))
        return DirectoryAnswer(lookup=await self._answering(asked.text), source="ldap")

    async def relationships(self, *, fresh: bool) -> RelationshipsAnswer:
        self.asked.append(("relationships", fresh))
        return RelationshipsAnswer(relationships=(CLOUD,), source="ldap")


def question(said: AutodiscoverEvidence = SENT_ON) -> Discovery:
    return discovery(
        PhoneRequest(email_address=ALIAS),
        said,
        status_code=200,
        credentials=Credentials(scheme="basic", logon=logon("anna@contoso.example")),
        device_names=("mail.contoso.example",),
        challenged=True,
    )


def judge(directory: Directory, mode: Mode = "enforce") -> Judge:
    return Judge(POLICY, cast("CachedDirectory", directory), mode, lookup_timeout_s=0.01)


async def judged(answering: Answering = moved, mode: Mode = "enforce") -> Judgement:
    return await judge(Directory(answering), mode).discover(question())


async def test_both_names_are_asked_for() -> None:
    directory, asked = Directory(moved), question()
    judgement = await judge(directory).discover(asked)
    assert isinstance(judgement.verdict, Redirect)
    assert (judgement.decision, judgement.discovery) == ("redirect", asked)
    assert judgement.exchange is asked.exchange
    assert directory.asked == [
        ("anna@contoso.example", False),
        (ALIAS, False),
        ("relationships", False),
    ]


async def test_a_weak_answer_is_asked_for_freshly() -> None:
    directory = Directory(moved)
    await judge(directory).discover(question(NoMailboxHere()))
    assert [fresh for _, fresh in directory.asked] == [True, True, True]


async def test_what_says_nothing_asks_nobody() -> None:
    directory, asked = Directory(moved), question(OtherAnswer("It says nothing."))
    judgement = await judge(directory).discover(asked)
    assert judgement.verdict.reason is Reason.OTHER_ANSWER
    assert (judgement.discovery, judgement.settings, directory.asked) == (asked, None, [])
    assert judgement.exchange is asked.exchange
    assert judgement.mode == "enforce"


@pytest.mark.parametrize("down", ["anna@contoso.example", ALIAS])
async def test_either_look_up_that_fails_says_why(down: str) -> None:
    judgement = await judged(down_for(down))
    assert judgement.verdict.reason is Reason.DIRECTORY_UNAVAILABLE
    assert (judgement.error_type, judgement.error_message) == ("timeout", "DC1 is silent.")
    assert judgement.out_of_reach
    assert judgement.settings is None


async def test_a_failure_that_decided_nothing_is_none() -> None:
    judgement = await judged()
    assert (judgement.error_type, judgement.error_message) == (None, None)
    assert not judgement.out_of_reach


async def test_a_directory_that_never_answers_passes_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eas_redirect.judging.judge.GRACE_S", 0.01)

    async def silent(_name: str) -> Lookup:
        await asyncio.Event().wait()
        raise AssertionError

    judgement = await judged(silent)
    assert judgement.verdict.reason is Reason.DIRECTORY_UNAVAILABLE
    assert judgement.error_type == "timeout"
    assert judgement.asked is not None
    assert judgement.asked.source == "ldap"


async def test_an_answer_within_the_grace_is_taken() -> None:
    """The directory has a limit of its own, which is kept more exactly."""

    async def late(name: str) -> Lookup:
        await asyncio.sleep(0.02)
        return await moved(name)

    assert (await judged(late)).decision == "redirect"


@pytest.mark.parametrize(
    ("fault", "error_type"),
    [(KeyError("hunter2"), "KeyError"), (asyncio.CancelledError(), "cancelled")],
)
async def test_a_fault_of_ours_passes_and_its_text_stays_out(
    fault: BaseException, error_type: str
) -> None:
    async def broken(_name: str) -> Lookup:
        raise fault

    asked = question()
    judgement = await judge(Directory(broken)).discover(asked)
    assert isinstance(judgement.verdict, Pass)
    assert (judgement.verdict.reason, judgement.error_type) == (Reason.INTERNAL_ERROR, error_type)
    assert judgement.discovery is asked
    assert judgement.exchange is asked.exchange
    assert judgement.mode == "enforce"
    assert not judgement.out_of_reach, "it is not the directory's"
    assert "hunter2" not in repr(judgement)


async def test_no_answer_is_nothing_to_judge() -> None:
    asked = question()
    judgement = judge(Directory(moved)).undiscovered(asked)
    assert judgement.verdict.reason is Reason.NO_ANSWER
    assert (judgement.discovery, judgement.settings) == (asked, None)


@pytest.mark.parametrize(
    ("said", "recipient", "told"),
    [
        (NAMED, MOVED, NAMED),
        (
            User(),
            replace(MOVED, mail="anna@mail.example", display_name="Anna Knows"),
            User(email_address="anna@mail.example", display_name="Anna Knows"),
        ),
        (
            User(culture="en:us"),
            replace(MOVED, mail=None),
            User(email_address=ALIAS, culture="en:us"),
        ),
    ],
)
async def test_the_phone_is_told_in_exchanges_own_words_or_the_directorys(
    said: User, recipient: Recipient, told: User
) -> None:
    async def known(_name: str) -> Lookup:
        return Found(recipient=recipient)

    for answer in (
        RedirectAddress(address="anna@cloud.example", user=said),
        NoMailboxHere(user=said),
    ):
        judgement = await judge(Directory(known)).discover(question(answer))
        assert judgement.settings == write_settings(LOCATION, told)


async def test_observe_mode_tells_nobody() -> None:
    judgement = await judged(mode="observe")
    assert (judgement.decision, judgement.settings) == ("would_redirect", None)

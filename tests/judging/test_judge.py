"""The way of a decision: what is asked, and that nothing that goes wrong ever redirects."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast

import pytest

from eas_redirect.activesync.authorization import Credentials, Identity, Logon
from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.request import EASRequest
from eas_redirect.activesync.response import Answer, Evidence
from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.values import (
    DirectoryAnswer,
    Found,
    OrganizationRelationship,
    Recipient,
    RelationshipsAnswer,
    Unavailable,
)
from eas_redirect.judging.judge import Judge, Judgement, whereabouts
from eas_redirect.policy.decision import Ask, Pass, Policy, Redirect
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.verdict import Mode

ANNA = Logon(text="anna@contoso.example", user="anna", domain="contoso.example", format="upn")
MOVED = Recipient(
    dn="CN=Anna", mail_nickname="anna", target_address="SMTP:anna@tenant.example.test"
)
CLOUD = OrganizationRelationship(
    name="Cloud", domain_names=("tenant.example.test",), target_owa_url="https://outlook.com/owa"
)


def exchange(evidence: Evidence = Evidence.CERTAIN, status: int = 200) -> Exchange:
    return Exchange(
        request=EASRequest(method="POST", command="FolderSync", protocol_version="14.1"),
        credentials=Credentials(scheme="basic", logon=ANNA),
        identity=Identity(logon=ANNA, source="authorization"),
        answer=Answer(status_code=status, evidence=evidence),
        called_names=("mail.contoso.example",),
        challenged=True,
    )


class Directory:
    """Answers as told and remembers how it was asked."""

    source = "snapshot"

    def __init__(self, answer: Callable[[], Awaitable[DirectoryAnswer]]) -> None:
        self.answer = answer
        self.fresh: list[bool] = []
        self.relationships_fresh: list[bool] = []
        self.remembered: DirectoryAnswer | None = None
        self.relationships_remembered: tuple[OrganizationRelationship, ...] | None = None

    def at_hand(self, logon: Logon, *, fresh: bool) -> DirectoryAnswer | None:
        assert logon is ANNA
        return None if fresh else self.remembered

    def relationships_at_hand(self, *, fresh: bool) -> tuple[OrganizationRelationship, ...] | None:
        return None if fresh else self.relationships_remembered

    async def recipient(self, logon: Logon, *, fresh: bool) -> DirectoryAnswer:
        assert logon is ANNA
        self.fresh.append(fresh)
        return await self.answer()

    async def relationships(self, *, fresh: bool) -> RelationshipsAnswer:
        self.relationships_fresh.append(fresh)
        return RelationshipsAnswer(relationships=(CLOUD,), source="snapshot")


def judge(directory: Directory, mode: Mode = "enforce") -> Judge:
    return Judge(Policy(), cast("CachedDirectory", directory), mode, lookup_timeout_s=0.01)


async def moved() -> DirectoryAnswer:
    return DirectoryAnswer(lookup=Found(recipient=MOVED), source="snapshot")


@pytest.mark.parametrize(
    ("mode", "decision"), [("enforce", "redirect"), ("observe", "would_redirect")]
)
async def test_a_moved_mailbox_is_redirected_or_would_be(mode: Mode, decision: str) -> None:
    judgement = await judge(Directory(moved), mode).judge(exchange())
    assert isinstance(judgement.verdict, Redirect)
    assert judgement.verdict.location == "https://outlook.office365.com/Microsoft-Server-ActiveSync"
    assert judgement.decision == decision
    assert judgement.settings is None, "that is for Autodiscover"


@pytest.mark.parametrize(
    ("evidence", "fresh"), [(Evidence.CERTAIN, [False]), (Evidence.WEAK, [True])]
)
async def test_weak_evidence_asks_freshly(evidence: Evidence, fresh: list[bool]) -> None:
    directory = Directory(moved)
    await judge(directory).judge(exchange(evidence))
    assert directory.fresh == directory.relationships_fresh == fresh


@pytest.mark.parametrize(
    ("answer", "relationships", "asked"),
    [
        (True, True, ([], [])),
        (True, False, ([], [False])),
        (False, True, ([False], [False])),
    ],
    ids=["both at hand", "the answer at hand", "the relationships at hand"],
)
async def test_only_what_is_not_at_hand_is_asked_for(
    answer: bool, relationships: bool, asked: tuple[list[bool], list[bool]]
) -> None:
    directory = Directory(moved)
    directory.remembered = await moved() if answer else None
    directory.relationships_remembered = (CLOUD,) if relationships else None
    judgement = await judge(directory).judge(exchange(Evidence.CERTAIN))
    assert judgement.decision == "redirect"
    assert (directory.fresh, directory.relationships_fresh) == asked


async def test_weak_evidence_takes_nothing_that_is_at_hand() -> None:
    directory = Directory(moved)
    directory.remembered, directory.relationships_remembered = await moved(), (CLOUD,)
    assert (await judge(directory).judge(exchange(Evidence.WEAK, 403))).decision == "redirect"
    assert (directory.fresh, directory.relationships_fresh) == ([True], [True])


async def test_weak_evidence_does_not_rest_on_an_old_reading_of_the_relationships() -> None:
    """Not even if the user has just been asked for: that reading may know better by now."""
    directory = Directory(moved)
    directory.relationships_remembered = (CLOUD,)
    asking = judge(directory)
    ask = asking.screened(exchange(Evidence.WEAK))
    assert isinstance(ask, Ask)
    await asking.decided(ask, early=await moved())
    assert (directory.fresh, directory.relationships_fresh) == ([], [True])


async def test_an_everyday_answer_asks_nobody() -> None:
    directory = Directory(moved)
    judgement = await judge(directory).judge(exchange(Evidence.NONE))
    assert judgement.verdict.reason is Reason.OTHER_ANSWER
    assert directory.fresh == []


async def test_an_unavailable_directory_passes_and_says_why() -> None:
    async def down() -> DirectoryAnswer:
        failure = Unavailable(error_type="connection_refused", message="start the server")
        return DirectoryAnswer(lookup=failure, source="ldap")

    judgement = await judge(Directory(down)).judge(exchange())
    assert judgement.verdict.reason is Reason.DIRECTORY_UNAVAILABLE
    assert (judgement.error_type, judgement.error_message) == (
        "connection_refused",
        "start the server",
    )


async def test_a_directory_that_never_answers_passes_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eas_redirect.judging.judge.GRACE_S", 0.01)

    async def silent() -> DirectoryAnswer:
        await asyncio.Event().wait()
        raise AssertionError

    judgement = await judge(Directory(silent)).judge(exchange())
    assert judgement.verdict.reason is Reason.DIRECTORY_UNAVAILABLE
    assert judgement.error_type == "timeout"


@pytest.mark.parametrize(
    ("error_type", "is_out_of_reach"),
    [
        ("timeout", True),
        ("mailboxes_not_visible", False),
        ("aliases_not_visible", False),
        ("principal_names_not_visible", False),
    ],
)
async def test_a_directory_that_answers_is_in_reach(error_type: str, is_out_of_reach: bool) -> None:
    async def unsure() -> DirectoryAnswer:
        return DirectoryAnswer(
            lookup=Unavailable(error_type=error_type, message="x"), source="ldap"
        )

    judgement = await judge(Directory(unsure)).judge(exchange())
    assert judgement.verdict.reason is Reason.DIRECTORY_UNAVAILABLE
    assert judgement.out_of_reach == is_out_of_reach


async def test_a_part_of_a_relationship_is_no_error() -> None:
    """Nor does it put the directory out of reach."""
    partial = replace(CLOUD, name="Other", domain_names=(), domains_unknown="a part came")

    class Partial(Directory):
        async def relationships(self, *, fresh: bool) -> RelationshipsAnswer:  # noqa: ARG002
            return RelationshipsAnswer(relationships=(CLOUD, partial), source="snapshot")

    judgement = await judge(Partial(moved)).judge(exchange())
    assert judgement.verdict.reason is Reason.DIRECTORY_UNAVAILABLE
    assert (judgement.error_type, judgement.out_of_reach) == (None, False)


@pytest.mark.parametrize(
    ("fault", "error_type"),
    [(KeyError("hunter2"), "KeyError"), (asyncio.CancelledError(), "cancelled")],
)
async def test_a_fault_of_ours_passes_and_its_text_stays_out(
    fault: BaseException, error_type: str
) -> None:
    async def broken() -> DirectoryAnswer:
        raise fault

    asked = exchange()
    judgement = await judge(Directory(broken)).judge(asked)
    assert isinstance(judgement.verdict, Pass)
    assert judgement.verdict.reason is Reason.INTERNAL_ERROR
    assert judgement.error_type == error_type
    assert judgement.error_message
    assert judgement.exchange is asked
    assert judgement.mode == "enforce"
    assert not judgement.out_of_reach, "it is not the directory's"
    assert "hunter2" not in repr(judgement)


def test_a_fault_of_ours_in_the_first_look_passes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_exchange: Exchange, _trace: object) -> None:
        raise KeyError("hunter2")

    monkeypatch.setattr("eas_redirect.judging.judge.screen", broken)
    asked = exchange()
    judgement = judge(Directory(moved)).screened(asked)
    assert isinstance(judgement, Judgement)
    assert (judgement.verdict.reason, judgement.exchange) == (Reason.INTERNAL_ERROR, asked)
    assert judgement.error_type == "KeyError"
    assert str(judgement.error_message).startswith("in broken, line ")


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_no_answer_is_nothing_to_judge(mode: Mode) -> None:
    asked = exchange()
    judgement = judge(Directory(moved), mode).unanswered(asked)
    assert (judgement.exchange, judgement.mode) == (asked, mode)
    assert judgement.verdict.reason is Reason.NO_ANSWER


def test_what_the_wire_alone_decides_waits_for_nobody() -> None:
    """Most exchanges: the judgement is there at once, and no coroutine is made for it."""
    other = exchange(Evidence.NONE)
    judgement = judge(Directory(moved)).screened(other)
    assert isinstance(judgement, Judgement)
    assert (judgement.exchange, judgement.mode) == (other, "enforce")
    assert isinstance(judgement.verdict, Pass)
    assert judgement.verdict.reason is Reason.OTHER_ANSWER


def test_a_fault_is_placed_where_it_arose() -> None:
    def inner() -> None:
        raise ValueError("hunter2")

    with pytest.raises(ValueError, match="hunter2") as caught:
        inner()
    assert whereabouts(caught.value).startswith("in inner, line ")
    assert whereabouts(ValueError("hunter2")) == "no traceback"

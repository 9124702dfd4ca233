"""The table of situations, and what holds for every input."""

import re
from dataclasses import replace
from itertools import product
from typing import Any, Literal, cast

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from eas_redirect.activesync.authorization import Credentials, Identity, LogonSource
from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.request import EASRequest
from eas_redirect.activesync.response import Answer, Evidence
from eas_redirect.directory.values import (
    Ambiguous,
    Found,
    Lookup,
    NotFound,
    OrganizationRelationship,
    Recipient,
    Relationships,
    Unavailable,
)
from eas_redirect.policy.decision import (
    Ask,
    Pass,
    Policy,
    Redirect,
    Step,
    Verdict,
    decide,
    screen,
)
from eas_redirect.policy.exchange_online import DEFAULT_HOST_MAP
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.verdict import DiscoveryPolicy
from eas_redirect.policy.waves import Criteria, UserNames, Wave
from tests.policy.builders import CLOUD, MOVED, exchange, identity, logon, with_problem
from tests.support import DATA

LOCATION = re.compile(
    r"https://[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+"
    r"/Microsoft-Server-ActiveSync",
    re.ASCII,
)
# What the judge says when nothing was answered or a hook failed, and Autodiscover's own.
GIVEN_ELSEWHERE = {
    Reason.NO_ANSWER,
    Reason.INTERNAL_ERROR,
    Reason.AUTODISCOVER_IDENTITY_MISMATCH,
    Reason.AUTODISCOVER_CLIENT_NOT_LISTED,
}
DOWN = Unavailable(error_type="timeout", message="dc1.contoso.example did not answer.")


def table() -> list[dict[str, str]]:
    """The rows of decisions.tsv, empty cells filled from the first row."""
    text = (DATA / "decisions.tsv").read_text(encoding="utf-8")
    lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    header, first, *rows = lines
    filled = [first, *([c or f for c, f in zip(r, first, strict=True)] for r in rows)]
    ends = {"reason", "host"}
    return [
        {k: (raw[i] if k in ends else cells[i]) for i, k in enumerate(header)}
        for raw, cells in zip([first, *rows], filled, strict=True)
    ]


def pairs(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split("; ") if part)


def read_relationships(text: str) -> tuple[OrganizationRelationship, ...]:
    found = []
    for entry in text.split(" / ") if text != "-" else []:
        name, domains, url, *others = entry.split(" ")
        more = dict(other.split("=", 1) for other in others)
        found.append(
            OrganizationRelationship(
                name=name.removeprefix("!"),
                domain_names=tuple(domains.split(",")),
                target_owa_url=None if url == "-" else url,
                enabled=not name.startswith("!"),
                target_application_uri=more.get("app"),
                target_autodiscover_epr=more.get("epr"),
                target_sharing_epr=more.get("sharing"),
            )
        )
    return tuple(found)


def read_recipient(text: str) -> Recipient:
    values: dict[str, Any] = dict(pairs(text))
    for name, value in values.items():
        if name.endswith(("_details", "_type", "_control", "_enable")):
            values[name] = int(value)
    names = {
        "user_principal_name": "anna@contoso.example",
        "sam_account_name": "anna",
        "mail_nickname": "anna",
    }
    return Recipient(dn="CN=Anna,DC=contoso,DC=example", **{**names, **values})


def read_user(name: str | None) -> UserNames | None:
    """A name with anna in it means Anna; with a ? behind it the directory could not be asked."""
    if name is None:
        return None
    if name.endswith("?"):
        return UserNames(unasked=(name.removesuffix("?"),))
    dn = "cn=anna,dc=contoso,dc=example" if "anna" in name else "cn=bert,dc=contoso,dc=example"
    return UserNames(known={name: dn})


def read_policy(text: str) -> Policy:
    values = pairs(text)
    hosts = dict([values["host_map"].split(">")]) if "host_map" in values else {}
    allowed = values.get("allowed_hosts")
    only, exclude = values.get("only_users"), values.get("except_users")
    return Policy(
        own_names=frozenset(values.get("own_names", "").split()),
        min_protocol_version=values.get("min_protocol_version", "14.0"),
        host_map={**DEFAULT_HOST_MAP, **hosts},
        allowed_hosts=(allowed,) if allowed else None,
        relationships=read_relationships(values.get("relationships", "-")),
        wave=Wave(only=Criteria(users=read_user(only)), exclude=Criteria(users=read_user(exclude))),
    )


def read_exchange(row: dict[str, str]) -> Exchange:
    other = pairs(row["other"])
    built = exchange(
        method=row["method"],
        version=None if row["version"] == "-" else row["version"],
        status=int(row["status"]),
        evidence=Evidence(row["evidence"]),
        who=None if row["logon"] == "-" else row["logon"],
        source=cast("LogonSource", other.get("source", "authorization")),
        challenged=other.get("challenged") != "no",
    )
    if "called" in other:
        called = tuple(name for name in other["called"].split(",") if name != "-")
        built = replace(built, called_names=called)
    for name, value in other.items():
        if name.endswith("_problem"):
            built = with_problem(built, name.removesuffix("_problem"), value)
    return built


def read_lookup(row: dict[str, str]) -> Lookup:
    found = Found(recipient=read_recipient(row["recipient"]))
    outcomes: dict[str, Lookup] = {
        "found": found,
        "by_address": replace(found, by_address=True),
        "unseen_mailboxes": replace(found, unseen=hidden("mailboxes_not_visible")),
        "unseen_aliases": replace(found, unseen=hidden("aliases_not_visible")),
        "unseen_principal_names": hidden("principal_names_not_visible"),
        "not_found": NotFound(),
        "ambiguous": Ambiguous(dns=("CN=A", "CN=B")),
        "left_out": Ambiguous(dns=("CN=A",), left_out="forest.ldif:3: homemdb is not UTF-8"),
        "unavailable": DOWN,
    }
    return outcomes[row["lookup"]]


def hidden(kind: str) -> Unavailable:
    return Unavailable(error_type=kind, message="It cannot be seen: export it.")


def judged(
    given_exchange: Exchange,
    lookup: Lookup,
    relationships: Relationships,
    policy: Policy,
    trace: list[Step] | None = None,
) -> Verdict:
    """The whole way without a directory."""
    asked = screen(given_exchange, trace)
    return asked if isinstance(asked, Pass) else decide(asked, lookup, relationships, policy, trace)


@pytest.mark.parametrize("row", table(), ids=lambda row: row["situation"])
def test_a_situation(row: dict[str, str]) -> None:
    claims: Relationships = (
        DOWN if row["relationships"] == "down" else read_relationships(row["relationships"])
    )
    trace: list[Step] = []

    verdict = judged(
        read_exchange(row), read_lookup(row), claims, read_policy(row["policy"]), trace
    )

    assert verdict.reason == row["reason"]
    assert all(step.question.endswith("?") and step.finding for step in trace)
    assert verdict.detail.endswith((".", "cut short", "no base64", "wrong length"))
    assert len(verdict.detail) > 10
    if row["host"]:
        assert isinstance(verdict, Redirect)
        assert verdict.location == f"https://{row['host']}/Microsoft-Server-ActiveSync"
        assert verdict.target_domain
        assert len(trace) == 9
        assert all(step.ok for step in trace)
    else:
        assert isinstance(verdict, Pass)
        assert [step.ok for step in trace] == [True] * (len(trace) - 1) + [False]
        assert trace[-1].reason is verdict.reason


def test_where_the_native_feature_would_serve_nobody_is_redirected() -> None:
    rows = table()
    assert {row["native"] for row in rows} == {"451", "serves", "no", "-"}
    served = [row for row in rows if row["native"] == "serves"]
    assert len(served) > 30
    assert not any(row["host"] for row in served)


def test_every_reason_and_every_evidence_has_a_row() -> None:
    rows = table()
    assert {row["reason"] for row in rows} == set(Reason) - GIVEN_ELSEWHERE
    assert {row["evidence"] for row in rows} == set(Evidence)


@pytest.mark.parametrize(
    ("evidence", "freshness"), [(Evidence.WEAK, "asked now"), (Evidence.CERTAIN, "cached will do")]
)
def test_weak_evidence_asks_afresh(evidence: Evidence, freshness: str) -> None:
    asked = screen(exchange(evidence=evidence))
    assert isinstance(asked, Ask)
    assert asked.logon == logon("anna@contoso.example")
    assert asked.fresh is (freshness == "asked now")


def test_a_late_pass_names_domain_and_relationship() -> None:
    verdict = judged(exchange(version="12.1"), Found(recipient=MOVED), (CLOUD,), Policy())
    assert isinstance(verdict, Pass)
    assert (verdict.target_domain, verdict.relationship) == ("cloud.example", "Cloud")


def test_an_empty_directory_points_at_the_missing_right() -> None:
    verdict = judged(exchange(), Found(recipient=MOVED), (), Policy())
    assert "CN=Federation" in verdict.detail


def test_why_more_than_one_object_may_be_meant() -> None:
    for left_out, says in ((None, "may answer to this logon"), ("x.ldif:3: cut", "x.ldif:3: cut")):
        verdict = judged(exchange(), Ambiguous(left_out=left_out), (CLOUD,), Policy())
        assert verdict.reason is Reason.RECIPIENT_AMBIGUOUS
        assert says in verdict.detail


@pytest.mark.parametrize(("phones", "weak"), list(product(("off", "listed", "all"), (False, True))))
def test_when_anything_hangs_on_autodiscovers_weak_answers(
    phones: Literal["off", "listed", "all"], weak: bool
) -> None:
    assert DiscoveryPolicy(phones=phones, weak=weak).weighs_weak == (weak and phones != "off")


def test_weak_evidence_is_named_as_what_it_is() -> None:
    for status, what in ((403, "A 403 counts only"), (0, "A wait counts only")):
        verdict = screen(exchange(evidence=Evidence.WEAK, status=status, challenged=False))
        assert isinstance(verdict, Pass)
        assert verdict.detail.startswith(what)


def test_of_two_faults_of_one_reason_the_first_is_told() -> None:
    nothing = screen(exchange(method="GET", evidence=Evidence.NONE))
    assert isinstance(nothing, Pass)
    assert "does not say" in nothing.detail
    both = with_problem(with_problem(exchange(), "request", "no base64"), "credentials", "two")
    unread = screen(both)
    assert isinstance(unread, Pass)
    assert unread.detail == "The Authorization header: two"


def test_a_mailbox_that_may_be_hidden_comes_before_a_name_that_lacks() -> None:
    nameless = replace(MOVED, mail_nickname=None)
    hidden_one = Found(recipient=nameless, unseen=hidden("mailboxes_not_visible"))
    verdict = judged(exchange(), hidden_one, (CLOUD,), Policy())
    assert verdict.reason is Reason.DIRECTORY_UNAVAILABLE


def test_a_redirect_names_the_wave() -> None:
    policy = Policy(wave=Wave(only=Criteria(percent=100.0)))
    verdict = judged(exchange(), Found(recipient=MOVED), (CLOUD,), policy)
    assert isinstance(verdict, Redirect)
    assert verdict.wave == "percent:100"


def test_an_identity_without_a_logon_and_without_a_problem_is_none() -> None:
    steps: list[Step] = []
    made = replace(exchange(), identity=Identity())
    verdict = judged(made, Found(recipient=MOVED), (CLOUD,), Policy(), steps)
    assert verdict.reason is Reason.NO_IDENTITY
    assert [step.reason for step in steps] == [Reason.NO_IDENTITY]


def test_a_minimum_that_cannot_be_read_is_the_default() -> None:
    policy = Policy(min_protocol_version="newest")
    for version, reason in (("14.0", "mailbox_moved"), ("12.1", "protocol_version_too_low")):
        verdict = judged(exchange(version=version), Found(recipient=MOVED), (CLOUD,), policy)
        assert verdict.reason == reason


def mostly[T](good: T, other: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """A good value in most cases: a redirect needs a dozen of them at once."""
    return st.sampled_from(range(16)).flatmap(lambda n: other if n == 15 else st.just(good))


any_text = st.none() | st.text(max_size=30)
domains = mostly("cloud.example", st.sampled_from(["bücher.example", ""]) | st.text(max_size=20))
hosts = mostly("outlook.com", st.sampled_from(["mail.fabrikam.example", "192.0.2.1"]) | any_text)
requests = st.builds(
    EASRequest,
    method=mostly("POST", st.sampled_from(["OPTIONS", "GET"]) | st.text(max_size=8)),
    protocol_version=mostly("14.1", st.sampled_from(["12.1", "16.1"]) | any_text),
    device_type=any_text,
    problem=mostly(None, st.text(max_size=5)),
)
exchanges = st.builds(
    Exchange,
    request=requests,
    credentials=st.builds(
        Credentials, scheme=st.just("basic"), problem=mostly(None, st.text(max_size=5))
    ),
    identity=mostly(
        identity("anna"),
        st.sampled_from([None, "C\\anna", "a@b.example"]).map(identity)
        | st.just(identity("anna", "query")),
    ),
    challenged=mostly(True, st.just(False)),
    answer=st.builds(
        Answer,
        status_code=mostly(200, st.sampled_from([401, 403, 451, 500])),
        evidence=mostly(Evidence.CERTAIN, st.sampled_from(Evidence)),
    ),
    called_names=mostly(
        ("mail.contoso.example",), st.lists(st.text(max_size=30), max_size=2).map(tuple)
    ),
    client_address=st.sampled_from([None, "192.0.2.1", "::1"]) | any_text,
)
recipients = st.builds(
    Recipient,
    dn=st.text(max_size=20),
    user_principal_name=any_text,
    mail_nickname=mostly("anna", any_text),
    target_address=mostly("SMTP:anna@cloud.example", domains.map("SMTP:anna@{}".format) | any_text),
    home_mdb=mostly(None, st.just("CN=DB1")),
)
found = recipients.map(lambda r: Found(recipient=r))
lookups: st.SearchStrategy[Lookup] = st.one_of(
    found, found, found, found, st.sampled_from([NotFound(), Ambiguous(), DOWN])
)
some_relationships = st.lists(
    st.builds(
        OrganizationRelationship,
        name=st.text(max_size=5),
        domain_names=st.lists(domains, min_size=1, max_size=2).map(tuple),
        target_owa_url=mostly("http://outlook.com", hosts.map("https://{}/owa".format)),
        enabled=mostly(True, st.just(False)),
    ),
    min_size=1,
    max_size=2,
).map(tuple)
policies = st.builds(
    Policy,
    own_names=st.frozensets(st.text(max_size=9), max_size=1),
    min_protocol_version=mostly("14.0", st.sampled_from(["2.5", "16.1"])),
    allowed_hosts=mostly(None, st.just(("*.example",))),
    relationships=mostly((), some_relationships),
    wave=mostly(
        Wave(),
        st.builds(
            Wave,
            only=st.builds(
                Criteria,
                percent=st.none() | st.floats(0, 100),
                device_types=st.none() | st.lists(st.text(max_size=5), max_size=2).map(tuple),
            ),
        ),
    ),
)


@settings(max_examples=300)
@given(exchanges, lookups, some_relationships | st.just(DOWN), policies)
def test_any_input_gives_a_verdict_and_a_redirect_names_a_relationships_host(
    given_exchange: Exchange, lookup: Lookup, relationships: Relationships, policy: Policy
) -> None:
    verdict = judged(given_exchange, lookup, relationships, policy)

    event(verdict.reason)
    if isinstance(verdict, Pass):
        return
    assert LOCATION.fullmatch(verdict.location)
    assert given_exchange.answer.evidence is not Evidence.NONE
    assert isinstance(lookup, Found)
    assert not lookup.recipient.has_mailbox
    known = relationships if isinstance(relationships, tuple) else ()
    named = [r for r in (*policy.relationships, *known) if r.name == verdict.relationship]
    urls_named = [r.target_owa_url.lower() for r in named if r.target_owa_url and r.enabled]
    host = verdict.location.split("/")[2]
    sources = {source for source, target in policy.host_map.items() if target == host} | {host}
    assert any(source in url for url in urls_named for source in sources)


@given(exchanges)
def test_screen_asks_only_about_evidence_and_a_known_logon(given_exchange: Exchange) -> None:
    asked = screen(given_exchange)
    if isinstance(asked, Ask):
        assert given_exchange.answer.evidence is not Evidence.NONE
        assert given_exchange.answer.status_code not in {401, 451}
        assert asked.logon == given_exchange.logon
        assert given_exchange.identity.problem is None
        if given_exchange.answer.evidence is Evidence.WEAK:
            assert given_exchange.identity.source != "query"
            assert given_exchange.challenged


# What leads to each reason, in their order: of the exchange, the look-up, the policy.
WRONG: dict[Reason, dict[str, str]] = {
    Reason.NATIVE_REDIRECT: {"status": "451"},
    Reason.UNAUTHENTICATED: {"status": "401"},
    Reason.MALFORMED_ANSWER: {"other": "answer_problem=cut short"},
    Reason.OTHER_ANSWER: {"method": "GET"},
    Reason.LOGON_NOT_PROVEN: {"evidence": "weak", "other": "challenged=no"},
    Reason.NO_IDENTITY: {"logon": "-"},
    Reason.RECIPIENT_NOT_FOUND: {"lookup": "not_found"},
    Reason.RECIPIENT_HAS_MAILBOX: {"recipient": "home_mdb=CN=DB1"},
    Reason.NO_TARGET_ADDRESS: {"recipient": "target_address="},
    Reason.TARGET_ADDRESS_INVALID: {"recipient": "target_address=SMTP:anna"},
    Reason.NO_RELATIONSHIP: {"relationships": "domains=other.example"},
    Reason.RELATIONSHIP_DISABLED: {"relationships": "enabled=no"},
    Reason.RELATIONSHIP_CONTRADICTORY: {
        "relationships": "app=fabrikam.example epr=https://autodiscover.fabrikam.example/x"
    },
    Reason.NO_TARGET_OWA_URL: {"relationships": "url=-"},
    Reason.TARGET_OWA_URL_INVALID: {"relationships": "url=https://192.0.2.1/owa"},
    Reason.TARGET_NOT_ALLOWED: {"policy": "allowed_hosts=*.nowhere.example"},
    Reason.REDIRECT_LOOP: {"policy": "own_names=outlook.office365.com"},
    Reason.PROTOCOL_VERSION_TOO_LOW: {"version": "12.1"},
    Reason.NOT_IN_WAVE: {"policy": "except_users=anna@contoso.example"},
}
# Of one and the same attribute: both cannot be so at once.
ALTERNATIVES = {
    frozenset(pair)
    for pair in (
        (Reason.NATIVE_REDIRECT, Reason.UNAUTHENTICATED),
        (Reason.NO_TARGET_ADDRESS, Reason.TARGET_ADDRESS_INVALID),
        (Reason.RELATIONSHIP_CONTRADICTORY, Reason.NO_TARGET_OWA_URL),
        (Reason.RELATIONSHIP_CONTRADICTORY, Reason.TARGET_OWA_URL_INVALID),
        (Reason.NO_TARGET_OWA_URL, Reason.TARGET_OWA_URL_INVALID),
        (Reason.NO_RELATIONSHIP, Reason.RELATIONSHIP_DISABLED),
    )
}
ORDER = list(WRONG)


def made(*wrongs: dict[str, str]) -> Verdict:
    """The moved user's exchange with everything that is wrong with it."""
    row = {**table()[0], "policy": "", "other": ""}
    relationship = {"domains": "cloud.example", "url": "http://outlook.com/owa", "enabled": "yes"}
    recipient = {"target_address": "SMTP:anna@cloud.example"}
    for wrong in wrongs:
        for key, value in wrong.items():
            match key:
                case "relationships":
                    relationship |= dict(part.split("=", 1) for part in value.split(" "))
                case "recipient":
                    recipient |= pairs(value)
                case "policy" | "other":
                    row[key] = "; ".join(filter(None, (row[key], value)))
                case _:
                    row[key] = value
    row["recipient"] = "; ".join("=".join(pair) for pair in recipient.items())
    name = "Cloud" if relationship.pop("enabled") == "yes" else "!Cloud"
    words = (name, relationship.pop("domains"), relationship.pop("url"))
    row["relationships"] = " ".join((*words, *("=".join(pair) for pair in relationship.items())))
    known = read_relationships(row["relationships"])
    return judged(read_exchange(row), read_lookup(row), known, read_policy(row["policy"]))


@pytest.mark.parametrize("reason", ORDER)
def test_each_fault_alone_has_its_reason(reason: Reason) -> None:
    assert made(WRONG[reason]).reason is reason
    assert made().reason is Reason.MAILBOX_MOVED


def test_of_any_two_faults_the_first_in_the_order_is_told() -> None:
    """It is the one that an administrator would mend first."""
    for index, first in enumerate(ORDER):
        for second in ORDER[index + 1 :]:
            if frozenset((first, second)) not in ALTERNATIVES:
                assert made(WRONG[second], WRONG[first]).reason is first, (first, second)


def test_more_than_one_object_comes_after_who_asks_and_before_their_mailbox() -> None:
    assert made({"lookup": "ambiguous"}, {"logon": "-"}).reason is Reason.NO_IDENTITY
    here = WRONG[Reason.RECIPIENT_HAS_MAILBOX]
    assert made({"lookup": "ambiguous"}, here).reason is Reason.RECIPIENT_AMBIGUOUS

"""Who looks moved, of those who were asked about: nobody else, and nobody without a voucher."""

from dataclasses import replace
from typing import Any

import pytest

from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.entries import Entry
from eas_redirect.directory.sight import DomainSight, Sight
from eas_redirect.directory.snapshot import Snapshot
from eas_redirect.directory.values import (
    MOST_WATCHED,
    CacheSettings,
    Found,
    Recipient,
    Unavailable,
    Watched,
)
from eas_redirect.directory.watch import looking_moved, watched
from tests.directory.fakes import DOWN, FakeDirectory
from tests.directory.logons import logon
from tests.support import DATA

ROOT = "DC=contoso,DC=example"
GUID = "01234567-89ab-cdef-0123-456789abcdef"
ANNA = Recipient(
    dn=f"CN=Anna,{ROOT}",
    object_guid=GUID,
    mail_nickname="anna",
    target_address="SMTP:anna@contoso.mail.example",
)
SEEN = DomainSight(nc_name=ROOT.lower(), mailboxes=True, aliases=True)
WHOLE = Sight(source="ldap", domains=(SEEN,), named=True)


@pytest.mark.parametrize(
    ("now", "moved"),
    [
        ({}, True),
        ({"dn": f"CN=Anna Meyer,OU=Left,{ROOT}"}, True),
        ({"home_mdb": "CN=DB01"}, False),
        ({"home_mdb": ""}, False),
        ({"ms_exch_home_server_name": "/o=Contoso/cn=EX2010"}, False),
        ({"ms_exch_recipient_type_details": 1}, False),
        ({"target_address": None}, False),
        ({"target_address": ""}, False),
        ({"target_address": None, "home_mdb": "CN=DB01"}, False),
        ({"object_guid": GUID.replace("0", "1")}, False),
        ({"object_guid": None}, False),
    ],
    ids=[
        "moved",
        "renamed since",
        "staged: both are there",
        "an empty homeMDB is there",
        "still on a server",
        "a mailbox by its type",
        "no address to go to",
        "an empty address",
        "back again",
        "an object of somebody else",
        "an object that does not say whose it is",
    ],
)
def test_what_counts_as_moved(now: dict[str, Any], moved: bool) -> None:
    user = watched(ANNA)
    assert looking_moved([user], [replace(ANNA, **now)], WHOLE) == ((user,) if moved else ())


@pytest.mark.parametrize(
    ("sight", "details", "moved"),
    [
        (WHOLE, None, True),
        (replace(WHOLE, domains=(replace(SEEN, mailboxes=False),)), None, False),
        (replace(WHOLE, domains=(replace(SEEN, mailboxes=False),)), 1 << 31, False),
        (replace(WHOLE, domains=()), None, False),
        (replace(WHOLE, domains=(replace(SEEN, nc_name="dc=other"),)), None, False),
        (replace(WHOLE, domains=(replace(SEEN, nc_name="dc=other"),)), 1 << 31, True),
        (replace(WHOLE, domains=(replace(SEEN, mailboxes=False),), no_mailboxes_here=True),
         None, True),
    ],
    ids=["seen", "not seen", "not seen, says remote", "nothing seen", "another domain seen",
         "another domain seen, says remote", "nobody is left"],
)  # fmt: skip
def test_what_cannot_be_seen_is_not_absent(sight: Sight, details: int | None, moved: bool) -> None:
    now = replace(ANNA, ms_exch_recipient_type_details=details)
    assert bool(looking_moved([watched(ANNA)], [now], sight)) is moved


def test_two_objects_of_one_user_speak_for_nobody() -> None:
    user, bert = watched(ANNA), replace(ANNA, dn=f"CN=Bert,{ROOT}", object_guid=None)
    assert looking_moved([user], [ANNA, ANNA], WHOLE) == ()
    assert looking_moved([watched(bert)], [bert, bert], WHOLE) == ()
    assert looking_moved([user, user, watched(bert)], [bert, ANNA], WHOLE) == (user, watched(bert))


def test_a_user_without_a_guid_is_told_by_the_dn_alone() -> None:
    user = Watched(dn=r"CN=Meyer\, Anna, OU=Staff," + ROOT)
    assert looking_moved([user], [replace(ANNA, dn=rf"cn=Meyer\2C Anna,ou=staff,{ROOT}")], WHOLE)
    assert not looking_moved([user], [ANNA], WHOLE)


FOREST = DATA / "ldif" / "forest.ldif"


async def test_a_snapshot_answers_from_what_it_holds() -> None:
    snapshot = Snapshot.load(FOREST)
    users = []
    for name in ("anna@contoso.example", "bert@contoso.example", "EUROPE\\anna", "CONTOSO\\cora"):
        lookup = (await snapshot.recipient(logon(name))).lookup
        assert isinstance(lookup, Found)
        users.append(watched(lookup.recipient))
    answer = await snapshot.moved(users)
    assert isinstance(answer.moved, tuple)
    assert [user.dn.partition(",")[0] for user in answer.moved] == [
        "CN=Anna Moved",
        "CN=No Principal Name",
    ], "nobody of Europe shows a mailbox, and Bert has one"
    learnt = replace(users[0], object_guid=GUID)
    assert (await snapshot.moved([learnt])).moved == (learnt,), "a server told who it is"
    gone = await Snapshot.load(FOREST).moved([Watched(dn=f"CN=Nobody,{ROOT}")])
    assert gone.moved == ()
    renamed = await snapshot.moved([replace(users[0], dn=f"CN=Anna,{ROOT}")])
    assert renamed.moved == (), "another object has the name now"


async def test_a_snapshot_finds_by_either_name() -> None:
    """Exports of chosen attributes may lack one of them."""
    names = {"samaccountname": ["anna"], "userprincipalname": ["anna@contoso.example"]}
    here = Entry(f"CN=Bert,{ROOT}", {"samaccountname": ["b"], "homemdb": ["CN=DB"],
                                     "mailnickname": ["b"]})  # fmt: skip
    for left_out in names:
        left = {name: values for name, values in names.items() if name != left_out}
        there = Entry(ANNA.dn, left | {"targetaddress": ["SMTP:anna@m.example"]})
        snapshot = Snapshot([here, there])
        [one] = [known for known in await snapshot.everyone() if known.dn == ANNA.dn]
        assert (await snapshot.moved([watched(one)])).moved == (watched(one),)


async def test_a_snapshot_that_is_not_whole_says_nothing() -> None:
    trailer = b"\n# search result\nsearch: 2\nresult: 4 Size limit exceeded\n"
    snapshot = Snapshot.read(FOREST.read_bytes() + trailer, "a.ldif")
    assert snapshot.partial is not None
    answer = await snapshot.moved([watched(ANNA)])
    assert isinstance(answer.moved, Unavailable)
    assert answer.moved.error_type == "snapshot_not_whole"


async def test_contradicting_versions_of_a_user_are_nobody() -> None:
    here = Entry(ANNA.dn, {"samaccountname": ["anna"], "homemdb": ["CN=DB01"]})
    bert = Entry(f"CN=Bert,{ROOT}", here.attributes | {"mailnickname": ["bert"]})
    attributes = {"samaccountname": ["anna"], "targetaddress": ["SMTP:anna@m.example"]}
    user = Watched(dn=ANNA.dn, sam_account_name="anna")
    for versions, moved in (([attributes], (user,)), ([attributes, {**attributes, "targetaddress":
        ["SMTP:anna@n.example"]}], ()), ([attributes, here.attributes], ())):  # fmt: skip
        snapshot = Snapshot([bert, *(Entry(ANNA.dn, one) for one in versions)])
        assert (await snapshot.moved([user])).moved == moved


async def test_the_cache_keeps_nothing_and_an_old_directory_says_nothing() -> None:
    directory = FakeDirectory()
    cached = CachedDirectory(directory, CacheSettings(relationships_s=900))
    user = watched(ANNA)
    assert (await cached.moved([user])).moved == ()
    directory.gone.add(user.dn)
    assert (await cached.moved([user])).moved == (user,)
    assert len(directory.watched) == 2
    directory.age_s = 900.0
    old = (await cached.moved([user])).moved
    assert isinstance(old, Unavailable)
    directory.age_s, directory.lookup = 0.0, DOWN
    assert (await cached.moved([user])).moved == DOWN


async def test_one_question_is_about_a_hundred_at_most() -> None:
    users = [Watched(dn=f"CN={n},{ROOT}") for n in range(MOST_WATCHED + 1)]
    snapshot = Snapshot.load(FOREST)
    assert (await snapshot.moved(users[1:])).moved == ()
    with pytest.raises(ValueError, match="101 users"):
        await snapshot.moved(users)

"""One user under several logons, as far as that can be known."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.report.groups import one_for_each
from eas_redirect.telemetry.journal import Redaction
from eas_redirect.telemetry.record import Record
from tests.report.simulator import CLOUD
from tests.report.test_figures import call, made_of

HOUR = 3600
TOLD = {"decision": "redirect", "reason": "mailbox_moved", "redirect_location": CLOUD}
REFUSED = {"reason": "unauthenticated", "status_code": 401}


def logon(text: str, account: str | None = None) -> dict[str, str | None]:
    name, at, suffix = text.partition("@")
    domain, _, short = text.rpartition("\\")
    return {
        "user_name": name if at else short,
        "user_domain": suffix or domain or None,
        "user_email": text if at else None,
        "user_id": account,
    }


def changed_logon(first: dict[str, str | None], then: dict[str, str | None]) -> list[Record]:
    """Redirected under one name, and coming back under another for hours."""
    return [
        call(0, **first, **TOLD),
        *(call(HOUR * hour, **then, **TOLD) for hour in range(1, 6)),
        call(6 * HOUR, **then, device_type="iPhone"),
    ]


@pytest.mark.parametrize(
    ("first", "then", "users"),
    [
        (logon("CONTOSO\\anna"), logon("anna@contoso.example"), 1),
        (logon("anna"), logon("anna@contoso.example"), 1),
        (logon("anna"), logon("CONTOSO\\Anna"), 1),
        (logon("CONTOSO\\anna"), logon("contoso\\ANNA"), 1),
        # The directory knows, whatever the names.
        (logon("CONTOSO\\as", "4711"), logon("anna.s@contoso.example", "4711"), 1),
        (logon("CONTOSO\\anna", "4711"), logon("anna@contoso.example", "0815"), 2),
        # Not to be told apart from two users of one device.
        (logon("CONTOSO\\as"), logon("anna.s@contoso.example"), 2),
        (logon("anna@contoso.example"), logon("anna@fabrikam.example"), 2),
        (logon("CONTOSO\\anna"), logon("FABRIKAM\\anna"), 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("form", ["clear", "hash"])
def test_a_changed_logon_is_no_following(
    tmp_path: Path,
    first: dict[str, str | None],
    then: dict[str, str | None],
    users: int,
    form: str,
) -> None:
    redaction = Redaction(users="hash", key=b"k") if form == "hash" else Redaction()
    made = made_of(tmp_path, *map(redaction.apply, changed_logon(first, then)))
    states = sorted(device.state.value for device in made.devices)
    assert (made.totals.users, len(made.devices)) == (users, users)
    assert states == (["stuck"] if users == 1 else ["quiet", "stuck"])
    if users == 1:
        assert made.devices[0].calls == 7
    told = [note for note in made.notes if "under several users" in note]
    assert len(told) == users - 1


def test_three_names_are_one_user_by_way_of_the_second(tmp_path: Path) -> None:
    made = made_of(
        tmp_path,
        call(0, **logon("anna@contoso.example", "4711")),
        call(1, **logon("CONTOSO\\as", "4711"), device_id="B"),
        call(2, **logon("as"), device_id="B"),
        call(3, **logon("as"), device_id=None, command="OPTIONS"),
    )
    assert made.totals.users == 1
    assert [(device.device_id, device.calls) for device in made.devices] == [("B", 2 + 1), ("A", 1)]
    assert any("2 logons counted with another logon" in note for note in made.notes)


def test_names_that_were_only_refused_join_nobody(tmp_path: Path) -> None:
    made = made_of(
        tmp_path,
        call(0, **logon("CONTOSO\\anna")),
        call(1, **logon("anna@evil.test"), **REFUSED),
        call(2, **logon("anna@evil.test"), **REFUSED),
    )
    assert [(device.user, device.calls) for device in made.devices] == [("CONTOSO\\anna", 1)]
    assert made.notes == ()


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=4), max_size=25))
def test_one_stands_for_all_that_hang_together(same: list[list[int]]) -> None:
    users = one_for_each(same)
    groups = [set(names) for names in same]
    joined: list[set[int]] = []
    for group in groups:
        touching = [other for other in joined if other & group]
        joined = [other for other in joined if not other & group]
        joined.append(group.union(*touching))
    assert set(users) == {name for group in groups for name in group}
    assert all(len({users[name] for name in group}) == 1 for group in joined)
    assert len(set(users.values())) == len(joined)

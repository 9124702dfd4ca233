"""Names of users for a target's lists: every spelling of a found user, nothing of anybody else."""

from dataclasses import replace
from typing import cast

from eas_redirect.activesync.authorization import Logon
from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.values import (
    Ambiguous,
    DirectoryAnswer,
    Found,
    Lookup,
    NotFound,
    RelationshipsAnswer,
    Unavailable,
)
from eas_redirect.judging.judge import Judge
from eas_redirect.planning.accounts import accounts_of
from eas_redirect.policy.verdict import Policy
from eas_redirect.telemetry.record import account_id
from tests.policy.builders import MOVED

ANNA = replace(
    MOVED, display_name="Anna Bell", dn="CN=Bell\\, Anna,OU=People,DC=contoso,DC=example"
)
KNOWN: dict[str, Lookup] = {
    "anna": Found(recipient=ANNA),
    "here": Found(recipient=replace(ANNA, home_mdb="CN=DB1", sam_account_name="here")),
    "two": Ambiguous(dns=("CN=A", "CN=B")),
    "down": Unavailable(error_type="timeout", message="DC1 is silent."),
}


class Directory:
    source = "ldap"

    def at_hand(self, logon: Logon, *, fresh: bool) -> None:
        """Nothing."""

    def relationships_at_hand(self, *, fresh: bool) -> None:
        """Nothing."""

    async def recipient(self, logon: Logon, *, fresh: bool) -> DirectoryAnswer:  # noqa: ARG002
        return DirectoryAnswer(lookup=KNOWN.get(logon.text, NotFound()), source="ldap")

    async def relationships(self, *, fresh: bool) -> RelationshipsAnswer:  # noqa: ARG002
        return RelationshipsAnswer(relationships=(), source="ldap")


async def test_whom_the_directory_finds_and_under_which_names() -> None:
    """Whether a mailbox has moved does not matter; who is nobody, several or no logon is left out,
    and is progress all the same."""
    asked = [*KNOWN, "nobody", ""]
    steps: list[None] = []
    judge = Judge(Policy(), cast("CachedDirectory", Directory()), "observe")
    found = await accounts_of(judge, asked, lambda: steps.append(None))
    assert list(found) == ["anna", "here"]
    assert found["anna"].logons == {
        *("anna@contoso.example", "anna.alt@contoso.example", "a.alt@contoso.example", "anna"),
    }
    assert found["anna"].shown == {"anna bell", "anna", "bell, anna"}
    assert found["anna"].account_id == account_id(ANNA.dn)
    assert "here" in found["here"].logons
    assert len(steps) == len(asked)

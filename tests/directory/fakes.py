"""A directory that answers what it is told to, and counts its questions."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from eas_redirect.activesync.authorization import Logon
from eas_redirect.directory.sight import DirectorySource
from eas_redirect.directory.values import (
    DirectoryAnswer,
    Found,
    Lookup,
    MovedAnswer,
    NotFound,
    OrganizationRelationship,
    Recipient,
    Relationships,
    RelationshipsAnswer,
    Unavailable,
    Watched,
)

DOWN = Unavailable(error_type="connection_refused", message="no server answers")
CLOUD = OrganizationRelationship(
    name="To the cloud",
    domain_names=("contoso.mail.example",),
    target_owa_url="http://outlook.com/owa",
)


def moved(name: str = "anna") -> Found:
    recipient = Recipient(
        dn=f"CN={name}", mail_nickname=name, target_address=f"SMTP:{name}@m.example"
    )
    return Found(recipient=recipient)


def local(name: str = "bert") -> Found:
    return Found(recipient=Recipient(dn=f"CN={name}", home_mdb="CN=DB01"))


class Clock:
    """A clock turned by hand. `during_sleep` is what happens while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.during_sleep: Callable[[], object] = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.during_sleep()


class FakeDirectory:
    """`gate`, when set to an unset event, holds every answer back until it is set."""

    source: DirectorySource = "ldap"

    def __init__(self) -> None:
        self.lookup: Lookup = NotFound()
        self.known: Relationships = (CLOUD,)
        self.age_s = 0.0
        self.asked: Counter[str] = Counter()
        self.relationships_asked = 0
        self.gone: set[str] = set()  # DNs of users who look moved
        self.watched: list[tuple[str, ...]] = []  # DNs of each such question
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = 0

    async def recipient(self, logon: Logon) -> DirectoryAnswer:
        self.asked[logon.text] += 1
        await self.gate.wait()
        return DirectoryAnswer(
            lookup=self.lookup, source="ldap", server="dc1.contoso.example", age_s=self.age_s
        )

    def meant_by(self, name: str) -> Lookup:
        self.asked[name] += 1
        return self.lookup

    async def relationships(self) -> RelationshipsAnswer:
        self.relationships_asked += 1
        await self.gate.wait()
        return RelationshipsAnswer(relationships=self.known, source="ldap", age_s=self.age_s)

    async def moved(self, users: Sequence[Watched]) -> MovedAnswer:
        """Whose DN stands in `gone`; nobody is told while the directory is `DOWN`."""
        self.watched.append(tuple(user.dn for user in users))
        await self.gate.wait()
        found = tuple(user for user in users if user.dn in self.gone)
        down = self.lookup if isinstance(self.lookup, Unavailable) else None
        return MovedAnswer(moved=down or found, source="ldap", age_s=self.age_s)

    def close(self) -> None:
        self.closed += 1

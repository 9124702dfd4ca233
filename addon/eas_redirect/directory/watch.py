"""Which of the known users whose devices wait have moved. Pure.

A directory is asked about those who wait, not about what has changed: that needs no state, works on
every server and also where an account may not read what changed, and costs nothing while nobody
waits. Only users who were asked about count, only if exactly one object answers for
them, and only if the directory can vouch that what is absent is not hidden.
"""

from collections.abc import Iterable, Sequence

from eas_redirect.directory.logons import doubt_about
from eas_redirect.directory.names import plain_dn
from eas_redirect.directory.sight import Sight
from eas_redirect.directory.values import MOST_WATCHED, Recipient, Watched


def watched(found: Recipient) -> Watched:
    """What must be known about a recipient to ask about it again."""
    return Watched(
        dn=found.dn,
        object_guid=found.object_guid,
        sam_account_name=found.sam_account_name,
        user_principal_name=found.user_principal_name,
    )


def checked(users: Sequence[Watched]) -> tuple[Watched, ...]:
    """The same users, each once. Raises ValueError if there are too many for one question."""
    if len(users) > MOST_WATCHED:
        raise ValueError(f"{len(users)} users in a question, and {MOST_WATCHED} are the most")
    return tuple(dict.fromkeys(users))


def looking_moved(
    users: Sequence[Watched], answered: Iterable[Recipient], sight: Sight
) -> tuple[Watched, ...]:
    """Those of `users` who appear to have moved, according to the objects returned, in the order
    of `users`. An object of somebody else does not count, and two objects of one user count for
    nobody."""
    by_guid: dict[str, list[Recipient]] = {}
    by_dn: dict[str, list[Recipient]] = {}
    for one in answered:
        if one.object_guid is not None:
            by_guid.setdefault(one.object_guid, []).append(one)
        by_dn.setdefault(plain_dn(one.dn), []).append(one)
    found: list[Watched] = []
    for user in dict.fromkeys(users):
        same = (
            by_guid.get(user.object_guid, ())
            if user.object_guid is not None
            else by_dn.get(plain_dn(user.dn), ())
        )
        if len(same) == 1 and _looks_moved(same[0], sight):
            found.append(user)
    return tuple(found)


def _looks_moved(one: Recipient, sight: Sight) -> bool:
    if not one.target_address or one.has_mailbox:
        return False
    return doubt_about(one, sight) is None

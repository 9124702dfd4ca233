"""The names by which the directory knows a user, to match the target's lists."""

import asyncio
from collections.abc import Callable, Sequence

from eas_redirect.directory.names import rdn_value
from eas_redirect.directory.values import Recipient
from eas_redirect.judging.explanation import AskedDevice, explain_user
from eas_redirect.judging.judge import Judge
from eas_redirect.report.handover import Account
from eas_redirect.telemetry.record import account_id

AT_ONCE = 8  # users that are asked for at the same time


async def accounts_of(
    judge: Judge, users: Sequence[str], progress: Callable[[], None] = lambda: None
) -> dict[str, Account]:
    """By the user as given. Users whom the directory does not find, or finds twice, are left
    out."""
    gate = asyncio.Semaphore(AT_ONCE)
    found: dict[str, Account] = {}

    async def one(user: str) -> None:
        async with gate:
            explained = await explain_user(judge, user, AskedDevice())
        if explained is not None and explained.recipient is not None:
            found[user] = _account(explained.recipient)
        progress()

    await asyncio.gather(*map(one, users))
    return found


def _account(recipient: Recipient) -> Account:
    addresses = (address.partition(":")[2] for address in recipient.proxy_addresses)
    logons = (recipient.user_principal_name, recipient.mail, recipient.sam_account_name, *addresses)
    shown = (recipient.display_name, recipient.mail_nickname, rdn_value(recipient.dn))
    return Account(
        logons=frozenset(name.lower() for name in logons if name),
        shown=frozenset(name.lower() for name in shown if name),
        account_id=account_id(recipient.dn),
    )

"""Whom the names of a wave mean: each is looked up in the directory as a logon is.

A name means one account, nobody or several. In `redirect.only` a name that does not mean exactly
one names nobody; in `redirect.except` it keeps back everybody whom it may mean. While the directory
does not answer, new names count as in doubt, and nothing already known is forgotten.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import assert_never

from eas_redirect.directory.names import plain_dn
from eas_redirect.directory.values import Ambiguous, Found, Lookup, NotFound, Unavailable
from eas_redirect.judging.judge import Judge
from eas_redirect.policy.waves import Criteria, UserNames, Wave, account_of

type AskDirectory = Callable[[str], Lookup]

AT_ONCE = 4  # questions to the directory, beside those that devices cause
SHOWN = 10  # names in one sentence


def ask_names(wave: Wave, ask: AskDirectory, patience_s: float) -> Wave:
    """The wave with the directory's answer for each name, `except` first. It blocks, so keep it
    off the event loop. After `patience_s` no new look-up begins: the remaining names stay as
    they were."""
    until_s = time.monotonic() + patience_s
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="eas-names") as threads:

        def one(name: str) -> Lookup | None:
            return None if time.monotonic() > until_s else ask(name)

        def table(criteria: Criteria) -> Criteria:
            users = criteria.users
            if users is None:
                return criteria
            answers = zip(users.all, threads.map(one, users.all), strict=True)
            return replace(criteria, users=_told(users, dict(answers)))

        exclude = table(wave.exclude)
        return Wave(only=table(wave.only), exclude=exclude)


def with_waves(judge: Judge, patience_s: float = 60.0) -> Judge:
    """The same judge, with its waves' names looked up. For commands; blocks."""
    wave = ask_names(judge.policy.wave, judge.directory.meant_by, patience_s)
    return replace(judge, policy=replace(judge.policy, wave=wave))


def _told(users: UserNames, answers: dict[str, Lookup | None]) -> UserNames:
    known: dict[str, str] = {}
    accounts = dict(users.accounts)
    nobody, several, unasked = [], [], []
    for name, lookup in answers.items():
        match lookup:
            case Found(recipient=recipient):
                dn = known[name] = plain_dn(recipient.dn)
                if account := account_of(recipient):
                    accounts[dn] = account
            case NotFound():
                nobody.append(name)
            case Ambiguous():
                several.append(name)
            case Unavailable() | None if name in users.known:
                known[name] = users.known[name]
            case Unavailable() | None if name in users.nobody:
                nobody.append(name)
            case Unavailable() | None if name in users.several:
                several.append(name)
            case Unavailable() | None:
                unasked.append(name)
            case _:
                assert_never(lookup)
    lost = {dn for name, dn in users.known.items() if name not in known}
    lost |= {users.accounts[dn] for dn in lost if dn in users.accounts}
    return UserNames(
        known=known,
        accounts={dn: accounts[dn] for dn in known.values() if dn in accounts},
        nobody=tuple(nobody),
        several=tuple(several),
        unasked=tuple(unasked),
        former=frozenset(lost) | (users.former if nobody or several or unasked else frozenset()),
    )


def in_doubt(table: str, users: UserNames | None, *, starting: bool = False) -> tuple[str, ...]:
    """What is wrong with the names of `only` or `except`, one sentence each, with the
    consequence. `starting`: for a start that is refused, with what to do instead."""
    if users is None:
        return ()
    key = f"redirect.{table}"
    kept = "whoever may be meant is not redirected" if table == "except" else "they name nobody"
    nobody = several = kept
    if starting:
        nobody, several = "correct the name, or take it out", "write the UPN, or DOMAIN\\user"
    elif table == "except":
        several = "all of them stay"
    found: list[str] = []
    if users.nobody:
        found.append(f"{key}: the directory knows nobody called {_some(users.nobody)}: {nobody}")
    if users.several:
        found.append(f"{key}: the directory knows several called {_some(users.several)}: {several}")
    if users.unasked:
        count = _count(users.unasked)
        found.append(f"{key}: the directory could not be asked for {count}: until then {kept}")
    return tuple(found)


def doubts(wave: Wave) -> tuple[str, ...]:
    """The same for both tables."""
    return (*in_doubt("except", wave.exclude.users), *in_doubt("only", wave.only.users))


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


def _count(names: Sequence[str]) -> str:
    return "1 name" if len(names) == 1 else f"{len(names)} names"

"""Active Directory over LDAP as a `Directory`: the event loop hands questions to worker threads and
never blocks."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from eas_redirect.activesync.authorization import Logon, parse_logon
from eas_redirect.directory.ldap.credentials import BindCredentials
from eas_redirect.directory.ldap.faults import Fault
from eas_redirect.directory.ldap.forest import LinkedForest, MapKeeper
from eas_redirect.directory.ldap.links import Connect, Links, Role, Session
from eas_redirect.directory.ldap.servers import COOL_DOWN_S, ServerAddress, Servers, parse_server
from eas_redirect.directory.ldap.session import LDAPSession
from eas_redirect.directory.ldap.workers import Deadline, Workers
from eas_redirect.directory.logons import account_domain, resolve
from eas_redirect.directory.names import is_dn
from eas_redirect.directory.sight import DirectorySource
from eas_redirect.directory.values import (
    AccountDomain,
    DeviceLists,
    DirectoryAnswer,
    DirectoryDevice,
    DirectorySettings,
    Found,
    Lookup,
    MovedAnswer,
    NotFound,
    Recipient,
    RelationshipsAnswer,
    Unavailable,
    Watched,
)
from eas_redirect.directory.watch import checked

_LEAST_REST_S = 0.05  # between two tries of a server, whatever the cool-down


class ActiveDirectory:
    """A forest's domain controllers and global catalogues as a `Directory`. Nothing is connected
    before the first question."""

    source: DirectorySource = "ldap"

    def __init__(
        self,
        settings: DirectorySettings,
        credentials: BindCredentials | None = None,
        *,
        connect: Connect | None = None,
        cool_down_s: float = COOL_DOWN_S,
        account_forests: "dict[str, ActiveDirectory] | None" = None,
    ) -> None:
        """Raises ValueError for a URL in `servers` that is none.

        `credentials`, when handed in, are shared with others that bind by the same settings;
        `connect` takes the place of real connections. The forests of `directory.account_domains`,
        by name, are asked for SIDs and closed with this one; `account_forests` take their places.
        """
        self._settings = settings
        self._account_forests = {
            domain.name: ActiveDirectory(account_forest(settings, domain), cool_down_s=cool_down_s)
            for domain in settings.account_domains
            if domain.servers
        } | (account_forests or {})
        self._connect = connect or _connecting(settings, credentials or BindCredentials(settings))
        self._maps = MapKeeper()
        self._servers = _by_role(settings, cool_down_s)
        self._timers: dict[Role, asyncio.TimerHandle] = {}
        self._closed = False
        self._workers = Workers(settings.pool_size, self._make_links, "eas-directory")

    async def recipient(self, logon: Logon) -> DirectoryAnswer:
        began = time.perf_counter()
        steps: list[str] = []
        account = await self._account(logon)

        def question(links: Links, deadline: Deadline) -> tuple[Lookup, str | None]:
            forest = LinkedForest(links, deadline, self._settings, self._maps)
            lookup = resolve(
                logon,
                forest,
                self._settings.default_domain,
                steps,
                self._settings.account_domains,
                account,
            )
            return lookup, links.last_server

        lookup: Lookup
        try:
            lookup, server = await self._ask("users", question)
        except Fault as fault:
            lookup, server = fault.as_unavailable(), None
        return DirectoryAnswer(
            lookup=lookup,
            source=self.source,
            server=server,
            duration_ms=(time.perf_counter() - began) * 1000,
            steps=tuple(steps),
        )

    async def _account(self, logon: Logon) -> Lookup | None:
        """Who it is in the account forest of the domain that the logon names, if it names one."""
        named = account_domain(logon, self._settings.account_domains)
        forest = self._account_forests.get(named.name) if named is not None else None
        return (await forest.recipient(logon)).lookup if forest is not None else None

    def meant_by(self, name: str) -> Lookup:
        settings = self._settings
        logon = None if is_dn(name) else parse_logon(name)
        named = account_domain(logon, settings.account_domains) if logon is not None else None
        theirs = self._account_forests.get(named.name) if named is not None else None
        account = theirs.meant_by(name) if theirs is not None else None

        def question(links: Links, deadline: Deadline) -> Lookup:
            forest = LinkedForest(links, deadline, settings, self._maps)
            if logon is not None:
                return resolve(
                    logon, forest, settings.default_domain, [], settings.account_domains, account
                )
            found = forest.account_at(name) if is_dn(name) else None
            return NotFound() if found is None else Found(recipient=found)

        limit = self._settings.lookup_timeout_s
        try:
            if (fault := self._servers["users"].why_none()) is not None:
                raise fault
            job = self._workers.submit(question, Deadline(time.monotonic() + 0.95 * limit))
            try:
                return job.future.result(limit)
            except TimeoutError:
                job.abandon()
                raise Fault("timeout", f"no answer within {limit:g} s") from None
        except Fault as fault:
            return fault.as_unavailable()

    async def relationships(self) -> RelationshipsAnswer:
        def question(links: Links, deadline: Deadline) -> RelationshipsAnswer:
            return LinkedForest(links, deadline, self._settings, self._maps).relationships()

        try:
            return await self._ask("configuration", question)
        except Fault as fault:
            return RelationshipsAnswer(relationships=fault.as_unavailable(), source=self.source)

    async def moved(self, users: Sequence[Watched]) -> MovedAnswer:
        asked = checked(users)

        def question(links: Links, deadline: Deadline) -> MovedAnswer:
            forest = LinkedForest(links, deadline, self._settings, self._maps)
            found = forest.moved(asked)
            return MovedAnswer(moved=found, source=self.source, server=links.last_server)

        try:
            return await self._ask("users", question)
        except Fault as fault:
            return MovedAnswer(moved=fault.as_unavailable(), source=self.source)

    async def everyone(self) -> tuple[Recipient, ...] | Unavailable:
        return await self._census(LinkedForest.everyone)

    async def devices(self, user_dn: str) -> tuple[DirectoryDevice, ...] | Unavailable:
        return await self._census(lambda forest: forest.devices(user_dn))

    async def device_lists(self, user_dn: str) -> DeviceLists | Unavailable:
        return await self._census(lambda forest: forest.device_lists(user_dn))

    def close(self) -> None:
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._workers.close()
        for forest in self._account_forests.values():
            forest.close()

    async def _census[R](self, ask: Callable[[LinkedForest], R]) -> R | Unavailable:
        def question(links: Links, deadline: Deadline) -> R:
            return ask(LinkedForest(links, deadline, self._settings, self._maps))

        try:
            return await self._ask("users", question)
        except Fault as fault:
            return fault.as_unavailable()

    async def _ask[R](self, role: Role, question: Callable[[Links, Deadline], R]) -> R:
        """Wait for a worker's answer, but never longer than `lookup_timeout_s`."""
        if (fault := self._servers[role].why_none()) is not None:
            self._watch(role)
            raise fault
        limit = self._settings.lookup_timeout_s
        # A worker's own limit comes first: it knows better what has failed.
        job = self._workers.submit(question, Deadline(time.monotonic() + 0.95 * limit))
        answer = asyncio.wrap_future(job.future)
        answer.add_done_callback(partial(self._answered, role))
        try:
            done, _ = await asyncio.wait({answer}, timeout=limit)
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_later(limit, job.abandon)
            raise
        if not done:
            job.abandon()
            message = f"no answer within directory.lookup_timeout_s ({limit:g} s)"
            raise self._servers[role].why_none() or Fault("timeout", message)
        return answer.result()

    def _answered[R](self, role: Role, answer: asyncio.Future[R]) -> None:
        """The caller may have given up: then its exception must not be reported as lost."""
        if not answer.cancelled():
            answer.exception()
        self._watch(role)

    def _watch(self, role: Role) -> None:
        """While a server does not work, try it again each time that it has rested."""
        due = self._servers[role].next_probe()
        if due is None or role in self._timers or self._closed:
            return
        delay = max(_LEAST_REST_S, due - time.monotonic())
        self._timers[role] = asyncio.get_running_loop().call_later(delay, self._probe, role)

    def _probe(self, role: Role) -> None:
        """Let a worker try a rested server, and keep watching."""
        self._timers.pop(role, None)
        address = self._servers[role].to_probe()
        if address is None:
            self._watch(role)
            return
        loop = asyncio.get_running_loop()
        limit = self._settings.lookup_timeout_s

        def probe(links: Links, deadline: Deadline) -> None:
            links.probe(role, address, deadline)

        def probed(_future: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may have been closed since
                loop.call_soon_threadsafe(self._watch, role)

        with contextlib.suppress(Fault):  # closed meanwhile
            job = self._workers.submit(probe, Deadline(time.monotonic() + 0.95 * limit))
            loop.call_later(limit, job.abandon)
            job.future.add_done_callback(probed)

    def _make_links(self) -> Links:
        return Links(
            self._servers,
            self._connect,
            self._settings.lookup_timeout_s,
            asks_catalogue=_asks_catalogue(self._settings),
        )


def _connecting(settings: DirectorySettings, credentials: BindCredentials) -> Connect:
    def connect(
        address: ServerAddress, patience_s: float, opening: Callable[[Session], None]
    ) -> Session:
        session = LDAPSession(address, settings, credentials)
        opening(session)
        session.open(patience_s)
        return session

    return connect


def account_forest(settings: DirectorySettings, domain: AccountDomain) -> DirectorySettings:
    """The same account asks another forest's own controllers, which know no Exchange."""
    return replace(
        settings,
        servers=domain.servers,
        search_base=None,
        configuration_base=None,
        default_domain=None,
        account_domains=(),
        tells_sids=True,
    )


def _asks_catalogue(settings: DirectorySettings) -> bool:
    return any(parse_server(url).is_global_catalogue for url in settings.servers)


def _by_role(settings: DirectorySettings, cool_down_s: float) -> dict[Role, Servers]:
    """Users: the global catalogues if there are any. Configuration: domain controllers, which the
    machines of global catalogues are too. The same servers share their state and connections."""
    addresses = tuple(map(parse_server, settings.servers))
    catalogues = tuple(a for a in addresses if a.is_global_catalogue)
    controllers = tuple(a for a in addresses if not a.is_global_catalogue)
    users = Servers(catalogues or controllers, time.monotonic, cool_down_s)
    if not catalogues:
        return {"users": users, "configuration": users}
    controllers = controllers or tuple(a.controller() for a in catalogues)
    return {"users": users, "configuration": Servers(controllers, time.monotonic, cool_down_s)}

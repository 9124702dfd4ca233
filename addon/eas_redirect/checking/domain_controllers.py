"""Each domain controller checked by itself, and what the directory cannot vouch for.

The checks: connect, TLS, bind, naming contexts, clock.
"""

import datetime
import re
from collections.abc import Iterator
from dataclasses import replace

from eas_redirect.checking.certificate_dates import judge_dates
from eas_redirect.checking.tried import (
    Check,
    clock_check,
    failed,
    good,
    in_two,
    skipped,
    unreachable,
    warning,
)
from eas_redirect.directory.ldap.credentials import BindCredentials
from eas_redirect.directory.ldap.faults import Fault
from eas_redirect.directory.ldap.inspection import Inspection, inspect
from eas_redirect.directory.ldap.servers import parse_server
from eas_redirect.directory.names import dns_name, domain_dn, plain_dn
from eas_redirect.directory.sight import Sight
from eas_redirect.directory.values import DirectorySettings, Recipient, Unavailable

_COMMA = re.compile(r"(?<!\\),")  # between two parts of a DN (RFC 4514 2.1)
_TLS_FAULTS = frozenset({"certificate", "tls"})
_BEFORE_CONNECTING = frozenset(
    {"certificate", "no_password"}
)  # a file of this machine is not right
_NOT_AGAIN = "not tried after that failure: each refusal counts towards a lock-out of the account"


def check_servers(settings: DirectorySettings, credentials: BindCredentials) -> Iterator[Check]:
    """Every configured server, including those that are only asked when others fail. The account
    is tried until a server refuses it, and then no more: every attempt counts towards a
    lock-out."""
    refused = False
    for url in settings.servers:
        checks = list(_check_server(url, settings, credentials, refused=refused))
        refused = refused or any(c.subject == f"{url} bind" and c.state == "failed" for c in checks)
        yield from checks


def _check_server(
    url: str, settings: DirectorySettings, credentials: BindCredentials, *, refused: bool
) -> Iterator[Check]:
    if url.startswith("ldap://") and not settings.start_tls and settings.bind == "simple":
        advice = "Use ldaps:// or directory.start_tls = true."
        yield warning(f"{url} encryption", "the password crosses the network in clear", advice)
    try:
        seen = inspect(
            url, replace(settings, bind="anonymous") if refused else settings, credentials
        )
    except Fault as fault:
        yield from _check_fault(url, fault)
        return
    yield good(f"{url} connect", f"answered in {seen.duration_ms:.0f} ms")
    yield from _check_tls(url, settings, seen)
    yield skipped(f"{url} bind", _NOT_AGAIN) if refused else _check_bind(url, settings)
    yield _check_contexts(url, settings, seen)
    yield from _check_clock(url, seen)


def _check_fault(url: str, fault: Fault) -> Iterator[Check]:
    """Which step failed; the ones before it succeeded."""
    what, advice = in_two(fault.message)
    is_local = fault.scope == "account" and fault.error_type in _BEFORE_CONNECTING
    if not is_local and (fault.scope == "account" or fault.error_type in _TLS_FAULTS):
        yield good(f"{url} connect", "answered")
    if fault.error_type in _TLS_FAULTS:
        yield failed(f"{url} TLS", what, advice)
    elif fault.scope == "account":
        yield failed(f"{url} bind", what, advice)
        return
    else:
        yield unreachable(f"{url} connect", what, advice)
    yield skipped(f"{url} bind", "not tried")


def _check_tls(url: str, settings: DirectorySettings, seen: Inspection) -> Iterator[Check]:
    if seen.certificate is None:
        return
    now = datetime.datetime.now(datetime.UTC)
    if not settings.verify:
        advice = "Set directory.ca_file to the CA that issued it, and directory.verify = true."
        yield warning(f"{url} TLS", f"{seen.tls_version}, and anybody may pose as it", advice)
    else:
        yield good(f"{url} TLS", f"{seen.tls_version}, the certificate is believed")
    yield judge_dates(f"{url} certificate", seen.certificate, now)


def _check_bind(url: str, settings: DirectorySettings) -> Check:
    if settings.bind == "anonymous":
        advice = "Active Directory shows nothing to the nameless: use an account."
        return warning(f"{url} bind", "anonymous", advice)
    who = settings.bind_user if settings.bind == "simple" else "Kerberos"
    return good(f"{url} bind", f"as {who}")


def _check_contexts(url: str, settings: DirectorySettings, seen: Inspection) -> Check:
    root = seen.root_dse
    users = settings.search_base or root.default_naming_context
    configuration = settings.configuration_base or root.configuration_naming_context
    if not users:
        finding = "the server names no domain of its own"
        return failed(f"{url} naming contexts", finding, "Set directory.search_base.")
    if not configuration:
        finding = "the server names no configuration partition"
        return failed(f"{url} naming contexts", finding, "Set directory.configuration_base.")
    if seen.absent:
        key = seen.absent[0]
        finding = f"{getattr(settings, key)} is not there, or may not be read"
        return failed(f"{url} naming contexts", finding, f"Check directory.{key}.")
    if parse_server(url).is_global_catalogue:
        users = settings.search_base or "all domains of the catalogue"
    return good(f"{url} naming contexts", f"users in {users}, relationships in {configuration}")


def _check_clock(url: str, seen: Inspection) -> Iterator[Check]:
    if (there := seen.current_time) is None:
        return
    yield clock_check(f"{url} clock", there, failed)  # Kerberos binds fail by it


def check_sight(sight: Sight | None) -> Iterator[Check]:
    """None: it could not be asked, and other lines say why."""
    if sight is None:
        return
    for remark in sight.remarks():
        judge = failed if remark.blind else warning
        advice = f"{remark.advice[:1].upper()}{remark.advice[1:]}."
        yield judge(f"directory: {remark.kind.replace('_', ' ')}", remark.finding, advice)
    seen = [dns_name(domain.nc_name) for domain in sight.domains if domain.mailboxes]
    if seen:
        yield good("directory: mailboxes", f"can be seen in {', '.join(seen)}")


def check_accounts(
    found: tuple[Recipient, ...] | Unavailable, sight: Sight | None
) -> Iterator[Check]:
    """Whether some accounts look as if they had mailboxes here that may not be read, although those
    of others may. Whoever has an alias has a mailbox here, or a `targetAddress` that leads to one.
    """
    subject = "directory: hidden mailboxes"
    if sight is None:
        return
    if isinstance(found, Unavailable):
        yield skipped(subject, f"not all accounts could be read: {found.message}")
        return
    showing: set[str] = set()  # containers
    odd: dict[str, list[str]] = {}  # DNs by container
    for one in found:
        container = _COMMA.split(plain_dn(one.dn), maxsplit=1)[-1]
        if one.has_mailbox:
            showing.add(container)
        elif one.mail_nickname and one.target_address is None:
            odd.setdefault(container, []).append(one.dn)
    believed = [
        dns
        for container, dns in odd.items()
        if container not in showing and sight.sees_mailboxes(domain_dn(dns[0]), says_remote=False)
    ]
    if believed:
        count, first = sum(map(len, believed)), believed[0][0]
        finding = (
            f"{count} users have a mailNickname, and show neither a mailbox nor a targetAddress, in"
            f" {len(believed)} containers in which nobody shows a mailbox; first {first}"
        )
        advice = (
            "If their mailboxes are here, let the account read homeMDB and msExchHomeServerName"
            " there: somebody there who forwards would be redirected."
        )
        yield warning(subject, finding, advice)

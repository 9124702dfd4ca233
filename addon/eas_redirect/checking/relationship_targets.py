"""The organization relationships: what each leads to, seen through the policy."""

import datetime
import http.client
import ssl
from collections.abc import Iterator

from eas_redirect.activesync.host_port import HostPort, ServerURL
from eas_redirect.certificates.handshake import look
from eas_redirect.checking.certificate_dates import judge_dates
from eas_redirect.checking.legacy_server import ask_options, judge_options
from eas_redirect.checking.tried import Check, failed, good, in_two, unreachable, warning
from eas_redirect.directory.relationships import standing
from eas_redirect.directory.sight import DirectorySource
from eas_redirect.directory.values import (
    Drift,
    OrganizationRelationship,
    RelationshipsAnswer,
    Unavailable,
)
from eas_redirect.policy import reasons
from eas_redirect.policy.decision import Policy
from eas_redirect.policy.reasons import Reason
from eas_redirect.policy.relationship import findings
from eas_redirect.policy.target import is_own_name, leads_to
from eas_redirect.policy.verdict import Endpoint

_HARMLESS = frozenset({"host_mapped"})
_WRONG = frozenset({Reason.TARGET_OWA_URL_INVALID, Reason.RELATIONSHIP_CONTRADICTORY})


def check_relationships(answer: RelationshipsAnswer, policy: Policy) -> Iterator[Check]:
    """One line for each relationship of the directory and of the configuration."""
    known = answer.relationships
    if isinstance(known, Unavailable):
        yield unreachable("relationships", known.message)
        known = ()
    elif not known:
        yield _none_readable(policy, answer.source)
    else:
        yield good("relationships", f"{len(known)} can be read")
        for drift in standing(known):
            yield _odd(drift)
    in_order = sorted(known, key=lambda relationship: relationship.name.lower())
    for relationship in (*policy.relationships, *in_order):
        yield _check_one(relationship, policy)


def _odd(drift: Drift) -> Check:
    if drift.kind == "domain_names_unknown":
        advice = "Export it with all of its domain names."
        return failed(f"relationship {drift.relationship}", drift.message, advice)
    advice = "Leave the domain to one of them."
    return failed(f"domain {drift.domain}", drift.message, advice)


def _none_readable(policy: Policy, source: DirectorySource) -> Check:
    advice = {
        "snapshot": "The export of the configuration partition is missing: run the second ldifde"
        " line of docs/operate.md (-d CN=Configuration,…) and join both files",
        "ldap": "Let the account read CN=Federation below CN=Microsoft Exchange,CN=Services in the"
        " configuration partition, with what is in it",
    }[source]
    advice = f"{advice}; or write redirect.relationships."
    finding = "not one organization relationship can be read"
    judge = warning if policy.relationships else failed
    return judge("relationships", finding, advice)


def _check_one(relationship: OrganizationRelationship, policy: Policy) -> Check:
    subject = f"relationship {relationship.name}"
    domains = ", ".join(relationship.domain_names) or "no domain"
    if not relationship.enabled:
        finding = f"disabled: nobody in {domains} is redirected"
        return warning(subject, finding, "Enable it, if its users are to move.")
    target = leads_to(relationship, policy)
    if isinstance(target, Endpoint) and is_own_name(target.host, policy.own_names):
        return failed(
            subject,
            f"{domains} → {target.host}, which is this proxy itself",
            "Set its TargetOwaURL to where the mailboxes are.",
        )
    for found in findings((relationship,), policy):
        if found.kind in _HARMLESS:
            break
        judge = failed if found.kind in _WRONG else warning
        advice = reasons.advice(found.kind)
        return judge(subject, *((found.message, advice) if advice else in_two(found.message)))
    return good(subject, f"{domains} → {_where(target)}")


def _where(target: object) -> str:
    if not isinstance(target, Endpoint):
        return "nowhere"
    mapped = f" (by the host map, from {target.named_host})" if target.mapped else ""
    return f"{target.location}{mapped}"


def targets(answer: RelationshipsAnswer, policy: Policy) -> tuple[str, ...]:
    """The hosts that phones would be sent to, each once."""
    known = () if isinstance(answer.relationships, Unavailable) else answer.relationships
    enabled = [r for r in (*policy.relationships, *known) if r.enabled]
    found = (leads_to(r, policy) for r in enabled)
    return tuple(dict.fromkeys(t.host for t in found if isinstance(t, Endpoint)))


def probe(host: str, timeout_s: float, port: int = 443) -> Iterator[Check]:
    """Is the target reachable, with a certificate that a phone trusts, and with ActiveSync?
    Phones use port 443."""
    subject = f"target {host}"
    try:
        seen = look((host, port), timeout_s, old=False)
    except ssl.SSLError as error:
        yield failed(subject, f"TLS failed: {error.reason}", "Is it the right server?")
        return
    except OSError as error:
        advice = "Can this machine resolve and reach it? Phones must."
        yield unreachable(subject, f"no connection: {error.strerror or error}", advice)
        return
    if seen.distrust is not None:
        finding = f"phones will refuse its certificate: {seen.distrust.words}"
        yield failed(subject, finding, "Map the name to one that the certificate bears.")
        return
    yield good(subject, f"answers with {seen.version}, and the certificate is believed")
    yield judge_dates(
        f"{subject} certificate", seen.certificate, datetime.datetime.now(datetime.UTC)
    )
    yield _try_eas(f"{subject} OPTIONS", host, port, timeout_s)


def _try_eas(subject: str, host: str, port: int, timeout_s: float) -> Check:
    """Whether ActiveSync is served there. A warning at most: some targets answer differently
    elsewhere."""
    try:
        status, headers = ask_options(
            ServerURL(scheme="https", address=HostPort(host, port)), timeout_s
        )
    except (OSError, http.client.HTTPException):
        finding = "no HTTP answer to OPTIONS"
    else:
        judged = judge_options(subject, status, headers)
        if judged.state == "good":
            return judged
        finding = judged.finding
    return warning(subject, finding, "Is ActiveSync served there? Else map the host.")

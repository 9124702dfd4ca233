"""All that `check` tries, in the order in which it is needed. Blocks where it waits for servers."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from eas_redirect.activesync.host_port import ServerURL
from eas_redirect.checking.certificate_dates import check_front
from eas_redirect.checking.domain_controllers import check_servers, check_sight
from eas_redirect.checking.legacy_server import check_autodiscover, check_upstream
from eas_redirect.checking.local import check_files, check_mitmproxy
from eas_redirect.checking.phones_port import check_pages_port, check_port
from eas_redirect.checking.relationship_targets import check_relationships, probe, targets
from eas_redirect.checking.tried import Check, failed, good, in_two, unreachable, warning
from eas_redirect.configuration.config import Config, directory_settings
from eas_redirect.configuration.sources import set_by_environment
from eas_redirect.directory import adoption
from eas_redirect.directory.adoption import acceptance, is_accepted
from eas_redirect.directory.ldap.active_directory import account_forest
from eas_redirect.directory.ldap.credentials import BindCredentials
from eas_redirect.directory.open import remarks
from eas_redirect.directory.snapshot import Snapshot
from eas_redirect.directory.values import Directory, DirectorySettings, RelationshipsAnswer
from eas_redirect.judging.explanation import Explanation
from eas_redirect.judging.wave_names import in_doubt
from eas_redirect.policy.decision import Policy
from eas_redirect.policy.reasons import in_order
from eas_redirect.policy.verdict import DiscoveryPolicy
from eas_redirect.policy.waves import Wave
from eas_redirect.telemetry.record import Carrier
from eas_redirect.telemetry.web import ask_running


def check_user(name: str, explanation: Explanation | None) -> Check:
    """`explanation` is None for what is no logon at all."""
    subject = f"user {name}"
    if explanation is None:
        advice = "Write a UPN, DOMAIN\\user, an address or an account name."
        return failed(subject, "this is no logon", advice)
    verdict = explanation.judgement.verdict
    if explanation.location is not None:
        return good(subject, f"{verdict.reason}: to {explanation.location}")
    finding = f"{verdict.reason}: {verdict.detail}"
    if explanation.judgement.out_of_reach:
        return unreachable(subject, finding)
    if in_order(verdict.reason):
        return good(subject, finding)
    return failed(subject, finding, f'eas-redirect explain "{name}" shows each step.')


MITMPROXY_DIRECTORY = Path("~/.mitmproxy")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckScope:
    """What to try beside the configuration and the directory."""

    upstream: ServerURL | None = None
    upstream_ca: str | None = None
    upstream_name: str | None = None
    upstream_old: bool = False  # TLS 1.0 is allowed
    host_names: tuple[str, ...] = ()
    autodiscover: DiscoveryPolicy = field(default_factory=DiscoveryPolicy)
    min_protocol_version: str = "14.0"
    probe: bool = False
    timeout_s: float = 10.0
    mitmproxy_directory: Path = MITMPROXY_DIRECTORY
    carrier: Carrier = "mitmproxy"


def check_here(config: Config, path: Path, scope: CheckScope) -> Iterator[Check]:
    """What needs no server."""
    yield good("configuration", f"{path}: mode {config.mode}")
    if keys := set_by_environment():
        yield good("environment", f"sets {', '.join(keys)}")
    yield from check_files(config)
    yield from check_front(config, scope.carrier)
    yield from check_pages_port(config, scope.timeout_s)
    if scope.carrier == "haproxy":
        return
    yield from check_port(config, scope.timeout_s)
    yield from check_mitmproxy(scope.mitmproxy_directory.expanduser())
    if scope.upstream is not None and scope.upstream.scheme == "https":
        finding = "`eas-redirect run` opens none; mitmdump and --stock do, and say how to close it"
        yield good("UDP port", finding)


def check_directory(config: Config, credentials: BindCredentials) -> Iterator[Check]:
    """Each server, those of account forests too."""
    if config.directory.snapshot is not None:
        return
    settings = directory_settings(config)
    yield from _check_forest(settings, credentials)
    for domain in settings.account_domains:
        if domain.servers:
            theirs = account_forest(settings, domain)
            yield from _check_forest(theirs, BindCredentials(theirs))


def _check_forest(settings: DirectorySettings, credentials: BindCredentials) -> Iterator[Check]:
    """One that does not answer while another does is a failure, not an outage."""
    checks = list(check_servers(settings, credentials))
    some_answer = any(c.subject.endswith(" bind") and c.state == "good" for c in checks)
    for check in checks:
        is_spare = some_answer and check.state == "unreachable"
        yield replace(check, state="failed") if is_spare else check


def check_snapshot(
    directory: Directory, settings: DirectorySettings, file: Path | None, *, accept: bool
) -> Iterator[Check]:
    """What a snapshot holds, and whether `run` adopts it. Servers have their own lines. `accept`:
    somebody says that it is right, whatever it has lost."""
    if not isinstance(directory, Snapshot) or file is None:
        return
    if directory.partial is not None:
        yield failed("directory.snapshot", *in_two(directory.partial))
        return
    if accept:
        yield _accept(file)
    if directory.unended is not None and not is_accepted(file):
        yield failed("directory.snapshot", *in_two(directory.unended))
    found = f"recipients: {len(directory)}, with targetAddress: {directory.targeted}"
    if len(directory) and not directory.targeted:
        advice = "If somebody has moved already, export targetAddress (docs/operate.md)."
        yield warning("directory.snapshot", f"{found}: nobody can be redirected", advice)
    else:
        yield good("directory.snapshot", found)
    for remark in remarks(directory, settings):
        yield warning("directory.snapshot", remark, "Correct the file, or export it again.")


def check_adoption(config: Config, timeout_s: float) -> Iterator[Check]:
    """Whether a proxy that runs with this configuration holds the snapshot's file back. Where none
    answers there is nothing to say."""
    listen = config.metrics.listen
    if config.directory.snapshot is None or not listen:
        return
    try:
        _, figures = ask_running(listen, "/metrics", timeout_s)
    except OSError:
        return
    if b"\neas_snapshot_good 0.0\n" in figures:
        finding = (
            f"the proxy at {listen} holds this file back, and the snapshot before it stays in"
            " force: its log and its status page say why"
        )
        advice = "Export it again. If it is right, run eas-redirect check --accept-snapshot."
        yield failed("directory.snapshot", finding, advice)


def _accept(file: Path) -> Check:
    try:
        adoption.accept(file)
    except OSError as error:
        finding = f"{acceptance(file)} cannot be written: {error.strerror}"
        return failed("directory.snapshot", finding, "Run it as somebody who may write there.")
    finding = f"accepted as it is now, in {acceptance(file)}: a running proxy adopts it at once"
    return good("directory.snapshot", finding)


def check_waves(mode: str, wave: Wave) -> Iterator[Check]:
    """Who is meant, and every name that does not tell one account."""
    yield good("redirect", f"{mode} for {wave.meant}")
    for table, users in (("except", wave.exclude.users), ("only", wave.only.users)):
        if users is None:
            continue
        subject = f"redirect.{table} users"
        right = "Write a UPN or DOMAIN\\user that is right"
        if not users.doubtful:
            yield good(subject, f"{len(users.known)} of {len(users.all)} names tell one account")
        for doubt in in_doubt(table, users):
            finding = doubt.removeprefix(f"redirect.{table}: ")
            if finding.startswith("the directory could not"):
                yield unreachable(subject, finding)
            elif table == "except":
                yield failed(subject, finding, f"{right}: as it is, a start is refused.")
            else:
                yield warning(subject, finding, f"{right}, or take the name out.")


def check_policy(answer: RelationshipsAnswer, policy: Policy, scope: CheckScope) -> Iterator[Check]:
    yield from check_sight(answer.sight)
    yield from check_relationships(answer, policy)
    if scope.probe:
        for host in targets(answer, policy):
            yield from probe(host, scope.timeout_s)


def check_exchange(scope: CheckScope) -> Iterator[Check]:
    if scope.upstream is not None:
        yield from check_upstream(
            scope.upstream,
            scope.timeout_s,
            scope.upstream_ca,
            only=scope.upstream_name,
            also=scope.host_names,
            old=scope.upstream_old,
            min_protocol_version=scope.min_protocol_version,
        )
        if scope.autodiscover.phones != "off":
            yield from check_autodiscover(
                scope.upstream, scope.timeout_s, scope.host_names, weak=scope.autodiscover.weak
            )

"""eas-redirect.toml → `Config`: every key of the file, all problems at once with their places.

The tables of the file come first, then what no single key can tell, then the reading. `policy`,
`directory_settings` and `cache_settings` hand the other rooms the parts that they need.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from eas_redirect.activesync.host_port import ServerURL, read_host_port, read_server_url
from eas_redirect.configuration.kinds import (
    UPSTREAM_PORTS,
    AccountDomainValue,
    DistinguishedName,
    DomainName,
    EnvironmentVariable,
    HostGlob,
    HostName,
    InputFile,
    JournalPath,
    JudgeAddress,
    LdapUrl,
    Listen,
    ListenValue,
    LogonDomain,
    Lower,
    NetworkValue,
    OutputFile,
    PagesListen,
    SecretFile,
    Several,
    Text,
    UpstreamAddress,
    UserName,
    UsersFile,
    WeakStatus,
)
from eas_redirect.configuration.problems import (
    KeyPath,
    dotted,
    is_text_key,
    known_keys,
    leaves,
    problem_in_words,
)
from eas_redirect.configuration.sources import (
    ENVIRONMENT_ALONE,
    AllSources,
    Override,
    collect,
)
from eas_redirect.configuration.user_list import (
    UserListError,
    blank_in,
    read_list,
    read_users,
)
from eas_redirect.directory.values import (
    AccountDomain,
    CacheSettings,
    DirectorySettings,
    OrganizationRelationship,
)
from eas_redirect.policy.decision import Policy
from eas_redirect.policy.exchange_online import DEFAULT_HOST_MAP
from eas_redirect.policy.target import Refused, endpoint
from eas_redirect.policy.verdict import DiscoveryPolicy, Mode
from eas_redirect.policy.waves import Criteria, Wave, user_names

type ProtocolVersion = Literal["2.5", "12.0", "12.1", "14.0", "14.1", "16.0", "16.1"]


JUDGE_SOCKET = "unix:/run/eas-redirect/judge.sock"
# MobileSyncRedirectBypassClientPrefixes as Exchange has it (KB 3035227).
# fmt: off
LISTED_PREFIXES = (
    "Acer", "ADR9", "Ally", "Amazon", "Android", "ASUS", "EasClient", "FUJITSU", "HTC", "HUAWEI",
    "LG", "LS", "Moto", "Mozilla", "NEC", "Nokia", "Palm", "PANASONIC", "PANTECH", "Remoba",
    "Samsung", "SEMC", "SHARP", "SONY-", "TOSHIBA", "Vortex", "VS", "ZTE",
)
# fmt: on
JOURNAL_PATH = "eas-journal.jsonl"  # relative to the file, as every path in it
_MONTH_S = 31 * 86400.0
_Life = Annotated[float, Field(ge=0, le=_MONTH_S)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class ProxyConfig(_Table):
    """What `run`, `haproxy` and `check` share."""

    upstream: UpstreamAddress | None = None
    listen: ListenValue = Listen("", 443)
    cert: InputFile | None = None
    upstream_ca: InputFile | None = None
    upstream_name: HostName | None = None
    upstream_tls_min: Literal["1.0", "1.2"] = "1.2"
    workers: int = Field(default=1, ge=1, le=64)
    engine: Literal["full", "safe", "off"] = "full"
    stop_timeout_s: float = Field(default=25.0, ge=0, le=3600)

    @property
    def upstream_url(self) -> ServerURL | None:
        """`upstream` taken apart, its host in lower case."""
        return read_server_url(self.upstream.lower(), UPSTREAM_PORTS) if self.upstream else None


class ExchangeConfig(_Table):
    host_names: Several[HostName] = ()
    trusted_proxies: Several[NetworkValue] = ()
    default_domain: LogonDomain | None = None
    min_protocol_version: ProtocolVersion = "14.0"
    weak_statuses: Several[Annotated[WeakStatus, Field(ge=400, le=599)]] = (403,)


class DirectoryConfig(_Table):
    snapshot: InputFile | None = None
    servers: Several[LdapUrl] = ()
    start_tls: bool = False
    ca_file: InputFile | None = None
    verify: bool = True
    bind: Literal["simple", "kerberos", "anonymous"] = "simple"
    bind_user: Text | None = None
    password_file: SecretFile | None = None
    password_env: EnvironmentVariable | None = None
    search_base: DistinguishedName | None = None
    configuration_base: DistinguishedName | None = None
    connect_timeout_s: float = Field(default=2.0, gt=0, le=60)
    lookup_timeout_s: float = Field(default=5.0, gt=0, le=60)
    pool_size: int = Field(default=4, ge=1, le=64)
    no_mailboxes_here: bool = False
    account_domains: dict[LogonDomain, AccountDomainValue] = Field(default_factory=dict)
    watch_s: float = Field(default=20.0, ge=1, le=3600)


class CacheConfig(_Table):
    found_s: _Life = 300.0
    not_found_s: _Life = 60.0
    relationships_s: Annotated[float, Field(ge=1, le=_MONTH_S)] = 900.0
    stale_s: _Life = 86400.0
    max_entries: int = Field(default=100_000, ge=1, le=10_000_000)


class RelationshipConfig(_Table):
    name: Text
    domain_names: Annotated[Several[DomainName], Field(min_length=1)]
    target_owa_url: Text
    enabled: bool = True


class CriteriaConfig(_Table):
    users: Several[UserName] | None = None
    users_file: UsersFile | None = None
    percent: float | None = Field(default=None, ge=0, le=100)
    device_types: Several[Lower] | None = None
    networks: Several[NetworkValue] | None = None


class RedirectConfig(_Table):
    hosts: dict[HostName, DomainName] = Field(default_factory=dict)
    allowed_hosts: Annotated[Several[HostGlob], Field(min_length=1)] | None = None
    relationships: Several[RelationshipConfig] = ()
    only: CriteriaConfig | None = None
    except_: CriteriaConfig | None = Field(default=None, alias="except")
    end_waits: Literal["off", "ping", "ping_and_sync"] = "off"


class AutodiscoverConfig(_Table):
    """`listed`: beginnings of User-Agents, compared without regard to case."""

    phones: Literal["off", "listed", "all"] = "off"
    listed: Annotated[Several[Text], Field(min_length=1)] = LISTED_PREFIXES
    weak: bool = False


class JournalConfig(_Table):
    path: JournalPath = Field(default=JOURNAL_PATH, validate_default=True)
    exchanges: Literal["all", "decisions"] = "all"
    users: Literal["clear", "hash", "drop"] = "clear"
    hash_key_file: SecretFile | None = None
    iis_path: OutputFile | None = None


class MetricsConfig(_Table):
    listen: PagesListen | None = None
    host_names: Several[HostName] = ()


class JudgeConfig(_Table):
    """Addresses are `unix:PATH` or `host:port` of the loopback."""

    listen: JudgeAddress = JUDGE_SOCKET
    servers: Annotated[Several[JudgeAddress], Field(min_length=1)] = Field(
        default_factory=lambda said: (said.get("listen", JUDGE_SOCKET),)
    )


class Config(_Table):
    """The whole file. Paths are resolved, host names are lower-case A-labels."""

    mode: Mode
    proxy: ProxyConfig = ProxyConfig()
    exchange: ExchangeConfig = ExchangeConfig()
    directory: DirectoryConfig = DirectoryConfig()
    cache: CacheConfig = CacheConfig()
    redirect: RedirectConfig = RedirectConfig()
    autodiscover: AutodiscoverConfig = AutodiscoverConfig()
    journal: Annotated[JournalConfig, Field(default={}, validate_default=True)]
    metrics: MetricsConfig = MetricsConfig()
    judge: Annotated[JudgeConfig, Field(default={}, validate_default=True)]


class ConfigError(Exception):
    """The configuration cannot be used; `problems` has a line for each thing to correct."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_config(
    path: Path,
    overrides: Mapping[str, Override] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Read the file, the environment and the options. Raises ConfigError.

    `path`: the file, or `ENVIRONMENT_ALONE`. `overrides`: dotted keys that options outside the
    file set (`mode`, `proxy.upstream`); a Path among them is relative to the working directory.
    `environment`: the process's own when None.
    """
    known = os.environ if environment is None else environment
    said = collect(path, overrides or {}, known, Config)
    problems = list(said.problems)
    config = None
    try:
        config = Config.model_validate(said.document, context={"base": _base(path)})
    except ValidationError as errors:
        primary = [e for e in errors.errors() if not _follows(e, errors.errors())]
        found = [said.problem(e["loc"], _in_words(e, said)) for e in primary]
        problems += filter(None, found)
    told = (said.problem(place, message) for place, message in contradictions(said))
    problems += filter(None, told)
    if config is None or problems:
        once = dict.fromkeys(sorted(problems, key=lambda problem: problem.line))
        raise ConfigError(tuple(problem.text for problem in once))
    return config


def _follows(error: ErrorDetails, errors: list[ErrorDetails]) -> bool:
    """An item that cannot be used still counts as an item of its list, and a default that comes
    from another key is not wrong where that key is."""
    if error["type"] == "default_factory_not_called":
        return True
    place = error["loc"]
    below = (e["loc"] for e in errors if e is not error)
    return error["type"] == "too_short" and any(
        loc[: len(place)] == place and len(loc) > len(place) for loc in below
    )


def _in_words(error: ErrorDetails, said: AllSources) -> str:
    """The problem; if the head of the key's table is still commented out above it, that."""
    if error["type"] == "extra_forbidden":
        name = str(error["loc"][-1])
        tables = {key.rpartition(".")[0] for key in known_keys(Config) if key.endswith(f".{name}")}
        free = {key for key, kind in leaves(Config).items() if not is_text_key(kind)}
        if (line := said.commented_head(error["loc"], tables | free)) is not None:
            return _below_a_comment(said, line)
    return problem_in_words(error, Config)


def _below_a_comment(said: AllSources, line: int) -> str:
    return (
        f"stands below {said.commented[line]} (line {line}), which is a comment: remove its # too"
    )


def _base(path: Path) -> Path:
    """The folder that relative paths start from."""
    return Path.cwd() if path == ENVIRONMENT_ALONE else path.resolve().parent


def pages_listen(path: Path, environment: Mapping[str, str] | None = None) -> str | None:
    """`metrics.listen` of a file that is refused, or None if that key cannot be read. A running
    proxy keeps its last good settings and answers there."""
    said = collect(path, {}, os.environ if environment is None else environment, Config)
    if said.is_lost(("metrics", "listen")):
        return None
    table = _table(said.document, "metrics")
    try:
        return MetricsConfig.model_validate({"listen": table.get("listen")}).listen
    except ValidationError:
        return None


def users_files(
    path: Path, overrides: Mapping[str, Override], environment: Mapping[str, str] | None = None
) -> tuple[Path, ...]:
    """The files of users that a file names, whether or not it can be used as a whole."""
    said = collect(path, overrides, os.environ if environment is None else environment, Config)
    redirect = _table(said.document, "redirect")
    named = (_table(redirect, name).get("users_file") for name in ("only", "except"))
    return tuple(_base(path) / name for name in named if isinstance(name, str) and "\0" not in name)


_BRAKES = frozenset({"mode", "redirect", "only", "except", *CriteriaConfig.model_fields})


def brake(
    path: Path,
    in_force: Wave,
    overrides: Mapping[str, Override],
    environment: Mapping[str, str] | None = None,
) -> str | None:
    """Why nobody may be redirected while this file is refused, as a clause. None if it leaves out
    nobody whom `in_force` redirects. Whatever may be a brake and cannot be read counts as one."""
    known = os.environ if environment is None else environment
    said = collect(path, overrides, known, Config)
    mode = said.document.get("mode")
    if mode == "observe":
        return 'it says mode = "observe"'
    if mode != "enforce":
        return "its mode cannot be read"
    if _hides_a_brake(said, _base(path)):
        return "what it says of redirect.only and redirect.except cannot be read whole"
    tables = {name: _table(said.document, "redirect").get(name) for name in ("only", "except")}
    try:
        redirect = RedirectConfig.model_validate(
            {name: table for name, table in tables.items() if table is not None},
            context={"base": _base(path)},
        )
        wave = Wave(only=_criteria(redirect.only), exclude=_criteria(redirect.except_))
    except (ValidationError, ConfigError):
        return "its redirect.only or redirect.except cannot be used"
    if wave.holds_back_more(in_force):
        return "its redirect.only or redirect.except leaves out more than what is in force"
    return None


def _hides_a_brake(said: AllSources, base: Path) -> bool:
    """Whether a line that cannot be read, or a key in the wrong place, may be a brake."""
    lost = [key.split(".") for key in said.unread]
    if any(parts[0] in ("", "a line", "redirect") or parts[-1] in _BRAKES for parts in lost):
        return True
    if any(_waves_of_nobody(_table(said.document, "redirect"), said)):
        return True
    try:
        Config.model_validate(said.document, context={"base": base})
    except ValidationError as errors:
        return any(
            error["type"] == "extra_forbidden"
            and (error["loc"][0] == "redirect" or _names_a_brake(error["loc"][-1], error["input"]))
            for error in errors.errors()
        )
    return False


def _names_a_brake(name: object, value: object) -> bool:
    """Whether an unknown key, or one below it, has the name of a brake."""
    inner = value.items() if isinstance(value, dict) else ()
    return name in _BRAKES or any(_names_a_brake(key, below) for key, below in inner)


def policy(config: Config) -> Policy:
    """What the decision needs. Reads the users files again; raises ConfigError if one is gone."""
    redirect = config.redirect
    return Policy(
        own_names=frozenset(config.exchange.host_names),
        servers=servers(config),
        min_protocol_version=config.exchange.min_protocol_version,
        weak_statuses=frozenset(config.exchange.weak_statuses),
        host_map={**DEFAULT_HOST_MAP, **redirect.hosts},
        allowed_hosts=redirect.allowed_hosts,
        relationships=tuple(
            OrganizationRelationship(**entry.model_dump(), source="configuration")
            for entry in redirect.relationships
        ),
        wave=Wave(only=_criteria(redirect.only), exclude=_criteria(redirect.except_)),
        discovery=discovery_policy(config),
    )


def discovery_policy(config: Config) -> DiscoveryPolicy:
    table = config.autodiscover
    return DiscoveryPolicy(phones=table.phones, listed=table.listed, weak=table.weak)


def servers(config: Config) -> frozenset[str]:
    """The names of the old servers that the configuration knows."""
    url = config.proxy.upstream_url
    upstream = url.address.host if url else None
    named = (*config.exchange.host_names, upstream, config.proxy.upstream_name)
    return frozenset(name for name in named if name)


def _criteria(table: CriteriaConfig | None) -> Criteria:
    if table is None:
        return Criteria()
    names = table.users or ()
    if table.users_file is not None:
        try:
            names += read_users(table.users_file)
        except UserListError as error:
            raise ConfigError(tuple(str(error).splitlines())) from error
    return Criteria(
        users=user_names(names) if names else None,
        percent=table.percent,
        device_types=table.device_types,
        networks=table.networks,
    )


def name_remarks(config: Config) -> dict[str, tuple[str, ...]]:
    """What is probably not meant among the names of `redirect.only` and `redirect.except`, by key.
    Reads the files of users again."""
    found: dict[str, tuple[str, ...]] = {}
    for name, table in (("only", config.redirect.only), ("except", config.redirect.except_)):
        if table is None:
            continue
        found[f"redirect.{name}.users"] = tuple(filter(None, map(blank_in, table.users or ())))
        if table.users_file is not None:
            with suppress(UserListError):  # gone since; the next reading says so
                found[f"redirect.{name}.users_file"] = read_list(table.users_file).remarks
    return {key: remarks for key, remarks in found.items() if remarks}


def directory_settings(config: Config) -> DirectorySettings:
    """The `[directory]` keys for asking servers."""
    asked_elsewhere = {"snapshot", "account_domains", "watch_s"}
    as_text = {"ca_file", "password_file"}
    values = config.directory.model_dump(exclude=asked_elsewhere | as_text)
    return DirectorySettings(
        **values,
        ca_file=_as_text(config.directory.ca_file),
        password_file=_as_text(config.directory.password_file),
        default_domain=config.exchange.default_domain,
        account_domains=tuple(
            AccountDomain(name=name, servers=() if how == "same_name" else how)
            for name, how in config.directory.account_domains.items()
        ),
    )


def _as_text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def cache_settings(config: Config) -> CacheSettings:
    """The `[cache]` keys for `cache.py`."""
    return CacheSettings(**config.cache.model_dump())


def contradictions(said: AllSources) -> Iterator[tuple[KeyPath, str]]:
    """What keys say against each other: each problem, at the key to change."""
    document = said.document
    directory = _table(document, "directory")
    yield from _directory_contradictions(directory, said)
    yield from _one_port_twice(document)
    journal = _table(document, "journal")
    yield from _written_over(said)
    if journal.get("users") == "hash" and "hash_key_file" not in journal:
        yield ("journal", "hash_key_file"), 'is required by users = "hash"'
    redirect = _table(document, "redirect")
    yield from _waves_of_nobody(redirect, said)
    yield from _excepted_by_a_comment(redirect, said)
    relationships = redirect.get("relationships")
    known = relationships if isinstance(relationships, list) else []
    numbered = [(n, entry) for n, entry in enumerate(known) if isinstance(entry, dict)]
    yield from _claimed_twice(numbered)
    yield from _unusable_targets(numbered, _table(redirect, "hosts"))


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name)
    return table if isinstance(table, dict) else {}


def _one_port_twice(document: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Phones and the pages cannot share one."""
    proxy = {"listen": 443, **_table(document, "proxy")}
    try:
        phones = ProxyConfig.model_validate({"listen": proxy["listen"]}).listen
        pages = MetricsConfig.model_validate({"listen": _table(document, "metrics").get("listen")})
    except ValidationError:
        return
    if pages.listen is None:
        return
    host, port = read_host_port(pages.listen)
    everywhere = {"", "0.0.0.0", "::"}  # noqa: S104 - compared with, not bound to
    if port == phones.port != 0 and (host == phones.host or {host, phones.host} & everywhere):
        yield ("metrics", "listen"), f"port {port} is that of proxy.listen: take another"


_WRITTEN = (("journal", "path"), ("journal", "iis_path"))
_READ = (
    ("proxy", "cert"),
    ("proxy", "upstream_ca"),
    ("directory", "snapshot"),
    ("directory", "ca_file"),
    ("directory", "password_file"),
    ("journal", "hash_key_file"),
    ("redirect", "only", "users_file"),
    ("redirect", "except", "users_file"),
)


def _written_over(said: AllSources) -> Iterator[tuple[KeyPath, str]]:
    """A log in the name of a file that is read would be written into that file."""
    used = {said.path.resolve(): "the settings"} if said.path != ENVIRONMENT_ALONE else {}
    for place in _READ:
        if (path := _path_at(said, place)) is not None:
            used.setdefault(path, dotted(place))
    for place in _WRITTEN:
        if (path := _path_at(said, place)) is None:
            continue
        if path in used:
            yield place, f"is the file of {used[path]}: name another, which will be written"
        used.setdefault(path, dotted(place))


def _path_at(said: AllSources, place: tuple[str, ...]) -> Path | None:
    table = said.document
    for name in place[:-1]:
        table = _table(table, name)
    value = table.get(place[-1])
    if not isinstance(value, str) or value in ("", "-") or "\0" in value:
        return None
    return (_base(said.path) / value).resolve()


def _directory_contradictions(
    directory: dict[str, Any], said: AllSources
) -> Iterator[tuple[KeyPath, str]]:
    servers = directory.get("servers")
    if "snapshot" in directory:
        if servers:
            yield ("directory", "snapshot"), "excludes servers: keep one of the two"
        return
    if not servers and said.is_lost(("directory", "snapshot")):
        return
    if not servers:
        yield (
            ("directory", "servers"),
            "names no server: list ldaps:// URLs here, or an LDIF file under snapshot",
        )
        return
    if not isinstance(servers, list):
        return
    encrypted = [str(server).startswith("ldaps:") for server in servers]
    if directory.get("start_tls") is True and any(encrypted):
        yield ("directory", "start_tls"), "is for ldap://; ldaps:// is encrypted from the start"
    if directory.get("bind", "simple") == "simple":
        yield from _simple_bind_contradictions(directory, said)


def _simple_bind_contradictions(
    directory: dict[str, Any], said: AllSources
) -> Iterator[tuple[KeyPath, str]]:
    if "bind_user" not in directory:
        yield ("directory", "bind_user"), 'is required by bind = "simple": a DN or UPN'
    passwords = {"password_file", "password_env"} & directory.keys()
    if not passwords and not said.is_lost(("directory", "password_env")):
        yield (
            ("directory", "password_file"),
            'bind = "simple" requires it, or password_env in its place',
        )
    if len(passwords) == 2:
        yield ("directory", "password_env"), "excludes password_file: keep one of the two"


def _waves_of_nobody(redirect: dict[str, Any], said: AllSources) -> Iterator[tuple[KeyPath, str]]:
    """A table that names nothing is a mistake: there are plainer ways to say everybody or nobody. A
    table whose keys could not be read does name somebody; without it, everybody would be
    redirected."""
    meant = {
        "only": 'remove the table if everybody is meant; mode = "observe" redirects nobody',
        "except": "remove the table if nobody is to be left out;"
        ' mode = "observe" leaves everybody out',
    }
    for name, removal in meant.items():
        table = redirect.get(name)
        if not isinstance(table, dict):
            continue
        nobody = [key for key, value in table.items() if _names_nobody(key, value)]
        is_empty = len(nobody) == len(table) and not said.is_lost_below(("redirect", name))
        advice = f"name somebody, or {removal}" if is_empty else "name somebody"
        if is_empty and not table:
            yield ("redirect", name), f"names nobody: {advice}"
        for key in nobody:
            yield ("redirect", name, key), f"names nobody: {advice}"


def _excepted_by_a_comment(
    redirect: dict[str, Any], said: AllSources
) -> Iterator[tuple[KeyPath, str]]:
    """`redirect.except` is commented out, but its keys are not, and so widen the wave."""
    for key in _table(redirect, "only"):
        place: KeyPath = ("redirect", "only", key)
        if (line := said.commented_head(place, {"redirect.except"})) is not None:
            yield place, f"{_below_a_comment(said, line)}, or move this line above it"


def _names_nobody(key: str, value: object) -> bool:
    return value == [] or (key == "percent" and value == 0 and value is not False)


def _claimed_twice(
    relationships: list[tuple[int, dict[str, Any]]],
) -> Iterator[tuple[KeyPath, str]]:
    """An enabled relationship must be the only one for each of its domains."""
    claims: dict[str, int] = {}
    for index, relationship in relationships:
        names = relationship.get("domain_names")
        if relationship.get("enabled") is False or not isinstance(names, list):
            continue
        for name in {str(n).lower() for n in names}:
            if claims.setdefault(name, index) != index:
                place: KeyPath = ("redirect", "relationships", index, "domain_names")
                yield place, f"{name} is named by relationships[{claims[name]}] too"


def _unusable_targets(
    relationships: list[tuple[int, dict[str, Any]]], hosts: dict[str, Any]
) -> Iterator[tuple[KeyPath, str]]:
    """Each TargetOwaURL is judged as the decision does it, host map included."""
    host_map = {**DEFAULT_HOST_MAP, **{str(k).lower(): str(v) for k, v in hosts.items()}}
    for index, relationship in relationships:
        url = relationship.get("target_owa_url")
        target = endpoint(url, host_map) if isinstance(url, str) and url.strip() else None
        if isinstance(target, Refused):
            place: KeyPath = ("redirect", "relationships", index, "target_owa_url")
            yield place, target.detail.removeprefix("The TargetOwaURL ").removesuffix(".")

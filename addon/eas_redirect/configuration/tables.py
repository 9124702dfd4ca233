"""The tables and keys of eas-redirect.toml as values: `Config` is the whole file.

The attributes are named as the keys are; what each value must look like stands in
`config_values.py`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from eas_redirect.configuration.values import (
    DistinguishedName,
    DomainName,
    EnvironmentVariable,
    HostGlob,
    HostName,
    InputFile,
    JournalPath,
    LdapUrl,
    Listen,
    LogonDomain,
    Lower,
    NetworkValue,
    OutputFile,
    SecretFile,
    Several,
    Text,
    UsersFile,
    WeakStatus,
)

type ProtocolVersion = Literal["2.5", "12.0", "12.1", "14.0", "14.1", "16.0", "16.1"]

JOURNAL_PATH = "eas-journal.jsonl"  # relative to the file, as every path in it
_MONTH_S = 31 * 86400.0
_Life = Annotated[float, Field(ge=0, le=_MONTH_S)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


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
    users: Several[Text] | None = None
    users_file: UsersFile | None = None
    percent: float | None = Field(default=None, ge=0, le=100)
    device_types: Several[Lower] | None = None
    networks: Several[NetworkValue] | None = None


class RedirectConfig(_Table):
    hosts: dict[HostName, DomainName] = Field(default_factory=dict)
    allowed_hosts: Annotated[Several[HostGlob], Field(min_length=1)] | None = None
    relationships: Several[RelationshipConfig] = ()
    only: CriteriaConfig = CriteriaConfig()
    except_: CriteriaConfig = Field(default=CriteriaConfig(), alias="except")


class JournalConfig(_Table):
    path: JournalPath = Field(default=JOURNAL_PATH, validate_default=True)
    exchanges: Literal["all", "decisions"] = "all"
    users: Literal["clear", "hash", "drop"] = "clear"
    hash_key_file: SecretFile | None = None
    iis_path: OutputFile | None = None


class MetricsConfig(_Table):
    listen: Listen | None = None


class Config(_Table):
    """The whole file. Paths are resolved, host names are lower-case A-labels."""

    mode: Literal["observe", "enforce"] = "enforce"
    exchange: ExchangeConfig = ExchangeConfig()
    directory: DirectoryConfig = DirectoryConfig()
    cache: CacheConfig = CacheConfig()
    redirect: RedirectConfig = RedirectConfig()
    journal: Annotated[JournalConfig, Field(default={}, validate_default=True)]
    metrics: MetricsConfig = MetricsConfig()

"""The journal: one frozen `Record` per event, rendered to one JSON line. Redaction lives here.

Field names are those of the Elastic Common Schema where it has one; ours are under `eas.`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything one journal line can say. None is an absent key. Durations in the units named.

    `timestamp_s` is Unix time. Every other field maps to the journal key in its comment.
    """

    timestamp_s: float  # @timestamp
    action: str  # event.action: eas.exchange, eas.redirect, eas.would_redirect, eas.directory, …
    message: str  # message
    level: str = "info"  # log.level
    reason: str | None = None  # event.reason
    outcome: str | None = None  # event.outcome: success, failure, unknown
    duration_ns: int | None = None  # event.duration
    client_address: str | None = None  # client.address: the peer of the TCP connection
    client_port: int | None = None  # client.port
    forwarded_ip: str | None = None  # network.forwarded_ip
    server_address: str | None = None  # server.address
    server_port: int | None = None  # server.port
    method: str | None = None  # http.request.method
    status_code: int | None = None  # http.response.status_code: what the client got
    url_domain: str | None = None  # url.domain
    url_path: str | None = None  # url.path
    user_agent: str | None = None  # user_agent.original
    user_name: str | None = None  # user.name
    user_domain: str | None = None  # user.domain
    user_email: str | None = None  # user.email
    error_type: str | None = None  # error.type
    error_message: str | None = None  # error.message
    command: str | None = None  # eas.command
    protocol_version: str | None = None  # eas.protocol_version
    query_encoding: str | None = None  # eas.query_encoding
    device_id: str | None = None  # eas.device.id
    device_type: str | None = None  # eas.device.type
    client_family: str | None = None  # eas.client_family
    auth_scheme: str | None = None  # eas.auth.scheme
    logon_format: str | None = None  # eas.auth.logon_format
    auth_contradiction: bool | None = None  # eas.auth.contradiction: User= names another account
    upstream_status_code: int | None = None  # eas.upstream.status_code
    upstream_status: int | None = None  # eas.upstream.status: the global EAS Status
    upstream_duration_ms: float | None = None  # eas.upstream.duration_ms
    evidence: str | None = None  # eas.evidence
    mode: str | None = None  # eas.mode
    decision: str | None = None  # eas.decision: redirect, would_redirect, pass
    redirect_location: str | None = None  # eas.redirect.location
    redirect_count: int | None = None  # eas.redirect.count: redirects of this device so far
    redirect_confirmed: bool | None = None  # eas.redirect.confirmed
    directory_source: str | None = None  # eas.directory.source
    directory_cache: str | None = None  # eas.directory.cache
    directory_server: str | None = None  # eas.directory.server
    directory_duration_ms: float | None = None  # eas.directory.duration_ms
    directory_target_domain: str | None = None  # eas.directory.target_domain
    directory_relationship: str | None = None  # eas.directory.relationship
    directory_change: str | None = None  # eas.directory.change: the kind of a drift
    wave: str | None = None  # eas.wave
    ledger_state: str | None = None  # eas.ledger.state
    ledger_previous: str | None = None  # eas.ledger.previous

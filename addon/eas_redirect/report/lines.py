"""What a line of a journal becomes: one row for each exchange, in SQL for DuckDB.

Users and devices have hashes beside their names; lines from other programs are counted. Pure.
"""

from dataclasses import dataclass, field
from enum import IntEnum, unique

from eas_redirect.report.packing import READ_TEXT
from eas_redirect.telemetry.ledger import NOT_LET_IN

LET_IN = f"(reason NOT IN ({', '.join(map(repr, sorted(NOT_LET_IN)))}) OR reason IS NULL)"
"""Of a line: whether Exchange answered a device that it had let in."""

OLDEST_MS = 946_684_800_000  # 2000-01-01: no ActiveSync journal is older

# Keys that are read, as DuckDB's types. What is absent or has another type is NULL.
COLUMNS = """{
  '@timestamp': 'VARCHAR',
  ecs: 'STRUCT(version VARCHAR)',
  event: 'STRUCT(action VARCHAR, reason VARCHAR, duration BIGINT)',
  "user": 'STRUCT("name" VARCHAR, "domain" VARCHAR, email VARCHAR, id VARCHAR)',
  user_agent: 'STRUCT(original VARCHAR)',
  http: 'STRUCT(request STRUCT("method" VARCHAR), response STRUCT(status_code INTEGER))',
  client: 'STRUCT("address" VARCHAR)',
  network: 'STRUCT(forwarded_ip VARCHAR)',
  error: 'STRUCT("type" VARCHAR)',
  url: 'STRUCT("domain" VARCHAR)',
  eas: 'STRUCT(command VARCHAR, protocol_version VARCHAR, client_family VARCHAR,
    decision VARCHAR, wave VARCHAR, mode VARCHAR, iis VARCHAR, lost BIGINT,
    wait_seen_s DOUBLE,
    device STRUCT(id VARCHAR, "type" VARCHAR),
    auth STRUCT(scheme VARCHAR, logon_format VARCHAR),
    redirect STRUCT(location VARCHAR),
    directory STRUCT(duration_ms DOUBLE, "cache" VARCHAR, target_domain VARCHAR))'
}"""

SCHEMA = """
CREATE TABLE lines (
  class UTINYINT,     -- see LineClass
  ts BIGINT,          -- when the exchange ended, Unix milliseconds
  began BIGINT,       -- when the client sent it
  key UBIGINT,        -- of the device: user and folded device id, or user and User-Agent
  agent UBIGINT,      -- of user and User-Agent: where a request that names no device belongs
  named BOOLEAN,      -- the request named its device
  user_key UBIGINT,   -- of the user, after `groups.py` under whatever name
  account VARCHAR,    -- what the directory found, where it was asked
  user_name VARCHAR, user_domain VARCHAR, user_email VARCHAR,
  device_id VARCHAR, device_type VARCHAR, user_agent VARCHAR, family VARCHAR,
  reason VARCHAR, decision VARCHAR, wave VARCHAR, status INTEGER,
  version VARCHAR, scheme VARCHAR, logon_format VARCHAR,
  host VARCHAR, location VARCHAR, location_host VARCHAR,
  lookup_ms DOUBLE, cache VARCHAR, target_domain VARCHAR,
  schema VARCHAR, zone VARCHAR,
  side VARCHAR,                  -- of an IIS log; see w3c.Entry
  command VARCHAR,
  lost BIGINT,                   -- lines that could not be written before this one
  method VARCHAR,
  address VARCHAR,               -- the device's own where a front says it
  error VARCHAR,                 -- why there is no answer, or none of the directory
  seen_ms BIGINT,                -- of a wait: when the directory was seen to say that it moved
  source USMALLINT,              -- the file, by number
  log USMALLINT                  -- the first file of its writer; see same_exchanges.py
)
"""


@unique
class LineClass(IntEnum):
    """What a line means to the report."""

    EXCHANGE = 0
    EVENT = 1  # ours, but no exchange: a ledger, directory or configuration line
    UNTIMED = 2  # ours, but with no time that can be read, or one before any journal
    FUTURE = 3
    FOREIGN = 4  # no line of a journal; torn ones are told apart afterwards
    DISCOVERY = 5  # a question to Autodiscover, which names no device
    NO_PHONE = 6  # asked for ActiveSync's path, but no ActiveSync client; see NO_PHONES
    WAIT = 7  # what came of a wait whose user looked moved


SAID = "CREATE MACRO said(text) AS nullif(nullif(text, ''), '-')"
"""HAProxy writes a hyphen for what it does not know."""

CASELESS = "CREATE MACRO caseless(text) AS lower(text)"
"""As `caseless` of activesync/request.py; hashed journals have folded before."""

INSERT = f"""
INSERT INTO lines
WITH journal AS (
  SELECT *, epoch_ms(try_cast("@timestamp" AS TIMESTAMPTZ)) AS ts FROM read_json(
    $path, format = 'newline_delimited', columns = {COLUMNS}, compression = $compression,
    ignore_errors = true)
), who AS (
  SELECT *,
    CASE WHEN said("user".name) IS NOT NULL
      THEN hash(caseless("user".name) || chr(0) || caseless(coalesce(said("user".domain), '')))
      END AS who,
    said(eas.device.id) AS device,
    said(user_agent.original) AS agent
  FROM journal
)
SELECT
  CASE WHEN event.action IS NULL OR NOT starts_with(event.action, 'eas.') THEN 4
       WHEN ts IS NULL OR ts < {OLDEST_MS} THEN 2
       WHEN ts > $newest THEN 3
       WHEN event.action IN ('eas.exchange', 'eas.redirect', 'eas.would_redirect') THEN 0
       WHEN event.action = 'eas.autodiscover' THEN 5
       WHEN event.action = 'eas.wait' THEN 7
       ELSE 1 END,
  ts, ts - coalesce(event.duration // 1000000, 0),
  CASE WHEN who IS NULL THEN NULL
       WHEN device IS NOT NULL THEN hash(who, caseless(device))
       WHEN agent IS NOT NULL THEN hash(who, '', agent) END,
  hash(who, agent), device IS NOT NULL,
  who, "user".id, said("user".name), said("user".domain), said("user".email),
  device, said(eas.device.type), agent, eas.client_family,
  event.reason, eas.decision, eas.wave, http.response.status_code,
  said(eas.protocol_version), eas.auth.scheme, eas.auth.logon_format,
  lower(said(url.domain)), eas.redirect.location,
  nullif(lower(regexp_extract(eas.redirect.location, '^https?://([^/:?#]+)', 1)), ''),
  eas.directory.duration_ms, eas.directory.cache, eas.directory.target_domain,
  ecs.version, regexp_extract("@timestamp", '(Z|[+-][0-9:]+)$', 1),
  eas.iis, eas.command, eas.lost,
  upper(http.request.method), coalesce(network.forwarded_ip, client.address), said(error.type),
  ts - (eas.wait_seen_s * 1000)::BIGINT, $source, $log
FROM who
"""

# What a request without a device id belongs to: OPTIONS names none (MS-ASHTTP 2.2.3).
ADOPT = """
UPDATE lines SET key = named.key
FROM (SELECT agent, arg_max(key, ts) AS key FROM lines WHERE named AND key IS NOT NULL
      GROUP BY agent) AS named
WHERE NOT lines.named AND lines.key IS NOT NULL AND lines.agent = named.agent
"""

# Where two servers logged one request, the inner one knows what came of it. Their clocks are a
# domain's and agree to a second or two, or were set right before.
DOUBLED = """
DELETE FROM lines WHERE side IN ('front', 'other')
  AND (coalesce(caseless(device_id), user_agent, ''), coalesce(command, ''), ts // 2000) IN (
    SELECT coalesce(caseless(device_id), user_agent, ''), coalesce(command, ''),
      unnest([ts // 2000 - 1, ts // 2000, ts // 2000 + 1])
    FROM lines WHERE side = 'inner')
"""

# What the device logged on as stands in the outer line: the inner server may log the account of
# the outer one, and then the query alone says who called.
OUTER_LOGON = """
UPDATE lines SET key = CASE WHEN lines.device_id IS NOT NULL
    THEN hash(o.user_key, caseless(lines.device_id))
    ELSE hash(o.user_key, '', lines.user_agent) END,
  user_key = o.user_key,
  agent = hash(o.user_key, lines.user_agent), user_name = o.user_name,
  user_domain = o.user_domain, user_email = o.user_email, logon_format = o.logon_format
FROM (
  SELECT i.rowid AS line, arg_min(o.rowid, abs(i.ts - o.ts)) AS outer_line
  FROM lines AS i JOIN lines AS o ON o.side IN ('front', 'ours', 'other')
    AND coalesce(caseless(o.device_id), o.user_agent, '')
      = coalesce(caseless(i.device_id), i.user_agent, '')
    AND coalesce(o.command, '') = coalesce(i.command, '')
    AND o.ts // 2000 BETWEEN i.ts // 2000 - 1 AND i.ts // 2000 + 1
  WHERE i.side = 'inner' AND o.user_key IS NOT NULL
    AND (i.user_key IS NULL OR (i.user_key <> o.user_key AND i.user_domain IS NULL
      AND caseless(i.user_name) = caseless(o.user_name)))
  GROUP BY i.rowid
) AS pair JOIN lines AS o ON o.rowid = pair.outer_line
WHERE lines.rowid = pair.line
"""

# ActiveSync is POST and OPTIONS (MS-ASHTTP 2.2.1.1), and Exchange lets nobody in without a logon:
# other methods, and IIS lines that name nobody, are a balancer's or a monitor's.
NO_PHONES = f"""
UPDATE lines SET class = {LineClass.NO_PHONE:d}
WHERE class = {LineClass.EXCHANGE:d} AND (method NOT IN ('POST', 'OPTIONS')
  OR (side IN ('front', 'other') AND user_key IS NULL AND device_id IS NULL AND {LET_IN}))
"""

COUNTS = "SELECT class, count(*) FROM lines GROUP BY class"
LOST = """
SELECT coalesce(sum(lost), 0)::BIGINT, max(ts) FROM lines WHERE class = 1 AND lost > 0
"""

# Two kinds of lines that are no journal's: cut short, and another program's.
TORN = f"""
SELECT count(*) FILTER (starts_with(trim(line), '{{') AND NOT json_valid(line)),
       count(*) FILTER (line IS NULL OR trim(line) = '')
FROM {READ_TEXT}
"""


@dataclass(slots=True)
class Lines:
    """How many lines there were of each sort, and what to say about the files."""

    exchanges: int = 0
    events: int = 0
    untimed: int = 0
    future: int = 0
    torn: int = 0
    foreign: int = 0
    lost: int = 0  # lines that a proxy could not write
    lost_ms: int | None = None  # when the last line was that says so
    no_phones: int = 0  # of ActiveSync's path, but of no ActiveSync client
    headless: int = 0  # of IIS logs without #Fields
    machines: int = 0  # under the account of a server
    doubled: int = 0  # of two servers that logged the same request
    behind: int = 0  # of servers behind a proxy that logged the same request
    copied: int = 0  # that another file has too
    renamed: int = 0  # logons that are other users' second names
    shared_devices: int = 0  # device ids under several users all the same
    broken_files: list[str] = field(default_factory=list)
    """Packed files that break off; they were read up to there."""
    unread_files: list[str] = field(default_factory=list)
    """What some files are, and why no device can be read from them; a sentence each."""
    guessed_files: list[str] = field(default_factory=list)
    """Excerpts that were read under the #Fields of another file, or of the option."""
    clocks: list[str] = field(default_factory=list)
    """What was found about clocks, and about logs of the same exchanges; a sentence each."""
    twins: list[str] = field(default_factory=list)
    """W3C logs of the journals that are read as well: left out."""

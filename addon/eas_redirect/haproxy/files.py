"""The files that a HAProxy 2.6 with Lua runs: `haproxy.cfg`, `eas.lua`, `header-case.txt`.

Every line of the configuration says why it is there: keep the file under version control, or copy
parts of it.
"""

import ipaddress
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from itertools import batched
from pathlib import Path

from eas_redirect.activesync.request import COMMAND_CODES
from eas_redirect.autodiscover.answer import BEGINNING
from eas_redirect.autodiscover.document import MAX_BYTES
from eas_redirect.autodiscover.phone_request import PATH
from eas_redirect.configuration.config import Config
from eas_redirect.configuration.kinds import Listen
from eas_redirect.haproxy.answering import REMEMBERED_LINES
from eas_redirect.judging.judge import GRACE_S
from eas_redirect.telemetry.record import ECS_VERSION, MAX_TEXT

LUA = "eas.lua"
CONFIGURATION = "haproxy.cfg"
HEADER_CASE = "header-case.txt"
# Seconds: Lua waits one longer than the judge, so that the judge itself tells of a slow directory.
LUA_BEYOND_JUDGE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a judge listens: a socket's path, or a loopback address with a port."""

    name: str  # as the configuration says it
    path: str | None = None
    host: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Place":
        """`unix:PATH` or `host:port`, already checked by the configuration."""
        if text.startswith("unix:"):
            return cls(name=text, path=text.removeprefix("unix:"))
        listen = Listen.parse(text)
        return cls(name=text, host=listen.host, port=listen.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the files depend on beyond the configuration: where they are, and how HAProxy runs."""

    folder: Path
    phones: int = 4000
    admin_socket: str = "/run/haproxy/eas-admin.sock"
    chroot: Path | None = None
    old_tls: bool = False  # towards Exchange: TLS 1.0, and keys and signatures of its time


class SiteError(Exception):
    """What the configuration lacks for HAProxy: sentences that say what to do."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def written_files(config: Config, site: Site) -> dict[str, str]:
    """The files by their names. Raises SiteError."""
    if problems := tuple(_problems(config, site)):
        raise SiteError(problems)
    limit_s = config.directory.lookup_timeout_s + GRACE_S + LUA_BEYOND_JUDGE_S
    judges = [_inside(Place.parse(text), site) for text in config.judge.servers]
    return {
        CONFIGURATION: "\n".join(_configuration(config, site, limit_s)) + "\n",
        LUA: lua_text(
            judges,
            limit_s,
            trusts=bool(config.exchange.trusted_proxies),
            tells_phones=_tells_phones(config),
        ),
        HEADER_CASE: _data(HEADER_CASE),
    }


def _problems(config: Config, site: Site) -> Iterator[str]:
    upstream = config.proxy.upstream_url
    if upstream is None:
        yield "Which Exchange? Set proxy.upstream in the configuration."
    elif (
        upstream.scheme == "https"
        and _is_address(upstream.address.host)
        and not config.proxy.upstream_name
    ):
        yield (
            "proxy.upstream is an address, and HAProxy compares a certificate with a name: set"
            " proxy.upstream_name to a name in Exchange's certificate"
        )
    for text in config.judge.servers:
        place = Place.parse(text)
        if place.path is None or site.chroot is None:
            continue
        if not Path(place.path).is_relative_to(site.chroot):
            yield (
                f"judge.servers: HAProxy cannot see {place.path} from its chroot {site.chroot}: set"
                f" judge.listen and judge.servers to unix:{site.chroot}/eas-redirect/judge.sock, or"
                " to a loopback address such as 127.0.0.1:9411"
            )


def _inside(place: Place, site: Site) -> Place:
    """The judge's place as HAProxy sees it."""
    if place.path is None or site.chroot is None:
        return place
    return replace(place, path=f"/{Path(place.path).relative_to(site.chroot)}")


def lua_text(
    judges: Iterable[Place], limit_s: float, *, trusts: bool = False, tells_phones: bool = False
) -> str:
    """`eas.lua` for these judges; one question takes at most `limit_s` seconds. `trusts`: hand over
    the headers of a trusted proxy. `tells_phones`: hand over questions to Autodiscover."""
    names = [*(name for name, _ in _REMEMBERED), *_COMPUTED]
    if tells_phones:
        names += _OF_AUTODISCOVER
    if trusts:
        names += [name for fact, _ in _FORWARDED for name in _line_names(fact)]
    filled = {
        "--[[JUDGES]]": ", ".join(_lua_judge(judge) for judge in judges),
        "--[[LIMIT_S]] 5": f"{limit_s:g}",
        "--[[FACTS]]": _in_lines(map(_lua, names)),
        '--[[SETTINGS]] ""': _lua(BEGINNING),
        "--[[COMMANDS]]": _in_lines(f"[{code}] = {_lua(n)}" for code, n in COMMAND_CODES.items()),
    }
    text = _data(LUA)
    for mark, value in filled.items():
        text = text.replace(mark, value)
    return text


def _in_lines(words: Iterable[str]) -> str:
    """A long Lua table, wrapped."""
    text = textwrap.fill(", ".join(words), 96, break_long_words=False, break_on_hyphens=False)
    return textwrap.indent(f"\n{text}", "  ").lstrip(" ") + "\n"


def _data(name: str) -> str:
    return resources.files("eas_redirect.data").joinpath(name).read_text("utf-8")


def _lua_judge(judge: Place) -> str:
    fields: Mapping[str, object] = {
        "name": judge.name,
        "path": judge.path,
        "host": judge.host,
        "port": judge.port,
    }
    said = (f"{key} = {_lua(value)}" for key, value in fields.items() if value is not None)
    return f"{{ {', '.join(said)} }}"


def _lua(value: object) -> str:
    """A literal of Lua 5.3: decimal escapes for whatever is not plain."""
    if isinstance(value, int):
        return str(value)
    plain = (
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\{byte:03d}"
        for byte in str(value).encode()
    )
    return f'"{"".join(plain)}"'


# -- haproxy.cfg ---------------------------------------------------------------------------------

# `is_eas_path`, as an expression.
_EAS_PATH = "^/+microsoft-server-activesync(/+(default[.]eas)?)?$"
# As text: a variable that holds a method says OPTIONS for each that HAProxy does not know.
_METHOD = "method,concat()"
# What is remembered of a request, by the names of the question (`question.py`).
_REMEMBERED = (
    ("method", _METHOD),
    ("target", "pathq"),
    ("host", "req.fhdr(Host)"),
    ("hosts", "req.fhdr_cnt(Host)"),
    ("authorization", "req.fhdr(Authorization)"),
    ("authorizations", "req.fhdr_cnt(Authorization)"),
    ("user_agent", "req.fhdr(User-Agent)"),
    ("version1", "req.fhdr(MS-ASProtocolVersion,-1)"),
    ("versions", "req.fhdr_cnt(MS-ASProtocolVersion)"),
    ("started", "date(0,us)"),
)
# What Autodiscover knows nothing of; without a method an answer is none of ActiveSync's.
_OF_EAS = frozenset({"method", "version1", "versions"})
# Bytes. Of HAProxy's buffer, which bounds what a converter makes, the hexadecimal takes a fiftieth.
_SHORT_ANSWER = 1024
# What is remembered under a condition of its own.
_COMPUTED = ("url", "policy_key", "version2", "version3", "version4", "logon", "somebody")
_OF_AUTODISCOVER = ("question", "question_type", "question_types")
_FORWARDED = (
    ("forwarded_for", "X-Forwarded-For"),
    ("forwarded_host", "X-Forwarded-Host"),
    ("forwarded", "Forwarded"),
    ("original_host", "X-Original-Host"),
)


def _line_names(fact: str) -> list[str]:
    """The facts of a header that may occur several times."""
    return [f"{fact}s", *(f"{fact}{n}" for n in range(1, REMEMBERED_LINES + 1))]


def _configuration(config: Config, site: Site, limit_s: float) -> Iterator[str]:
    yield "# HAProxy 2.6 with Lua in front of the old Exchange; eas-redirect judges next to it."
    yield "# Written by `eas-redirect haproxy`. Whatever fails, Exchange's own answer goes through."
    yield ""
    yield from _global(site, limit_s)
    yield ""
    yield from _defaults()
    yield ""
    yield from _frontend(config)
    yield ""
    yield from _backends(config, site)


def _global(site: Site, limit_s: float) -> Iterator[str]:
    connections = int(site.phones * 1.1)
    yield "global"
    yield "    # One thread: there is only one Lua state, and 20,000 requests a second are plenty."
    yield "    nbthread 1"
    yield "    # One per waiting phone, plus a tenth. LimitNOFILE: twice that, plus 100."
    yield f"    maxconn {connections}"
    yield "    # An answer of 64 KiB is held until it is judged. This also bounds a head."
    yield "    tune.bufsize 98304"
    yield "    tune.maxrewrite 4096"
    yield "    # Longer than one question may take; stops Lua code that hangs."
    yield f"    tune.lua.session-timeout {(limit_s + 3) * 1000:.0f}ms"
    yield "    tune.lua.maxmem 256"
    yield "    # An old worker serves its waiting phones to the end, then stops."
    yield "    hard-stop-after 4200s"
    if site.chroot is not None:
        yield "    # The judge's socket is inside. chroot and user need a start as root."
        yield f"    chroot {_quoted(site.chroot)}"
        yield "    user haproxy"
        yield "    group haproxy"
    yield f"    lua-load {_quoted(site.folder / LUA)}"
    yield "    # Header names as their senders write them: HAProxy would make them lower-case."
    yield f"    h1-case-adjust-file {_quoted(site.folder / HEADER_CASE)}"
    yield "    # A reload hands the listening sockets over."
    yield f"    stats socket {_quoted(site.admin_socket)} mode 600 level admin expose-fd listeners"
    yield "    # The unit appends this to a file (StandardOutput=append:...): no line is lost while"
    yield "    # the disk has room. `show info` counts lost ones (DroppedLogs). A line of more than"
    yield "    # len bytes would be cut, and no JSON any more: every text in it is cut instead."
    yield "    log stdout len 65535 format raw local0 info"


def _defaults() -> Iterator[str]:
    yield "defaults"
    yield "    mode http"
    yield "    log global"
    yield "    # A Ping is silent for up to 3540 s."
    yield "    timeout client 4200s"
    yield "    timeout server 4200s"
    yield "    timeout connect 5s"
    yield "    timeout http-request 30s"
    yield "    timeout http-keep-alive 300s"
    yield "    # NTLM logs a connection on, not a request: each client keeps its own connection."
    yield "    http-reuse never"
    yield "    option http-keep-alive"
    yield "    # A request is never sent twice."
    yield "    retries 0"
    yield "    # Without it, half-sent messages of Outlook Anywhere are delayed by 200 ms."
    yield "    option http-no-delay"
    yield "    # A reload closes a kept connection only after an answer."
    yield "    option idle-close-on-response"
    yield "    # Whatever Exchange and old phones send passes, including odd header names."
    yield "    option accept-invalid-http-request"
    yield "    option accept-invalid-http-response"
    yield "    option h1-case-adjust-bogus-client"
    yield "    option h1-case-adjust-bogus-server"
    yield "    # Exchange is down: a phone tries again in half a minute (MS-ASHTTP 2.2.2.1.1)."
    yield "    http-error status 503 hdr Retry-After 30"
    yield "    # No line for a load balancer's health check that only connects."
    yield "    option dontlognull"


def _frontend(config: Config) -> Iterator[str]:
    listen = config.proxy.listen
    yield "frontend phones"
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    where = f"{host}:{listen.port}" if host else f":::{listen.port} v4v6"
    if not host:
        yield "    # Every address of the machine; write *:PORT if it has no IPv6."
    if config.proxy.cert is None:
        yield "    # No proxy.cert: only behind a front that ends TLS, never for phones directly."
        yield f"    bind {where}"
    else:
        yield "    # HTTP/1.1 only: logons of connections (NTLM) do not survive HTTP/2."
        yield f"    bind {where} ssl crt {_quoted(config.proxy.cert)} alpn http/1.1"
    yield ""
    yield from _forwarded_headers(config)
    yield ""
    yield from _expectations()
    yield ""
    yield from _request(config)
    yield ""
    yield from _connection_logons()
    yield ""
    if _tells_phones(config):
        yield from _questions_to_autodiscover()
        yield ""
    yield from _answers(config)
    yield ""
    yield from _log(config)
    yield ""
    yield "    # Phones that wait: see the backend. Ping and Sync, as words or as command codes"
    yield "    # 18 and 0 of a base64 query (MS-ASHTTP 2.2.1.1.1.1.2)."
    yield "    acl waiting url_param(Cmd) -m str -i Ping Sync"
    yield "    acl waiting query,b64dec,bytes(1,1),hex -m str 00 12"
    yield "    use_backend waits if eas waiting"
    yield "    default_backend exchange"


def _forwarded_headers(config: Config) -> Iterator[str]:
    names = [header for _, header in _FORWARDED]
    if config.exchange.trusted_proxies:
        yield "    # Believed only from these proxies; a phone's own claims are dropped."
        yield from _acl("trusted src", config.exchange.trusted_proxies)
        yield from (f"    http-request del-header {name} unless trusted" for name in names)
    else:
        yield "    # A phone's own claims about its address and our name are dropped."
        yield from (f"    http-request del-header {name}" for name in names)


def _expectations() -> Iterator[str]:
    yield "    # HAProxy 2.6 loses the body of an answer whose head arrives together with a 100. So"
    yield "    # Exchange is not asked for one (RFC 9110 10.1.1): HAProxy tells clients to go on,"
    yield "    # and takes the header away."
    yield "    acl expects req.fhdr(Expect) -m str -i 100-continue"
    yield "    http-request wait-for-body time 4200s at-least 1 if expects"
    yield "    http-request del-header Expect if expects"


def _acl(name_and_fetch: str, values: Iterable[object]) -> Iterator[str]:
    """In lines of at most 64 words, all that HAProxy reads of one. Lines of one name are
    alternatives."""
    for some in batched(values, 50):
        yield f"    acl {name_and_fetch} {' '.join(map(str, some))}"


def _tells_phones(config: Config) -> bool:
    return config.autodiscover.phones != "off"


def _request(config: Config) -> Iterator[str]:
    yield "    # ActiveSync's path in all spellings of Exchange: any case, percent-encoding,"
    yield "    # repeated slashes, but no slash that is encoded."
    yield f"    acl called path,url_dec -m reg -i {_EAS_PATH}"
    yield "    acl odd_slash path -m sub -i %2f"
    yield "    # concat makes it text: kept as a method, a LOCK or a post would become OPTIONS."
    yield f"    http-request set-var(txn.eas_method) {_METHOD} if called !odd_slash"
    yield "    # From here on this variable stands for it, at a fraction of the cost."
    yield "    acl eas var(txn.eas_method) -m found"
    either = "eas"
    if _tells_phones(config):
        yield "    # Only what phones ask Autodiscover (MS-ASCMD 2.2.1.1.1)."
        yield f"    acl autodiscover path -m str -i {PATH}"
        yield "    acl posted method -m str -i POST"
        yield (
            "    http-request set-var(txn.eas_action) str(eas.autodiscover) if autodiscover posted"
        )
        yield "    acl discovers var(txn.eas_action) -m str eas.autodiscover"
        either = "eas or discovers"
    yield "    # A fetch returns the last of several headers, so all are counted: two Authorization"
    yield "    # headers name nobody. A logon on any path may be the connection's."
    for name, fetch in _REMEMBERED:
        if name == "method":
            continue
        condition = f" if {'eas' if name in _OF_EAS else either}"
        if name.startswith("authorization"):
            condition = ""
        yield f"    http-request set-var(txn.eas_{name}) {fetch}{condition}"
    yield "    acl several_versions req.fhdr_cnt(MS-ASProtocolVersion) gt 1"
    for n in range(2, REMEMBERED_LINES + 1):
        fetch = f"req.fhdr(MS-ASProtocolVersion,-{n})"
        yield f"    http-request set-var(txn.eas_version{n}) {fetch} if eas several_versions"
    yield "    # The absolute form, which names a server itself (RFC 9112 3.2.2)."
    for who in either.split(" or "):
        yield f"    http-request set-var(txn.eas_url) url if {who} !{{ url -m beg / }}"
    yield "    # Whether there is a policy key; its value is a secret."
    yield (
        "    http-request set-var(txn.eas_policy_key) bool(true) if eas"
        " { req.fhdr(X-MS-PolicyKey) -m found } !{ req.fhdr(X-MS-PolicyKey) 0 }"
    )
    if config.exchange.trusted_proxies:
        believed = " or ".join(f"{who} trusted" for who in either.split(" or "))
        for fact, header in _FORWARDED:
            counted = f"set-var(txn.eas_{fact}s) req.fhdr_cnt({header})"
            yield f"    http-request {counted} if {believed}"
            for n in range(1, REMEMBERED_LINES + 1):
                fetch = f"req.fhdr({header},-{n})"
                yield f"    http-request set-var(txn.eas_{fact}{n}) {fetch} if {believed}"


def _connection_logons() -> Iterator[str]:
    yield "    # Who has logged on by this connection, if the logon belongs to the connection"
    yield "    # (MS-NTHT 1.3): it holds for one client connection and one to Exchange, known by"
    yield "    # its port. After any other logon, all that is known is that somebody logged on."
    yield "    acl logs_on var(txn.eas_authorizations) -m int gt 0"
    yield "    acl logs_on_once var(txn.eas_authorizations) -m int eq 1"
    yield '    acl bound var(txn.eas_authorization),field(1," ") -m str -i ntlm negotiate'
    yield "    acl refused status 401"
    yield "    acl remembered var(sess.logon) -m found"
    yield "    acl known var(sess.logon) -m found"
    yield "    acl known var(sess.somebody) -m found"
    yield "    acl same_server bc_src_port,sub(sess.logon_port) eq 0"
    recalled = "{ var(txn.eas_logon) -m found }"
    for action in (
        "set-var(txn.eas_logon) var(sess.logon) if eas !logs_on remembered same_server",
        f"set-var(txn.eas_somebody) bool(true) if eas !logs_on known !{recalled}",
        "set-var(sess.somebody) bool(true) if logs_on !eas",
        "set-var(sess.somebody) bool(true) if logs_on eas !refused known",
        "unset-var(sess.logon) if logs_on",
        "unset-var(sess.logon) if eas refused",
        "unset-var(sess.somebody) if eas refused",
        "set-var(sess.logon) var(txn.eas_authorization) if eas logs_on_once bound !refused",
        "set-var(sess.logon_port) bc_src_port if eas logs_on_once bound !refused",
        "unset-var(sess.somebody) if eas logs_on_once bound !refused",
    ):
        yield f"    http-response {action}"


def _questions_to_autodiscover() -> Iterator[str]:
    yield "    # A question is held until it is complete, up to 64 KiB. A longer one passes at"
    yield "    # once, and so does its answer."
    yield f"    acl long_question req.hdr(Content-Length) -m int gt {MAX_BYTES}"
    yield f"    acl short_question req.body_len le {MAX_BYTES}"
    yield (
        f"    http-request wait-for-body time 4200s at-least {MAX_BYTES + 1}"
        " if discovers !long_question"
    )
    held = "discovers !long_question short_question"
    yield f"    http-request set-var(txn.eas_question) req.body if {held}"
    yield (
        "    http-request set-var(txn.eas_question_type) req.fhdr(Content-Type)"
        " if discovers { req.fhdr(Content-Type) -m found }"
    )
    count = "req.fhdr_cnt(Content-Type)"
    yield f"    http-request set-var(txn.eas_question_types) {count} if discovers"


def _answers(config: Config) -> Iterator[str]:
    yield "    # What can be UserHasNoMailbox: a WBXML answer of at most 64 KiB, held until"
    yield "    # it is complete; Exchange's diagnostics; and the weak statuses."
    yield "    acl of_post var(txn.eas_method) -m str -i POST"
    yield "    acl asks var(txn.eas_method) -m str -i POST OPTIONS"
    yield "    acl success status 200"
    yield "    acl forbidden status 403"
    yield "    acl wbxml res.fhdr(Content-Type) -m beg -i application/vnd.ms-sync"
    yield "    acl multipart res.fhdr(Content-Type) -m beg -i application/vnd.ms-sync.multipart"
    yield "    acl long res.hdr(Content-Length) -m int gt 65536"
    yield "    acl sized res.hdr(Content-Length) -m int gt 0"
    yield "    acl packed res.hdr(Content-Encoding) -m found"
    yield "    acl told res.fhdr(X-MS-Diagnostics) -m sub UserHasNoMailbox"
    yield "    acl told res.fhdr(X-ExceptionDiagnostics) -m sub UserHasNoMailbox"
    hold = "http-response set-var(txn.eas_held) bool(true) if of_post success"
    yield f"    {hold} wbxml !multipart !long"
    yield f"    {hold} told !sized"
    if _tells_phones(config):
        yield "    # Autodiscover's answer to a phone: the judge reads question and answer."
        yield "    acl questioned var(txn.eas_question) -m len gt 0"
        yield "    acl xml res.fhdr(Content-Type) -m beg -i text/xml application/xml"
        yield (
            "    http-response set-var(txn.eas_held) bool(true) if discovers questioned success xml"
            " !long"
        )
        if config.autodiscover.weak:
            asks = "http-response set-var(txn.eas_ask) bool(true)"
            yield f"    {asks} if discovers questioned forbidden"
    yield "    # The judge is asked about these only if they contain 1, 2 and 3."
    yield "    http-response set-var(txn.eas_plain) bool(true) if eas !packed !told"
    yield "    # As long as Exchange may take; a shorter time would end in a 504."
    yield (
        "    http-response wait-for-body time 4200s at-least 65537"
        " if { var(txn.eas_held) -m found }"
    )
    yield "    http-response set-var(txn.eas_ask) bool(true) if { var(txn.eas_held) -m found }"
    yield "    http-response set-var(txn.eas_ask) bool(true) if asks told forbidden"
    if config.exchange.weak_statuses:
        yield from _acl("weak status", sorted(config.exchange.weak_statuses))
        yield "    http-response set-var(txn.eas_ask) bool(true) if asks weak"


def _log(config: Config) -> Iterator[str]:
    yield "    # One line for every ActiveSync exchange that was not judged, in the form that"
    yield "    # `report` reads (Elastic Common Schema). The judge's journal has the others."
    told = "eas or discovers" if _tells_phones(config) else "eas"
    yield f"    http-request set-log-level silent unless {told}"
    if _tells_phones(config):
        yield "    http-request set-var(txn.eas_command) str(Autodiscover) if discovers"
        yield "    http-response set-var(txn.eas_reason) str(other_answer) if discovers"
        yield "    # One step of logging on; the answer to it counts."
        yield "    http-response set-log-level silent if discovers refused"
    yield "    http-request set-var(txn.eas_command) url_param(Cmd) if eas"
    yield "    http-request set-var(txn.eas_device_type) url_param(DeviceType) if eas"
    if config.journal.users == "clear":
        yield "    http-request set-var(txn.eas_device) url_param(DeviceId) if eas"
        yield "    # The user of Basic; no logged variable holds the password."
        yield '    acl basic req.fhdr(Authorization) -m beg -i "basic "'
        for who in told.split(" or "):
            yield (
                '    http-request set-var(txn.eas_who) req.fhdr(Authorization),word(2," "),b64dec,'
                f"field(1,:) if {who} basic logs_on_once"
            )
        yield "    acl named var(txn.eas_who) -m found"
        yield "    acl down_level var(txn.eas_who) -m sub \\\\"
        yield "    acl upn var(txn.eas_who) -m sub @"
        for fact, fetch in (
            ("name", "var(txn.eas_who) if named !down_level !upn"),
            ("domain", "var(txn.eas_who),field(1,\\\\) if named down_level"),
            ("name", "var(txn.eas_who),field(2,\\\\) if named down_level"),
            ("domain", "var(txn.eas_who),field(2,@) if named upn !down_level"),
            ("name", "var(txn.eas_who),field(1,@) if named upn !down_level"),
            ("email", "var(txn.eas_who) if named upn !down_level"),
        ):
            yield f"    http-request set-var(txn.eas_{fact}) {fetch}"
        yield "    http-request unset-var(txn.eas_who) if named"
    else:
        yield f"    # journal.users = {config.journal.users}: neither user nor device stands in it."
    yield "    # A query in base64 (MS-ASHTTP 2.2.1.1.1.1.1) is read by eas.lua."
    yield "    acl plain_query url_param(Cmd) -m found"
    yield "    http-request lua.eas_query if eas !plain_query { query -m found }"
    yield "    http-response set-var(txn.eas_reason) str(other_answer) if eas"
    yield "    http-response set-var(txn.eas_reason) str(unauthenticated) if eas refused"
    yield "    http-response set-var(txn.eas_reason) str(native_redirect) if eas { status 451 }"
    yield f"    log-format '{_log_line(config)}'"
    yield ""
    yield "    # Entering Lua costs more than all of these rules. A search in hexadecimal may find"
    yield "    # too much, never too little; Lua itself looks into longer bodies."
    yield "    acl held var(txn.eas_held) -m found"
    yield "    acl plain var(txn.eas_plain) -m found"
    yield f"    acl short_answer res.body_size le {_SHORT_ANSWER}"
    for digit in "123":
        yield f"    acl has_{digit} res.body,hex -m sub {ord(digit):02X}"
    without = " or ".join(f"held plain short_answer !has_{digit}" for digit in "231")
    yield f"    http-response unset-var(txn.eas_ask) if {without}"
    yield ""
    yield "    # Last: the judge's word replaces the answer."
    yield "    http-response lua.eas_judge if { var(txn.eas_ask) -m found }"
    yield "    http-response set-log-level silent if { var(txn.eas_said) -m found }"
    yield "    http-response lua.eas_obey if { var(txn.eas_said) -m found }"


def _log_line(config: Config) -> str:
    """Every field is quoted: HAProxy writes `-` for a number that it lacks."""

    def text(fetch: str) -> str:
        return f"%[{fetch},bytes(0,{MAX_TEXT}),json(utf8s)]"

    def var(name: str, otherwise: str = "") -> str:
        default = f",{otherwise}" if otherwise else ""
        return text(f"var(txn.eas_{name}{default})")

    ms = "%[date(0,ms),mod(1000),add(1000),concat(),bytes(1,3)]"
    named = config.journal.users == "clear"
    reason = var("reason", "no_answer")
    line = {
        "@timestamp": f"%[date,utime(%Y-%m-%dT%H:%M:%S)].{ms}Z",
        "ecs": {"version": ECS_VERSION},
        "event": {
            "action": var("action", "eas.exchange"),
            "reason": reason,
            "outcome": var("outcome", "success"),
            "duration": "%[date(0,us),sub(txn.eas_started),mul(1000)]",
        },
        "message": f"not judged: {reason}",
        "error": {"message": var("error")},
        "client": {"address": "%ci", "port": "%cp"},
        "http": {
            "request": {"method": var("method")},
            "response": {"status_code": "%ST"},
        },
        "url": {"domain": var("host"), "path": text("var(txn.eas_target),field(1,?)")},
        "user_agent": {"original": var("user_agent")},
        "eas": {
            "carrier": "haproxy",
            "command": var("command"),
            "protocol_version": var("version1"),
            "decision": "pass",
            "device": {
                "type": var("device_type"),
                **({"id": var("device")} if named else {}),
            },
        },
        **({"user": {key: var(key) for key in ("name", "domain", "email")}} if named else {}),
    }
    return json.dumps(line, separators=(",", ":"))


def _backends(config: Config, site: Site) -> Iterator[str]:
    server = "\n".join(_server(config, site))
    yield "backend waits"
    yield "    # A phone that leaves its Ping frees Exchange at once; otherwise Exchange fills up"
    yield "    # with requests that nobody waits for. The price: a client that closes its sending"
    yield "    # side after a request gets a 400. So this applies only to waiting requests."
    yield "    option abortonclose"
    yield server
    yield ""
    yield "backend exchange"
    yield server


def _server(config: Config, site: Site) -> Iterator[str]:
    url = config.proxy.upstream_url
    if url is None:
        return  # _problems has said so
    host = url.address.host
    if not _is_address(host):
        yield "    # Its name is resolved at a start and at a reload."
    line = f"    server exchange {url.address}"
    if url.scheme == "https":
        name = config.proxy.upstream_name or host
        authority = "@system-ca" if config.proxy.upstream_ca is None else config.proxy.upstream_ca
        line += f" ssl verify required ca-file {_quoted(authority)}"
        line += f" verifyhost {name} sni str({name})"
        if site.old_tls or config.proxy.upstream_tls_min == "1.0":
            yield "    # TLS 1.0, with the ciphers, keys and signatures of its time."
            line += " ssl-min-ver TLSv1.0 ciphers ALL:@SECLEVEL=0"
    yield line


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _quoted(value: object) -> str:
    """A word of HAProxy's configuration: in double quotes where a blank or a sign would end it."""
    text = str(value)
    if all(c.isalnum() or c in "-_./:@" for c in text):
        return text
    return '"' + "".join(f"\\{c}" if c in '"\\$' else c for c in text) + '"'

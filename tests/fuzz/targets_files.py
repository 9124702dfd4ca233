"""Targets for what people write: TOML, LDIF, TargetOwaURL, client names, forwarded addresses."""

import asyncio
from ipaddress import ip_address, ip_network

from eas_redirect.activesync.authorization import parse_logon
from eas_redirect.configuration.config import (
    ConfigError,
    cache_settings,
    directory_settings,
    load_config,
    policy,
)
from eas_redirect.directory.snapshot import Snapshot, SnapshotError
from eas_redirect.directory.values import (
    Ambiguous,
    Found,
    NotFound,
    OrganizationRelationship,
    Unavailable,
)
from eas_redirect.judging.callers import forwarded_address
from eas_redirect.policy.target import EAS_PATH, Refused, endpoint
from eas_redirect.telemetry.clients import client_families, client_family
from tests.fuzz.scratch import written
from tests.fuzz.seeds import column, lines, whole
from tests.fuzz.target import target

TOML = """\
mode = "observe"
[exchange]
host_names = ["mail.contoso.example"]
trusted_proxies = ["192.0.2.0/24"]
min_protocol_version = "12.1"
[directory]
servers = ["ldaps://dc1.contoso.example:3269"]
bind = "anonymous"
[cache]
found_s = 1.5
[redirect]
allowed_hosts = ["*.office365.com"]
[redirect.hosts]
"mail.fabrikam.example" = "eas.fabrikam.example"
[[redirect.relationships]]
name = "Cloud"
domain_names = ["contoso.mail.onmicrosoft.example"]
target_owa_url = "http://outlook.com/owa"
[redirect.only]
users = ["anna"]
percent = 50
networks = ["10.0.0.0/8"]
[journal]
path = "-"
exchanges = "decisions"
[metrics]
listen = "127.0.0.1:9410"
"""
TOML_TOKENS = (
    *(line.encode() + b"\n" for line in TOML.splitlines()),
    b"a = " + b"[" * 1500,
    b"a = " + b"{a=" * 1000,
    b"a = " + b"9" * 5000 + b"\n",
    b"{a = " * 50,
    b"a.b." * 50,
    b'"""',
    b"'''",
    b"\\u0000",
    b"1979-05-27T07:32:00Z",
    b"inf",
    b"0x",
)


# Small inputs: the lines of keys are found by parsing every beginning of the file.
@target(seeds=lambda: [TOML.encode()], tokens=TOML_TOKENS, max_size=4096, per_byte_us=200)
def fuzz_toml(data: bytes) -> None:
    """Any file is a configuration that the other rooms take, or a ConfigError with a line of
    printable text for each problem."""
    try:
        config = load_config(written(data, "eas-redirect.toml"))
        policy(config)
        directory_settings(config)
        cache_settings(config)
    except ConfigError as error:
        assert error.problems
        assert all(problem.strip() for problem in error.problems)


LDIF_TOKENS = (
    b"\n\ndn: ",
    b"\ndn:: ",
    b"\n ",
    b"sAMAccountName: anna\n",
    b"targetAddress: SMTP:a@b.example\n",
    b"proxyAddresses: smtp:anna@contoso.example\n",
    b"objectClass: user\n",
    b"msExchFedDomainNames: ",
    b"systemFlags: 3\n",
    b"changetype: modify\n",
    b":: ",
    b":< file:///etc/passwd\n",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r\n",
    b";range=0-1499",
    b"#",
)


# A mutated forest of 30 kB costs a few milliseconds, most of it normalising domain names.
@target(
    seeds=lambda: whole("migration.ldif", "ldif/forest.ldif"), tokens=LDIF_TOKENS, per_byte_us=20
)
def fuzz_ldif(data: bytes) -> None:
    """Any file is a snapshot that answers every logon with a value, or a SnapshotError; a
    malformed entry costs itself alone."""
    path = written(data, "snapshot.ldif")
    try:
        snapshot = Snapshot.load(path)
    except SnapshotError as error:
        assert str(path) in str(error)
        return
    for text in ("CONTOSO\\anna", "anna@contoso.example", "anna", "\u0130@xn--a"):
        logon = parse_logon(text)
        assert logon is not None
        answer = asyncio.run(snapshot.recipient(logon))
        assert isinstance(answer.lookup, Found | NotFound | Ambiguous | Unavailable)
    known = asyncio.run(snapshot.relationships()).relationships
    if not isinstance(known, Unavailable):  # what the file cannot vouch for
        assert all(isinstance(one, OrganizationRelationship) for one in known)


URL_TOKENS = (b"https://", b"@", b"\\", b"%2F", b":443", b"xn--", b"\xe3\x80\x82", b"//", b"[::1]")


@target(
    seeds=lambda: [b"http://outlook.com/owa/contoso.example", *lines("hostile_urls.txt")],
    tokens=URL_TOKENS,
)
def fuzz_target_owa_url(data: bytes) -> None:
    """Any text is refused, or leads to an https URL of one full DNS name, port 443, the path of
    ActiveSync and nothing else, all ASCII."""
    found = endpoint(data.decode("utf-8", "surrogateescape"))
    if isinstance(found, Refused):
        assert found.detail
        return
    assert found.location == f"https://{found.host}{EAS_PATH}"
    assert all(c.isascii() and (c.isalnum() or c in ".-") for c in found.host)
    assert "." in found.host
    assert not found.host.split(".")[-1].isdecimal()


def user_agents() -> list[bytes]:
    pairs = zip(
        column("clients.tsv", "user_agent"), column("clients.tsv", "device_type"), strict=True
    )
    return [b"\n".join(pair) for pair in pairs]


@target(seeds=user_agents, tokens=(b"Android", b"Apple-", b"/", b"MSFT-", b"Outlook", b"0" * 300))
def fuzz_client(data: bytes) -> None:
    """Any User-Agent and DeviceType are a family of the table or none."""
    agent, _, device_type = data.decode("utf-8", "surrogateescape").partition("\n")
    assert client_family(agent, device_type) in {None, *(row.name for row in client_families())}


NETWORKS = (ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))


@target(
    seeds=lambda: [b"192.0.2.1, 10.0.0.1", b"[2001:db8::1]:80", b"::ffff:10.0.0.1", b"unknown"],
    tokens=(b",", b"10.0.0.1", b"[::1]", b"%eth0", b":", b"::ffff:"),
)
def fuzz_forwarded(data: bytes) -> None:
    """Any X-Forwarded-For is an address or none; from a stranger it is none."""
    values = data.decode("utf-8", "surrogateescape").split("\n")
    assert forwarded_address("192.0.2.7", values, NETWORKS) is None
    address = forwarded_address("127.0.0.1", values, NETWORKS)
    assert address is None or str(ip_address(address)) == address

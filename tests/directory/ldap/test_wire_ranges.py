"""Attributes whose values come in ranges, and answers that do not end."""

import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from eas_redirect.directory.ldap.active_directory import ActiveDirectory
from eas_redirect.directory.ldap.wire import MAX_ANSWER
from eas_redirect.directory.values import DirectorySettings, Found, Unavailable
from tests.directory.ldap.ranges import (
    CONFIGURATION,
    ROOT,
    Attributes,
    RangeServer,
    Ranging,
    serving,
    whole_ranges,
)
from tests.directory.ldap.test_wire import entry_of
from tests.directory.logons import logon

RELATIONSHIP = f"CN=O365,CN=Federation,CN=Contoso,CN=Microsoft Exchange,CN=Services,{CONFIGURATION}"
ANNA = f"CN=anna,CN=Users,{ROOT}"


def entries(domains: int, addresses: int) -> dict[str, Attributes]:
    return {
        "": {
            "defaultNamingContext": [ROOT.encode()],
            "configurationNamingContext": [CONFIGURATION.encode()],
            "namingContexts": [ROOT.encode(), CONFIGURATION.encode()],
            "supportedCapabilities": [b"1.2.840.113556.1.4.800"],
        },
        f"CN=CONTOSO,CN=Partitions,{CONFIGURATION}": {
            "objectClass": [b"crossRef"],
            "nCName": [ROOT.encode()],
            "nETBIOSName": [b"CONTOSO"],
            "dnsRoot": [b"contoso.example"],
            "systemFlags": [b"3"],
        },
        RELATIONSHIP: {
            "objectClass": [b"msExchFedSharingRelationship"],
            "cn": [b"O365"],
            "msExchFedDomainNames": [b"d%d.example" % n for n in range(domains)],
        },
        ANNA: {
            "objectClass": [b"top", b"user"],
            "sAMAccountName": [b"anna"],
            "mailNickname": [b"anna"],
            "homeMDB": [b"CN=DB01"],
            "proxyAddresses": [b"smtp:a%d@contoso.example" % n for n in range(addresses)],
        },
    }


@asynccontextmanager
async def asking(server: RangeServer) -> AsyncIterator[ActiveDirectory]:
    with serving(server):
        settings = DirectorySettings(servers=(server.url,), bind="anonymous", lookup_timeout_s=20)
        directory = ActiveDirectory(settings)
        try:
            yield directory
        finally:
            directory.close()


@pytest.mark.parametrize("most", [1, 7, 1500])
@pytest.mark.parametrize("beyond", [-1, 0, 1])
async def test_every_value_of_every_range_comes(most: int, beyond: int) -> None:
    """The last range is full, has one value less, and one value."""
    count = 3 * most + beyond
    server = RangeServer(entries(count, count), whole_ranges(most), most=most)
    async with asking(server) as directory:
        known = (await directory.relationships()).relationships
        assert isinstance(known, tuple)
        [relationship] = known
        assert len(set(relationship.domain_names)) == count
        assert relationship.domains_unknown is None
        found = (await directory.recipient(logon("CONTOSO\\anna"))).lookup
        assert isinstance(found, Found), found
        assert len(found.recipient.proxy_addresses) == count
    ranged = {name for _, names in server.asked for name in names if ";" in name}
    assert f"msexchfeddomainnames;range={most}-*" in ranged


def nothing_more(name: str, values: list[bytes], first: int) -> tuple[str, list[bytes]] | None:
    return (f"{name};range=0-1", values[:2]) if first == 0 else None


def the_same_again(name: str, values: list[bytes], _first: int) -> tuple[str, list[bytes]]:
    return f"{name};range=0-1", values[:2]


def empty_ranges(name: str, values: list[bytes], first: int) -> tuple[str, list[bytes]]:
    return f"{name};range={first}-{first + 1}", values[:2] if first == 0 else []


@pytest.mark.parametrize("ranging", [nothing_more, the_same_again, empty_ranges])
async def test_a_server_that_keeps_the_rest_to_itself(ranging: Ranging) -> None:
    """What is cut is unknown. Half a list would be an answer to somebody else's question."""
    async with asking(RangeServer(entries(9, 9), ranging, most=2)) as directory:
        for answer in (
            (await directory.relationships()).relationships,
            (await directory.recipient(logon("CONTOSO\\anna"))).lookup,
        ):
            assert isinstance(answer, Unavailable)
            assert answer.error_type == "range_refused"
            assert "only the first 2 values" in answer.message


async def test_ranges_without_an_end_are_bounded() -> None:
    def ever_more(name: str, _values: list[bytes], first: int) -> tuple[str, list[bytes]]:
        return f"{name};range={first}-{first + 999}", [b"x" * 1000] * 1000

    server = RangeServer(entries(9, 9), ever_more, most=2)
    async with asking(server) as directory:
        known = (await directory.relationships()).relationships
        assert isinstance(known, Unavailable)
        assert known.error_type == "answer_too_long"
    assert len([names for _, names in server.asked if ";range=" in names[0]]) <= MAX_ANSWER // 10**6


@pytest.mark.parametrize("size", [300, 100_000])
async def test_an_answer_without_an_end_takes_no_more_than_its_bound(size: int) -> None:
    server = RangeServer(entries(1, 1), whole_ranges(1500))
    server.endless = entry_of(ANNA, {"objectClass": [b"user"], "info": [b"x" * size]}, wide=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with asking(server) as directory:
        lookup = (await directory.recipient(logon("CONTOSO\\anna"))).lookup
        assert isinstance(lookup, Unavailable)
        assert lookup.error_type == "answer_too_long", lookup
    taken_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert taken_kib < 160 * 1024
    assert server.sent < 2 * MAX_ANSWER


async def test_a_message_that_is_announced_as_too_long_is_not_waited_for() -> None:
    server = RangeServer(entries(1, 1), whole_ranges(1500))
    server.endless = entry_of(ANNA, {"info": [b"x" * (8 * 1024**2)]}, wide=True)
    async with asking(server) as directory:
        lookup = (await directory.recipient(logon("CONTOSO\\anna"))).lookup
        assert isinstance(lookup, Unavailable)
        assert lookup.error_type == "answer_too_long", lookup

"""pyactivesync, a client that others wrote, waits; its mailbox moves the way a move does, in a real
directory; and it asks its way to the new server. A staged user's wait goes on."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from pyactivesync.client import Client
from pyactivesync.models import PingResult

from eas_redirect.directory.values import DirectorySettings
from eas_redirect.lab.authority import LabCertificates
from eas_redirect.lab.http_server import Server
from eas_redirect.lab.legacy_exchange import (
    LabAccount,
    LegacyExchange,
    ProductVersion,
    Treatment,
)
from eas_redirect.lab.personas import PASSWORD
from tests.integration.messages import at
from tests.integration.mitmdump import Mitmdump, mitmdump
from tests.integration.samba import ROOT, Samba
from tests.integration.slapd import running_slapd
from tests.integration.test_moved_slapd import WRITER, modify

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

STAFF = f"OU=Staff,{ROOT}"
NAMES = ("mover", "staged", "stayer")
ADDRESS = "targetAddress: SMTP:{0}@contoso.mail.example\n"
# What a hybrid move leaves behind, and what a staged migration does weeks before one.
MOVE = (
    f"dn: CN=mover,{STAFF}\nchangetype: modify\n"
    f"add: targetAddress\n{ADDRESS.format('mover')}-\ndelete: homeMDB\n"
)
STAGE = f"dn: CN=staged,{STAFF}\nchangetype: modify\nadd: targetAddress\n{ADDRESS.format('staged')}"
CONFIG = """
mode = "enforce"
[exchange]
host_names = ["mail.contoso.example"]
[redirect]
end_waits = "ping"
[directory]
servers = {servers}
ca_file = "{ca_file}"
bind_user = "{bind_user}"
password_file = "{password_file}"
search_base = "{search_base}"
watch_s = 2
"""


@dataclass(frozen=True)
class Forest:
    """A directory with the people of NAMES, each with a mailbox here, and how to change it."""

    settings: DirectorySettings
    modify: Callable[[str], None]


@pytest.fixture(params=["OpenLDAP", "Active Directory"])
def forest(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Forest]:
    made = openldap(tmp_path) if request.param == "OpenLDAP" else domain(request)
    with made as running:
        yield running


@contextmanager
def openldap(tmp_path: Path) -> Iterator[Forest]:
    people = "".join(
        f"\ndn: CN={name},{STAFF}\nobjectClass: user\nsn: x\nsAMAccountName: {name}\n"
        f"userPrincipalName: {name}@contoso.example\nmailNickname: {name}\nhomeMDB: CN=DB01\n"
        for name in NAMES
    )
    with running_slapd(tmp_path / "slapd", ldif=people, access=WRITER) as slapd:
        yield Forest(slapd.settings(), lambda ldif: modify(slapd, ldif))


@contextmanager
def domain(request: pytest.FixtureRequest) -> Iterator[Forest]:
    samba: Samba = request.getfixturevalue("samba")
    for name in NAMES:
        samba.ldb(
            "ldbadd",
            f"dn: CN={name},{STAFF}\nobjectClass: user\nsAMAccountName: {name}\n"
            f"userPrincipalName: {name}@contoso.example\nmailNickname: {name}\n"
            f"homeMDB: CN=Bert Local,{STAFF}\n",
        )
    try:
        yield Forest(samba.settings(), lambda ldif: samba.ldb("ldbmodify", ldif))
    finally:
        for name in NAMES:
            samba.ldb("ldbmodify", f"dn: CN={name},{STAFF}\nchangetype: delete\n")


@contextmanager
def proxied(forest: Forest, exchange: Server, tmp_path: Path) -> Iterator[Mitmdump]:
    certificates = LabCertificates(tmp_path / "certs")
    front = certificates.issue("front", ["localhost", "127.0.0.1"])
    settings = forest.settings
    config = CONFIG.format(
        servers=list(settings.servers),
        ca_file=settings.ca_file,
        bind_user=settings.bind_user,
        password_file=settings.password_file,
        search_base=ROOT,
    )
    with (
        pytest.MonkeyPatch.context() as patch,
        mitmdump(
            tmp_path,
            f"reverse:{exchange.url}",
            config=config,
            arguments=("--certs", str(front.file)),
        ) as proxy,
    ):
        patch.setenv("REQUESTS_CA_BUNDLE", str(certificates.ca_file))
        yield proxy


def waiting(
    proxy: Mitmdump, name: str, pool: ThreadPoolExecutor
) -> "tuple[Client, Future[PingResult]]":
    """A client that has its folders, and waits for news of the first."""
    client = Client(
        f"localhost:{proxy.port}", f"{name}@contoso.example", PASSWORD, device_id=f"PYAS{name}"
    )
    inbox = client.list_folders()[0].id
    return client, pool.submit(client.ping, [inbox], heartbeat=900, timeout=120)


def test_a_real_client_asks_its_way_to_the_new_server(forest: Forest, tmp_path: Path) -> None:
    accounts = [
        LabAccount(
            name=name,
            user_principal_name=f"{name}@contoso.example",
            password=PASSWORD,
            behaviour=Treatment.UNTOLD,
        )
        for name in NAMES
    ]
    begun: list[str] = []
    handler = LegacyExchange(
        accounts,
        version=ProductVersion.EXCHANGE_2016,
        longest_ping_s=600,
        on_wait=begun.append,
    )
    with (
        Server(handler) as exchange,
        proxied(forest, exchange, tmp_path) as proxy,
        ThreadPoolExecutor(len(NAMES)) as pool,
    ):
        clients = {name: waiting(proxy, name, pool) for name in NAMES}
        try:
            deadline = time.monotonic() + 30
            while sorted(begun) != sorted(NAMES):
                assert time.monotonic() < deadline, begun
                time.sleep(0.05)
            time.sleep(5)  # everybody is known, and looked at once
            assert not any(ping.done() for _, ping in clients.values())
            forest.modify(STAGE)
            forest.modify(MOVE)
            handler.leave("mover")
            moved_at = time.monotonic()
            client, ping = clients["mover"]
            assert (ping.result(30).status, ping.result().changed_folder_ids) == ("7", [])
            with pytest.raises(requests.HTTPError) as refused:
                client.list_folders()
            assert time.monotonic() - moved_at < 15
            response = refused.value.response
            assert response is not None
            assert response.status_code == 451
            host = urlsplit(response.headers["X-MS-Location"]).hostname
            assert host == "outlook.office365.com"
            time.sleep(5)  # two more looks
            assert not clients["staged"][1].done()
            assert not clients["stayer"][1].done()
        finally:
            proxy.stop()
            for client, _ in clients.values():
                client.close()
        lines = [line for line in proxy.journal if at(line, "event.action") == "eas.wait"]
        assert [at(line, "user.name") for line in lines] == ["mover"]
        assert at(lines[0], "eas.decision") == "end_wait"
        assert "Traceback" not in proxy.log

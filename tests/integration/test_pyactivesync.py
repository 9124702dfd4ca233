"""pyactivesync, an ActiveSync client that others wrote, as a device through a real mitmdump."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from pyactivesync.client import Client
from pyactivesync.exceptions import StatusError

from eas_redirect.lab.authority import LabCertificates
from eas_redirect.lab.http_server import Server
from eas_redirect.lab.ldif_export import write_ldif
from eas_redirect.lab.legacy_exchange import (
    DEFAULT_FOLDERS,
    LabAccount,
    LegacyExchange,
    ProductVersion,
    Treatment,
    ordinary_answer,
    status_answer,
)
from eas_redirect.lab.personas import CLOUD, PASSWORD, PERSONAS, RELATIONSHIPS
from tests.integration.mitmdump import Mitmdump, mitmdump

pytestmark = pytest.mark.integration

PEOPLE = {persona.name: persona for persona in PERSONAS}
# This client calls `localhost`, which is no name that could be compared with a target.
CONFIG = (
    'mode = "enforce"\n[directory]\nsnapshot = "directory.ldif"\n'
    '[exchange]\nhost_names = ["mail.contoso.example"]\n'
)


@pytest.fixture(
    params=[ProductVersion.EXCHANGE_2013, ProductVersion.EXCHANGE_2016], ids=["2013", "2016"]
)
def exchange(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Anna has moved, Jana has not. Exchange 2013 cannot read 16.1, which this client speaks."""
    accounts = [PEOPLE["anna"].account, PEOPLE["jana"].account]
    with Server(LegacyExchange(accounts, version=request.param)) as server:
        yield server


@pytest.fixture
def proxy(exchange: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mitmdump]:
    certificates = LabCertificates(tmp_path / "certs")
    front = certificates.issue("front", ["localhost", "127.0.0.1"])
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.ca_file))
    people = [PEOPLE[name].directory_user for name in ("anna", "jana")]
    (tmp_path / "directory.ldif").write_text(write_ldif(people, RELATIONSHIPS), "utf-8")
    arguments = ("--certs", str(front.file))
    mode = f"reverse:{exchange.url}"
    with mitmdump(tmp_path, mode, config=CONFIG, arguments=arguments) as running:
        yield running


def client(proxy: Mitmdump, name: str) -> Client:
    user = PEOPLE[name].user_principal_name
    return Client(f"localhost:{proxy.port}", user, PASSWORD, device_id="PYACTIVESYNC1")


def reasons(proxy: Mitmdump, count: int) -> list[object]:
    found = []
    for line in proxy.exchanges(count):
        event = line["event"]
        assert isinstance(event, dict)
        found.append(event["reason"])
    return found


@pytest.mark.parametrize("exchange", [ProductVersion.EXCHANGE_2016], indirect=True, ids=["2016"])
def test_a_user_with_a_mailbox_sees_every_folder(exchange: Server, proxy: Mitmdump) -> None:
    with client(proxy, "jana") as jana:
        folders = jana.list_folders()
    assert [(str(folder.type.value), folder.name) for folder in folders] == list(DEFAULT_FOLDERS)
    assert reasons(proxy, 3) == ["other_answer"] * 3  # Provision twice, FolderSync
    asked = [pair for pair in exchange.exchanged if pair.request.header("Authorization")]
    sent = [pair.reply.body for pair in asked]
    assert sent == [ordinary_answer("Provision")] * 2 + [ordinary_answer("FolderSync")]


def test_a_moved_user_sees_the_451(exchange: Server, proxy: Mitmdump) -> None:
    with client(proxy, "anna") as anna, pytest.raises(requests.HTTPError) as refused:
        anna.list_folders()
    response = refused.value.response
    assert response is not None
    assert (response.status_code, response.reason, response.content) == (451, "Redirect", b"")
    assert urlsplit(response.headers["X-MS-Location"]).hostname == CLOUD
    assert reasons(proxy, 1) == ["mailbox_moved"]
    status = exchange.exchanged[-1].reply.status
    assert status in (200, 403)  # in band where 16.1 is understood, else the bare form


@pytest.mark.parametrize("exchange", [ProductVersion.EXCHANGE_2016], indirect=True, ids=["2016"])
def test_without_the_addon_it_sees_user_has_no_mailbox(
    exchange: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = LabCertificates(tmp_path / "certs")
    front = certificates.issue("front", ["localhost", "127.0.0.1"])
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.ca_file))
    mode = f"reverse:{exchange.url}"
    arguments = ("--certs", str(front.file))
    with (
        mitmdump(tmp_path, mode, addon=False, arguments=arguments) as bare,
        client(bare, "anna") as anna,
        pytest.raises(StatusError) as refused,
    ):
        anna.list_folders()
    assert refused.value.code == "123"
    assert exchange.exchanged[-1].reply.body == status_answer("Provision", 123)


@pytest.mark.parametrize("exchange", [ProductVersion.EXCHANGE_2016], indirect=True, ids=["2016"])
def test_an_everyday_session_is_untouched(proxy: Mitmdump) -> None:
    with client(proxy, "jana") as jana:
        inbox = jana.list_folders()[0].id
        first = jana.sync_folder(inbox)
        second = jana.sync_folder(inbox, first.sync_key)
        ping = jana.ping([inbox], heartbeat=60)
    assert (first.sync_key, second.sync_key, second.added) == ("1", "1", [])
    assert (ping.status, ping.changed_folder_ids) == ("1", [])
    assert reasons(proxy, 6) == ["other_answer"] * 6


def test_an_account_of_its_own_password_is_needed(proxy: Mitmdump) -> None:
    stranger = LabAccount(
        name="stranger",
        user_principal_name="stranger@contoso.example",
        password="another",
        behaviour=Treatment.MAILBOX,
    )
    with (
        Client(
            f"localhost:{proxy.port}",
            stranger.user_principal_name,
            stranger.password,
            device_id="PYACTIVESYNC2",
        ) as unknown,
        pytest.raises(requests.HTTPError) as refused,
    ):
        unknown.list_folders()
    assert refused.value.response is not None
    assert refused.value.response.status_code == 401
    assert reasons(proxy, 1) == ["unauthenticated"]

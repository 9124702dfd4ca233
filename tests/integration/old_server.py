"""A legacy Exchange over TLS with its directory, made of the lab's parts: for tests of what stands
around the proxy."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eas_redirect.lab.authority import LabCertificates
from eas_redirect.lab.http_server import Server
from eas_redirect.lab.ldif_export import DirectoryRelationship, DirectoryUser, write_ldif
from eas_redirect.lab.legacy_exchange import LabAccount, LegacyExchange, Treatment

PASSWORD = "secret"
ANNA = "anna@contoso.example"
BERT = "bert@contoso.example"


@dataclass(frozen=True)
class OldServer:
    """`ca`, `snapshot` and `certificate` (for the phones' name) are files; anna has moved. What is
    loaded into `tls` is the server's certificate from then on; `issued` is the one at first."""

    server: Server
    tls: ssl.SSLContext
    issued: Path
    ca: Path
    snapshot: Path
    certificate: Path

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server.port}"


@contextmanager
def old_server(directory: Path) -> Iterator[OldServer]:
    certificates = LabCertificates(directory / "certificates")
    issued = certificates.issue("ex07", ["localhost", "ex07.contoso.local", "127.0.0.1"])
    phones = certificates.issue("mail", ["mail.contoso.example", "localhost", "127.0.0.1"])
    snapshot = directory / "contoso.ldif"
    snapshot.write_text(_ldif(), "utf-8")
    exchange = LegacyExchange(
        [
            LabAccount(
                name=upn.partition("@")[0],
                user_principal_name=upn,
                password=PASSWORD,
                behaviour=behaviour,
            )
            for upn, behaviour in ((ANNA, Treatment.MOVED), (BERT, Treatment.MAILBOX))
        ]
    )
    context = issued.server_context()
    with Server(exchange, tls=context) as server:
        yield OldServer(
            server=server,
            tls=context,
            issued=issued.file,
            ca=certificates.ca_file,
            snapshot=snapshot,
            certificate=phones.file,
        )


def _ldif() -> str:
    users = [
        DirectoryUser(
            name="anna",
            display_name="Anna",
            user_principal_name=ANNA,
            target_address="SMTP:anna@contoso.mail.onmicrosoft.example",
        ),
        DirectoryUser(name="bert", display_name="Bert", user_principal_name=BERT, has_mailbox=True),
    ]
    cloud = DirectoryRelationship(
        name="Cloud",
        domain_names=("contoso.mail.onmicrosoft.example",),
        target_owa_url="https://outlook.office.com/mail",
    )
    return write_ldif(users, [cloud])

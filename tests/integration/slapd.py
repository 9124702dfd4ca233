"""A real OpenLDAP server with the shape of an Active Directory forest.

    with running_slapd(tmp_path) as slapd:
        DirectorySettings(servers=(slapd.ldaps_url,), ca_file=str(slapd.ca_file),
                          bind_user=slapd.bind_user, password_file=str(slapd.password_file))

Holds the forest of tests/data/ldif/forest.ldif. Not AD: no bind by UPN, no texts of AD.
"""

import base64
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eas_redirect.directory.values import DirectorySettings
from eas_redirect.lab.authority import LabCertificates
from tests.integration.processes import ServerProcess, free_port
from tests.support import DATA, require

BIND_PASSWORD = "bind-Passw0rd-of-the-proxy"  # stands in tests/data/secrets.txt too
_PATH = "/usr/sbin"
_CONF = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include {schema}
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {home}/slapd.pid
rootDSE {root_dse}
{tls}
{extra}
database mdb
suffix "DC=contoso,DC=example"
rootdn "cn=root"
directory {home}/db
maxsize 268435456
dbnosync
index objectClass,sAMAccountName,userPrincipalName,proxyAddresses,objectGUID eq
access to attrs=userPassword by anonymous auth by * none
{access}
access to * by * read
"""


_TLS = """\
TLSCACertificateFile {ca_file}
TLSCertificateFile {certificate}
TLSCertificateKeyFile {certificate}
"""


class Slapd:
    """One slapd on free ports of 127.0.0.1, with a CA of its own."""

    def __init__(self, home: Path, ca_file: Path) -> None:
        self.host = "127.0.0.1"
        self.port, self.tls_port = free_port(), free_port()
        self.ca_file = ca_file
        self.bind_user = "CN=eas-redirect,DC=contoso,DC=example"
        self.password_file = home / "password"
        self.password_file.write_text(BIND_PASSWORD + "\n")
        self.password_file.chmod(0o600)
        urls = f"{self.ldap_url}/ ldaps://{self.host}:{self.tls_port}/"
        command = [f"{_PATH}/slapd", "-f", str(home / "slapd.conf"), "-h", urls, "-d", "0"]
        addresses = [(self.host, self.port), (self.host, self.tls_port)]
        self.process = ServerProcess(command, addresses, home / "slapd.log")

    @property
    def ldap_url(self) -> str:
        return f"ldap://{self.host}:{self.port}"

    @property
    def ldaps_url(self) -> str:
        """By IP address; the certificate also names `localhost` and `dc1.contoso.example`."""
        return f"ldaps://{self.host}:{self.tls_port}"

    def settings(self, *others: "Slapd", **changes: object) -> DirectorySettings:
        """Settings to ask this server, then the others, over LDAPS; keyword arguments win."""
        known: dict[str, object] = {
            "servers": tuple(slapd.ldaps_url for slapd in (self, *others)),
            "ca_file": str(self.ca_file),
            "bind_user": self.bind_user,
            "password_file": str(self.password_file),
            "search_base": "DC=contoso,DC=example",
        }
        return DirectorySettings(**(known | changes))  # type: ignore[arg-type]  # keys are its own


@contextmanager
def running_slapd(
    home: Path,
    *,
    ldif: str = "",
    access: str = "",
    extra: str = "",
    authority: LabCertificates | None = None,
    with_tls: bool = True,
) -> Iterator[Slapd]:
    """`ldif` holds further entries, `access` further access rules, `extra` global settings. Several
    servers with one `authority` have one CA."""
    require("slapd", "slapadd")
    (home / "db").mkdir(parents=True)
    authority = authority or LabCertificates(home / "tls")
    certificate = authority.issue("slapd", ("dc1.contoso.example", "localhost", "127.0.0.1")).file
    conf = home / "slapd.conf"
    conf.write_text(
        _CONF.format(
            schema=DATA / "ad" / "slapd-exchange.schema",
            root_dse=DATA / "ad" / "root-dse.ldif",
            home=home,
            tls=_TLS.format(ca_file=authority.ca_file, certificate=certificate) if with_tls else "",
            extra=extra,
            access=access,
        )
    )
    _load(conf, home / "data.ldif", ldif)
    slapd = Slapd(home, authority.ca_file)
    slapd.process.start()
    try:
        yield slapd
    finally:
        slapd.process.kill()


def _load(conf: Path, file: Path, extra: str) -> None:
    tree = (DATA / "ad" / "tree.ldif").read_text(encoding="utf-8")
    containers = (DATA / "ad" / "exchange-containers.ldif").read_text(encoding="utf-8")
    forest = (DATA / "ldif" / "forest.ldif").read_text(encoding="utf-8").partition("\n")[2]
    containers = containers.replace("@ROOT@", "DC=contoso,DC=example")
    file.write_text("\n".join([tree, containers, _for_slapd(forest), extra]), encoding="utf-8")
    command = [f"{_PATH}/slapadd", "-q", "-f", str(conf), "-l", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"slapadd refused {file}: {done.stderr}")


def _for_slapd(forest: str) -> str:
    """OpenLDAP wants the attributes that a class must have, parents first, and known classes."""
    blocks = [block for block in forest.split("\n\n") if "dn:" in block]
    blocks.sort(key=lambda block: "crossRefContainer" not in block)
    return "\n\n".join(_with_names(block) for block in blocks if "computer" not in block) + "\n"


def _with_names(block: str) -> str:
    dn = re.search(r"^dn:(:?) (.*)$", block, re.MULTILINE)
    assert dn is not None, block
    text = base64.b64decode(dn[2]).decode() if dn[1] else dn[2]
    name = text.partition(",")[0].partition("=")[2]
    if "\ncn:" not in block:
        block += f"\ncn: {name}"
    if re.search("^objectClass: (user|contact)$", block, re.MULTILINE):
        block += "\nsn: x"
    return block

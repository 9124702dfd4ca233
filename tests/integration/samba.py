"""A real Active Directory domain controller: Samba's, on a loopback address of its own.

Its ports are fixed (88, 389, 636, 3268, 3269), so that each run takes another address of 127/8;
root is needed. Holds the Contoso half of tests/data/ldif/forest.ldif, the relationships, and
accounts that cannot bind for every reason.
"""

import base64
import os
import random
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eas_redirect.directory.values import DirectorySettings
from eas_redirect.lab.authority import LabCertificates
from tests.integration.processes import ServerProcess
from tests.support import DATA, require, unavailable

PASSWORD = "bind-Passw0rd-of-the-proxy"  # stands in tests/data/secrets.txt too
ROOT = "DC=contoso,DC=example"
ANNA = f"CN=Anna Moved,OU=Staff,{ROOT}"
SPECIAL_NAME = "Müller (ext) #1!"  # in place of one with `,*=`, which Samba refuses
FEDERATION = f"CN=Federation,CN=Contoso,CN=Microsoft Exchange,CN=Services,CN=Configuration,{ROOT}"
REALM = "CONTOSO.EXAMPLE"
_PORTS = (88, 389, 636, 3268, 3269)
_DONT_EXPIRE = 0x10000 | 0x200  # UF_DONT_EXPIRE_PASSWD, UF_NORMAL_ACCOUNT (MS-ADTS 2.2.16)
_ACCOUNTS = {
    "eas-redirect": _DONT_EXPIRE,  # may read the relationships
    "ordinary": _DONT_EXPIRE,  # reads what every account reads
    "blind": _DONT_EXPIRE,  # may be denied anything
    "disabled": _DONT_EXPIRE | 0x2,
    "expired": _DONT_EXPIRE,
    "must-change": 0x200,
    "password-expired": 0x200,
    "locked": _DONT_EXPIRE,
    "mistyped": _DONT_EXPIRE,  # somebody wrote a wrong password into its file
}
_BYPASS_PASSWORD_HASH = "local_oid:1.3.6.1.4.1.7165.4.3.12:0"  # lets pwdLastSet be in the past
_OPTIONS = {
    "bind interfaces only": "yes",
    "server services": "ldap, cldap, kdc",
    "dsdb:schema update allowed": "yes",
}


class Samba:
    """A domain controller of contoso.example (NetBIOS name CONTOSO)."""

    def __init__(self, home: Path, address: str) -> None:
        self.home = home
        self.address = address
        self.ca_file = home / "tls" / "lab-ca.pem"
        self.password_file = home / "password"
        self.config = home / "dc" / "etc" / "smb.conf"
        # One process only, so that hanging and killing it is hanging and killing the server.
        command = ["samba", "-i", "-M", "single", f"--configfile={self.config}"]
        addresses = [(address, port) for port in _PORTS]
        self.process = ServerProcess(command, addresses, home / "samba.log")

    def settings(self, **changes: object) -> DirectorySettings:
        """Settings to ask over LDAPS as an account that may read everything needed."""
        known: dict[str, object] = {
            "servers": (f"ldaps://{self.address}",),
            "ca_file": str(self.ca_file),
            "bind_user": "eas-redirect@contoso.example",
            "password_file": str(self.password_file),
        }
        return DirectorySettings(**(known | changes))  # type: ignore[arg-type]  # keys are its own

    def ldb(self, tool: str, ldif: str, control: str | None = None) -> None:
        """ldbadd or ldbmodify on the database itself."""
        command = [
            tool,
            f"--configfile={self.config}",
            "-H",
            self._database,
            "--option=dsdb:schema update allowed=yes",
            *([f"--controls={control}"] if control else []),
        ]
        done = subprocess.run(command, input=ldif, capture_output=True, text=True, check=False)
        if done.returncode or "ERR" in done.stdout + done.stderr:  # 0 also after a refused record
            raise RuntimeError(f"{tool}: {done.stdout} {done.stderr}")

    def deny(self, account: str, base: str, attribute_guid: str) -> None:
        """Hides an attribute (by its schemaIDGUID) below `base` from an account."""
        self._dsacl(base, f"(OD;CI;RP;{attribute_guid};;{self._sid(account)})")

    def hide(self, account: str, base: str, *attributes: str) -> None:
        """Hides attributes below `base` from an account."""
        for attribute in attributes:
            self.deny(account, base, self._schema_guid(attribute))

    def _schema_guid(self, attribute: str) -> str:
        command = [
            *("ldbsearch", f"--configfile={self.config}", "-H", self._database),
            *("-b", f"CN=Schema,CN=Configuration,{ROOT}"),
            *(f"(lDAPDisplayName={attribute})", "schemaIDGUID"),
        ]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return found.partition("\nschemaIDGUID: ")[2].partition("\n")[0].strip()

    def grant(self, account: str, base: str) -> None:
        """Lets an account read an object and what is below it."""
        self._dsacl(base, f"(A;CI;RPLCLORC;;;{self._sid(account)})")

    def _dsacl(self, base: str, sddl: str) -> None:
        command = [
            *("samba-tool", "dsacl", "set", f"--configfile={self.config}", "-H", self._database),
            *("--action=allow", f"--objectdn={base}", f"--sddl={sddl}"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"samba-tool dsacl: {done.stdout} {done.stderr}")

    def _sid(self, account: str) -> str:
        return self._attribute(account, "objectSid")

    def _attribute(self, account: str, name: str) -> str:
        """Its first value, empty when there is none."""
        command = [
            *("ldbsearch", f"--configfile={self.config}", "-H", self._database),
            *(f"(sAMAccountName={account})", name),
        ]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return found.partition(f"\n{name}: ")[2].partition("\n")[0].strip()

    @property
    def _database(self) -> str:
        return str(self.home / "dc" / "private" / "sam.ldb")

    def restart(self, **options: str) -> None:
        """With these further options in smb.conf (underscores for spaces), which stay."""
        lines = "".join(
            f"\t{name.replace('_', ' ')} = {value}\n" for name, value in options.items()
        )
        text = self.config.read_text().replace("[global]\n", f"[global]\n{lines}", 1)
        self.config.write_text(text)
        self.process.kill()
        self.process.start()

    def failures(self, account: str) -> int:
        """How many wrong passwords the domain has counted for an account."""
        return int(self._attribute(account, "badPwdCount") or 0)

    def set_password(self, account: str, password: str) -> None:
        self.ldb(
            "ldbmodify",
            f"dn: CN={account},CN=Users,{ROOT}\nchangetype: modify\nreplace: clearTextPassword\n"
            f"clearTextPassword:: {_utf_16(password)}\n",
        )


@contextmanager
def running_samba(home: Path) -> Iterator[Samba]:
    require("samba", "samba-tool", "ldbadd", "ldbmodify")
    if os.geteuid() != 0:
        unavailable("a domain controller's ports need root")
    home.mkdir(parents=True, exist_ok=True)
    samba = Samba(home, _free_address())
    samba.password_file.write_text(PASSWORD + "\n")
    samba.password_file.chmod(0o600)
    _provision(samba)
    _load(samba)
    samba.process.start()
    try:
        yield samba
    finally:
        samba.process.kill()


def _free_address() -> str:
    """An address of 127/8 where nobody listens on port 636."""
    while True:
        address = "127." + ".".join(str(random.randint(2, 250)) for _ in range(3))  # noqa: S311 - no secret
        with socket.socket() as probe:
            try:
                probe.bind((address, 636))
            except PermissionError:
                unavailable("port 636 may not be bound")
            except OSError:
                continue
        return address


def _provision(samba: Samba) -> None:
    authority = LabCertificates(samba.home / "tls")
    certificate = authority.issue("samba", ("dc1.contoso.example", samba.address)).file
    options = _OPTIONS | {
        "interfaces": f"{samba.address}/8",
        "pid directory": str(samba.home / "run"),
        "ncalrpc dir": str(samba.home / "ncalrpc"),
        "tls certfile": str(certificate),
        "tls keyfile": str(certificate),
        "tls cafile": str(authority.ca_file),
        "log file": str(samba.home / "log.%m"),
    }
    (samba.home / "run").mkdir()
    command = [
        *("samba-tool", "domain", "provision", "--server-role=dc", "--dns-backend=NONE"),
        *(f"--targetdir={samba.home / 'dc'}", f"--realm={REALM}", "--domain=CONTOSO"),
        *("--host-name=dc1", f"--host-ip={samba.address}", "--adminpass=Adm1n-of-the-tests"),
        *(f"--option={name}={value}" for name, value in options.items()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"samba-tool domain provision: {done.stdout} {done.stderr}")


def _load(samba: Samba) -> None:
    """Schema (attributes, then the classes one at a time, then the modification), tree, data."""
    for record in ("attributes", "classes"):
        records = _data(f"ad/samba-schema-{record}.ldif").strip().split("\n\n")
        for chunk in records if record == "classes" else ["\n\n".join(records)]:
            samba.ldb("ldbadd", chunk + "\n")
    samba.ldb("ldbmodify", _data("ad/samba-schema-modify.ldif"))
    samba.ldb("ldbadd", _data("ad/exchange-containers.ldif"))
    samba.ldb("ldbadd", "\n".join([*_accounts(), *_forest()]))
    samba.ldb("ldbadd", _data("ldif/devices.ldif").replace("DC=contoso,DC=example", ROOT))
    samba.ldb("ldbmodify", _changes())
    old = "pwdLastSet: 130000000000000000\n"
    dn = f"CN=password-expired,CN=Users,{ROOT}"
    samba.ldb(
        "ldbmodify",
        f"dn: {dn}\nchangetype: modify\nreplace: pwdLastSet\n{old}",
        _BYPASS_PASSWORD_HASH,
    )
    samba.grant("eas-redirect", FEDERATION)


def _data(name: str) -> str:
    text = (DATA / name).read_text(encoding="utf-8")
    schema = f"CN=Schema,CN=Configuration,{ROOT}"
    return text.replace("@ROOT@", ROOT).replace("@SCHEMA@", schema)


def _accounts() -> Iterator[str]:
    for name, control in _ACCOUNTS.items():
        yield (
            f"dn: CN={name},CN=Users,{ROOT}\nobjectClass: user\nsAMAccountName: {name}\n"
            f"userPrincipalName: {name}@contoso.example\nuserAccountControl: {control}\n"
            f"clearTextPassword:: {_utf_16(PASSWORD)}\n"
        )


def _forest() -> Iterator[str]:
    """What of the snapshot's forest stands in this domain, below containers made first."""
    for unit in ("Staff", "Contacts"):
        yield f"dn: OU={unit},{ROOT}\nobjectClass: organizationalUnit\n"
    for block in _data("ldif/forest.ldif").split("\n\n"):
        text = re.sub(r"^#.*\n", "", block.replace("\n ", ""), flags=re.MULTILINE)
        kind = re.search("^objectClass: (user|contact|msExch.*)$", text, re.MULTILINE)
        # Samba refuses an account name that is another account's UPN, and has built-in accounts.
        others = ("DC=emea", "computer", "Dora Implicit", "CN=Users")
        if kind is None or any(word in text for word in others):
            continue
        text = re.sub("^objectClass: .*\n|^objectCategory: .*\n", "", text, flags=re.MULTILINE)
        text = text.replace("\nsAMAccountName:", "\nuserAccountControl: 514\nsAMAccountName:", 1)
        text = re.sub("sAMAccountName:: .*", f"sAMAccountName: {SPECIAL_NAME}", text)
        dn, _, rest = text.strip().partition("\n")
        yield f"{dn}\nobjectClass: {kind[1]}\n{rest}\n"


def _changes() -> str:
    """Suffixes, and what makes accounts unable to bind."""
    partitions = f"CN=Partitions,CN=Configuration,{ROOT}"
    changes = {
        ROOT: [("lockoutThreshold", "3")],
        partitions: [("uPNSuffixes", "contoso.test"), ("uPNSuffixes", "fabrikam.example")],
        f"CN=expired,CN=Users,{ROOT}": [("accountExpires", "116444736000000000")],
        f"CN=must-change,CN=Users,{ROOT}": [("pwdLastSet", "0")],
        ANNA: [
            ("msExchMobileAllowedDeviceIDs", "LISTED1"),
            ("msExchMobileBlockedDeviceIDs", "BARRED1"),
            ("preferredLanguage", "de-DE"),
        ],
        f"CN=WP8§0815,CN=ExchangeActiveSyncDevices,{ANNA}": [
            ("msExchDeviceAccessState", "1"),
            ("msExchDeviceAccessStateReason", "2"),
        ],
    }
    return "\n".join(
        f"dn: {dn}\nchangetype: modify\n"
        + "".join(
            f"{'add' if name == 'uPNSuffixes' else 'replace'}: {name}\n{name}: {value}\n-\n"
            for name, value in values
        )
        for dn, values in changes.items()
    )


def _utf_16(text: str) -> str:
    return base64.b64encode(text.encode("utf-16-le")).decode()

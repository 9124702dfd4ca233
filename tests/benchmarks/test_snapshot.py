"""A snapshot of 100,000 users: how long it takes to load and to answer.

`pytest -s tests/benchmarks/test_snapshot.py` prints the rows of docs/why.md.
"""

import base64
import time
from pathlib import Path

from eas_redirect.directory.snapshot import Snapshot
from eas_redirect.directory.values import Found
from tests.benchmarks.usage import usage
from tests.directory.logons import logon

USERS = 100_000
FOREST = """\
dn: CN=CONTOSO,CN=Partitions,CN=Configuration,DC=contoso,DC=example
changetype: add
objectClass: top
objectClass: crossRef
cn: CONTOSO
nCName: DC=contoso,DC=example
nETBIOSName: CONTOSO
dnsRoot: contoso.example
systemFlags: 3
"""
USER = """
dn: CN=User {n},OU=Staff,DC=contoso,DC=example
changetype: add
objectClass: top
objectClass: person
objectClass: organizationalPerson
objectClass: user
cn: User {n}
objectGUID:: {guid}
sAMAccountName: user{n}
userPrincipalName: user{n}@contoso.example
mail: user{n}@contoso.example
mailNickname: user{n}
targetAddress: SMTP:user{n}@contoso.mail.example
proxyAddresses: SMTP:user{n}@contoso.example
proxyAddresses: smtp:user{n}@contoso.mail.exa
 mple
msExchRecipientTypeDetails: 2147483648
userAccountControl: 512
"""
TARGET = "targetAddress: SMTP:user{n}@contoso.mail.example"
STAYED = USER.replace(TARGET, "homeMDB: CN=DB1,DC=contoso,DC=example")  # the last: seen at all


def guid(n: int) -> str:
    return base64.b64encode(n.to_bytes(16)).decode("ascii")


async def test_100000_users(tmp_path: Path) -> None:
    file = tmp_path / "users.ldif"
    users = [(USER if n < USERS - 1 else STAYED).format(n=n, guid=guid(n)) for n in range(USERS)]
    file.write_text("".join([FOREST, *users]))
    before = usage().resident_mb
    began = time.perf_counter()
    snapshot = Snapshot.load(file)
    load_s = time.perf_counter() - began
    memory_mb = usage().resident_mb - before
    names = [f"CONTOSO\\user{n}" for n in range(0, USERS, 40)]
    names += [f"user{n}@contoso.example" for n in range(0, USERS, 40)]
    logons = [logon(name) for name in names]
    began = time.perf_counter()
    answers = [await snapshot.recipient(asked) for asked in logons]
    answer_us = (time.perf_counter() - began) / len(logons) * 1e6
    assert len(snapshot) == USERS
    assert all(
        isinstance(answer.lookup, Found) and answer.lookup.unseen is None for answer in answers
    )
    size_mb = file.stat().st_size / 1e6
    print(f"\n| A snapshot of {USERS} users ({size_mb:.0f} MB) loads | {load_s:.1f} s | 10 s |")
    print(f"| It answers | {answer_us:.1f} µs, {memory_mb:.0f} MB | 50 µs |")

"""Files and directories of which something is missing, judged to the end: nobody is redirected for
what merely does not show. Each kind with its likes, and beside them the set-ups that are in order.
"""

from pathlib import Path

import pytest

from eas_redirect.configuration.config import load_config
from eas_redirect.judging.explanation import AskedDevice, explain_user, open_judge

ORGANIZATION = "CN=Contoso,CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=corp,DC=example"


def entry(dn: str, **attributes: str) -> str:
    lines = [f"{name}: {value}" for name, value in attributes.items()]
    return "\n".join([f"dn: {dn}", *lines, "", ""])


def relationship(below: str = f"CN=Federation,{ORGANIZATION}", name: str = "O365") -> str:
    return entry(
        f"CN={name},{below}",
        objectClass="msExchFedSharingRelationship",
        cn=name,
        msExchFedDomainNames="corp.mail.example",
        msExchFedTargetOwaURL="http://outlook.com/owa/corp.example",
    )


def cross_ref(netbios: str, dns: str) -> str:
    return entry(
        f"CN={netbios},CN=Partitions,CN=Configuration,DC=corp,DC=example",
        objectClass="crossRef",
        nCName=",".join(f"DC={label}" for label in dns.split(".")),
        nETBIOSName=netbios,
        dnsRoot=dns,
        systemFlags="3",
    )


def user(name: str, base: str = "CN=Users,DC=corp,DC=example", **more: str) -> str:
    known = {"objectClass": "user", "sAMAccountName": name, "mailNickname": name}
    return entry(f"CN={name},{base}", **(known | more))


def moved(name: str, base: str = "CN=Users,DC=corp,DC=example", **more: str) -> str:
    target = {"targetAddress": f"SMTP:{name}@corp.mail.example"}
    return user(name, base, **(target | more))


UPN = {"userPrincipalName": "anna@corp.example"}
REMOTE = {"msExchRecipientTypeDetails": str(1 << 31)}
EMEA_BASE = "CN=Users,DC=emea,DC=corp,DC=example"
ORG, CORP = relationship(), cross_ref("CORP", "corp.example")
EMEA = cross_ref("EMEA", "emea.corp.example")
ZOE = user("zoe", homeMDB="CN=DB01", userPrincipalName="zoe@corp.example")
ZOE_EMEA = user("zoe", EMEA_BASE, homeMDB="CN=DB02", userPrincipalName="zoe@emea.corp.example")
ANNA = moved("anna", **UPN)
KRBTGT = entry("CN=krbtgt,CN=Users,DC=corp,DC=example", objectClass="user", sAMAccountName="krbtgt")
FOREST = ORG + CORP + ZOE + KRBTGT


def names(*entries: str) -> str:
    return "".join(entries)


async def reason(
    folder: Path, ldif: str, who: str, *, directory: str = "", exchange: str = ""
) -> str:
    (folder / "forest.ldif").write_text(ldif)
    file = folder / "eas-redirect.toml"
    file.write_text(
        'mode = "enforce"\n'
        f"[exchange]\n{exchange}\n"
        f'[directory]\nsnapshot = "forest.ldif"\n{directory}\n'
    )
    judge = open_judge(load_config(file))
    explanation = await explain_user(judge, who, AskedDevice())
    assert explanation is not None
    return str(explanation.judgement.verdict.reason)


@pytest.mark.parametrize(
    ("ldif", "who"),
    [
        (FOREST + ANNA, "CORP\\anna"),
        (FOREST + ANNA, "corp.example\\anna"),
        (FOREST + ANNA, "anna@corp.example"),
        (FOREST + ANNA, "anna"),
        (FOREST + moved("anna"), "anna@corp.example"),  # implicit
        (FOREST + ANNA + moved("anna", EMEA_BASE), "anna@corp.example"),  # explicit, EMEA unnamed
        # Several domains, each with its own; all mailboxes of one have moved.
        (FOREST + EMEA + ZOE_EMEA + moved("anna", EMEA_BASE), "EMEA\\anna"),
        (FOREST + EMEA + moved("anna", EMEA_BASE, **REMOTE), "EMEA\\anna"),
        # The domain's root, or two of its containers, or what ldapsearch says of its search.
        (
            names(ORG, CORP, entry("DC=corp,DC=example", objectClass="domainDNS"))
            + user("zoe", "OU=S,DC=corp,DC=example", homeMDB="CN=DB", userPrincipalName="z@x.test")
            + moved("anna", "OU=S,DC=corp,DC=example"),
            "anna@corp.example",
        ),
        (
            FOREST.replace("CN=Users", "OU=A") + moved("anna", "OU=B,DC=corp,DC=example"),
            "anna@corp.example",
        ),
        (
            "# base <DC=corp,DC=example> with scope subtree\n\n"
            + names(FOREST, ANNA).replace("CN=Users", "OU=Staff"),
            "anna",
        ),
        (
            "# base <DC=corp,DC=example> (default) with scope subtree\n"
            "# filter: (&(objectCategory=person)(objectClass=user)(!(userAccountControl:1.2.840."
            "113556.1.4.803:=2)))\n\n" + names(FOREST, ANNA).replace("CN=Users", "OU=Staff"),
            "anna@corp.example",
        ),
        (
            "# base <CN=Configuration,DC=corp,DC=example> with scope subtree\n"
            "# filter: (cn=*)\n\n" + FOREST + ANNA,
            "anna",
        ),
        # Everything in one container: nobody else of the domain can have the account name.
        (names(FOREST, ANNA).replace("CN=Users", "OU=Staff"), "anna"),
    ],
)
async def test_what_is_seen_whole_is_redirected(tmp_path: Path, ldif: str, who: str) -> None:
    assert await reason(tmp_path, ldif, who) == "mailbox_moved"


@pytest.mark.parametrize(
    "ldif",
    [
        ORG + CORP + ANNA,
        ORG + CORP + user("zoe") + ANNA,  # the columns were left out
        ORG + CORP + user("zoe", homeMDB="") + ANNA,  # or are there and empty
        ORG + CORP + user("zoe", msExchHomeServerName="") + ANNA,
        # Two exports were joined, one of them without the columns.
        ORG + CORP + EMEA + ZOE_EMEA + ANNA,
        ORG + CORP + entry(f"CN=DB,{ORGANIZATION}", objectClass="x", homeMDB="CN=X") + ANNA,
        ORG + CORP + user("jon", msExchRecipientTypeDetails="1") + ANNA,
        # Even a remote mailbox by its type, while not one mailbox shows anywhere.
        ORG + CORP + moved("anna", **UPN, **REMOTE),
    ],
)
async def test_where_no_mailbox_shows_nobody_has_moved(tmp_path: Path, ldif: str) -> None:
    for who in ("CORP\\anna", "anna@corp.example"):
        assert await reason(tmp_path, ldif, who) == "directory_unavailable"
    nobody_left = "no_mailboxes_here = true"
    assert await reason(tmp_path, ldif, "CORP\\anna", directory=nobody_left) == "mailbox_moved"


async def test_an_export_without_aliases_has_no_recipients(tmp_path: Path) -> None:
    ldif = "\n".join(line for line in names(FOREST, ANNA).split("\n") if "mailN" not in line)
    assert await reason(tmp_path, ldif, "CORP\\anna") == "directory_unavailable"
    one = FOREST + ANNA.replace("mailNickname: anna\n", "")
    assert await reason(tmp_path, one, "CORP\\anna") == "recipient_not_found"


@pytest.mark.parametrize(
    ("who", "says"),
    [
        ("emea.corp.example\\anna", "mailbox_moved"),
        ("EMEA\\anna", "recipient_not_found"),
        ("CORP\\anna", "recipient_not_found"),
        ("EXAMPLE\\anna", "recipient_not_found"),
        ("anna", "recipient_ambiguous"),
        ("anna@emea.corp.example", "recipient_ambiguous"),
        ("anna@corp", "recipient_not_found"),
        ("anna@corp.example", "recipient_not_found"),
    ],
)
async def test_an_export_of_one_domain_without_its_partitions(
    tmp_path: Path, who: str, says: str
) -> None:
    ldif = ORG + ZOE_EMEA + moved("anna", EMEA_BASE)
    assert await reason(tmp_path, ldif, who) == says


@pytest.mark.parametrize(
    ("default_domain", "says"),
    [
        ("emea.corp.example", "mailbox_moved"),
        ("EMEA", "recipient_not_found"),
        ("CORP", "recipient_not_found"),
        ("corp.example", "recipient_not_found"),
    ],
)
async def test_a_default_domain_says_which_domain_it_names(
    tmp_path: Path, default_domain: str, says: str
) -> None:
    ldif = ORG + ZOE_EMEA + moved("anna", EMEA_BASE)
    setting = f'default_domain = "{default_domain}"'
    assert await reason(tmp_path, ldif, "anna", exchange=setting) == says


@pytest.mark.parametrize(
    "ldif",
    [
        FOREST + EMEA + ANNA,  # of EMEA nothing was exported
        ORG + EMEA + ZOE + ZOE_EMEA + ANNA,  # nothing names the domain in which she is
        # A trust tells of a further domain of the forest.
        FOREST
        + ANNA
        + entry(
            "CN=apac.corp.example,CN=System,DC=corp,DC=example",
            objectClass="trustedDomain",
            trustPartner="apac.corp.example",
            trustAttributes="32",
            trustDirection="3",
        ),
        "# base <OU=Staff,DC=corp,DC=example> with scope subtree\n\n" + FOREST + ANNA,
        "# base <DC=corp,DC=example> with scope oneLevel\n\n" + FOREST + ANNA,
        "# base <DC=corp,DC=example> with scope subtree\n"
        "# filter: (&(objectClass=user)(targetAddress=*))\n\n" + FOREST + ANNA,
        "# base <DC=corp,DC=example> with scope subtree\n"
        "# filter: (|(mailNickname=*)(objectClass=crossRef))\n\n" + FOREST + ANNA,
    ],
)
async def test_a_part_of_the_forest_does_not_tell_who_is_alone(tmp_path: Path, ldif: str) -> None:
    assert await reason(tmp_path, ldif, "anna") == "recipient_ambiguous"
    assert await reason(tmp_path, ldif, "anna@corp.example") == "mailbox_moved"


@pytest.mark.parametrize("both", [True, False])
async def test_an_export_of_mail_recipients_does_not_tell_who_is_alone(
    tmp_path: Path, both: bool
) -> None:
    """Somebody without mail may have the name: he too has no mailbox."""
    plain = KRBTGT + (KRBTGT.replace("DC=corp", "DC=emea,DC=corp") if both else "")
    recipients = ORG + CORP + EMEA + ZOE + ZOE_EMEA + moved("anna", EMEA_BASE)
    implicit = "anna@emea.corp.example"  # may be the userPrincipalName of somebody without mail
    for who in ("anna", implicit):
        assert await reason(tmp_path, recipients, who) == "recipient_ambiguous"
        seen_whole = "mailbox_moved" if both or who == "anna" else "recipient_ambiguous"
        assert await reason(tmp_path, recipients + plain, who) == seen_whole
    assert await reason(tmp_path, recipients, "EMEA\\anna") == "mailbox_moved"
    alone = ORG + CORP + ZOE + moved("anna")
    assert await reason(tmp_path, alone, "anna") == "mailbox_moved", "unique in its own domain"


async def test_one_container_does_not_tell_whose_principal_name_it_is(tmp_path: Path) -> None:
    ldif = names(FOREST, moved("anna", proxyAddresses="smtp:a@corp.example"))
    ldif = ldif.replace("CN=Users", "OU=Staff")
    assert await reason(tmp_path, ldif, "anna@corp.example") == "recipient_ambiguous"
    assert await reason(tmp_path, ldif, "a@corp.example") == "recipient_ambiguous"
    assert await reason(tmp_path, ldif, "CORP\\anna") == "mailbox_moved"


@pytest.mark.parametrize("who", ["anna@corp.example", "a@corp.example", "a@fabrikam.example"])
async def test_an_export_without_principal_names(tmp_path: Path, who: str) -> None:
    holder = moved("anna").replace(
        "\n\n", "\nproxyAddresses: smtp:a@corp.example\nproxyAddresses: smtp:a@fabrikam.example\n\n"
    )
    ldif = ORG + CORP + user("zoe", homeMDB="CN=DB01") + holder
    assert await reason(tmp_path, ldif, who) == "directory_unavailable"
    assert await reason(tmp_path, FOREST + holder, who) == "mailbox_moved"


@pytest.mark.parametrize(
    ("direction", "says"), [("2", "recipient_not_found"), ("3", "recipient_not_found"),
                            ("1", "mailbox_moved"), ("0", "mailbox_moved")],
)  # fmt: skip
async def test_an_address_of_a_trusted_forest_is_its_own_logon(
    tmp_path: Path, direction: str, says: str
) -> None:
    trust = entry(
        "CN=fabrikam.example,CN=System,DC=corp,DC=example",
        objectClass="trustedDomain",
        trustPartner="fabrikam.example",
        flatName="FABRIKAM",
        trustAttributes="8",
        trustDirection=direction,
    )
    ldif = FOREST + trust + moved("anna", proxyAddresses="smtp:a@fabrikam.example", **UPN)
    assert await reason(tmp_path, ldif, "a@fabrikam.example") == says


@pytest.mark.parametrize(
    ("ldif", "says"),
    [
        (relationship(f"CN=Old Federation,{ORGANIZATION}"), "no_relationship"),
        (relationship(f"CN=X,CN=Federation,{ORGANIZATION}"), "no_relationship"),
        (relationship("CN=Federation,DC=corp,DC=example"), "no_relationship"),
        (
            relationship()
            + relationship(f"CN=Federation,{ORGANIZATION.replace('Contoso', 'Old')}", "Old"),
            "directory_unavailable",
        ),
        (relationship() + relationship("OU=Lost,DC=corp,DC=example", "Lost"), "mailbox_moved"),
    ],
)
async def test_relationships_count_below_one_organization(
    tmp_path: Path, ldif: str, says: str
) -> None:
    assert await reason(tmp_path, ldif + CORP + ZOE + ANNA, "CORP\\anna") == says


@pytest.mark.parametrize(
    ("more", "how", "says"),
    [
        ({"msExchMasterAccountSid": "S-1-5-21-1-2-3-1104"}, '"same_name"', "mailbox_moved"),
        ({"userAccountControl": "514"}, '"same_name"', "mailbox_moved"),
        ({}, '"same_name"', "recipient_not_found"),
        (
            {"userAccountControl": "514"},
            '["ldaps://dc1.accounts.example"]',
            "directory_unavailable",
        ),
    ],
)
async def test_linked_mailboxes_by_name(
    tmp_path: Path, more: dict[str, str], how: str, says: str
) -> None:
    ldif = FOREST + moved("anna", **UPN, **more)
    table = f"account_domains = {{ ACCOUNTS = {how} }}"
    assert await reason(tmp_path, ldif, "ACCOUNTS\\anna", directory=table) == says
    assert await reason(tmp_path, ldif, "ACCOUNTS\\anna") == "recipient_not_found"

"""What a recipient's attributes say: where its mailbox is, which account it stands for."""

from typing import Any

import pytest

from eas_redirect.directory.values import Recipient


def of(**attributes: Any) -> Recipient:
    return Recipient(dn="CN=Anna,DC=contoso,DC=example", **attributes)


# msExchRecipientTypeDetails, in the words of Exchange's documentation.
LOCAL_TYPES = {
    "UserMailbox": 1,
    "LinkedMailbox": 2,
    "SharedMailbox": 4,
    "LegacyMailbox": 8,
    "RoomMailbox": 16,
    "EquipmentMailbox": 32,
    "ArbitrationMailbox": 8388608,
    "DiscoveryMailbox": 536870912,
    "PublicFolderMailbox": 68719476736,
    "TeamMailbox": 137438953472,
    "MonitoringMailbox": 549755813888,
    "GroupMailbox": 1099511627776,
    "LinkedRoomMailbox": 2199023255552,
    "AuditLogMailbox": 4398046511104,
}
OTHER_TYPES = {
    "MailContact": 64,
    "MailUser": 128,
    "MailUniversalDistributionGroup": 256,
    "RemoteUserMailbox": 2147483648,
    "RemoteRoomMailbox": 8589934592,
    "RemoteEquipmentMailbox": 17179869184,
    "RemoteSharedMailbox": 34359738368,
}


@pytest.mark.parametrize(
    ("attributes", "sign"),
    [
        ({"home_mdb": "CN=DB01"}, "homeMDB is set"),
        ({"home_mdb": ""}, "homeMDB is set"),
        ({"ms_exch_home_server_name": "/o=X/cn=EX"}, "msExchHomeServerName is set"),
        ({"ms_exch_home_server_name": ""}, "msExchHomeServerName is set"),
        ({"ms_exch_recipient_type_details": 1},
         "msExchRecipientTypeDetails is 1, a mailbox of this forest"),
        ({"ms_exch_recipient_type_details": 1 << 31 | 1},
         "msExchRecipientTypeDetails is 2147483649, a mailbox of this forest"),
        ({"ms_exch_recipient_type_details": -1}, "msExchRecipientTypeDetails cannot be read"),
        ({"ms_exch_remote_recipient_type": 2},
         "msExchRemoteRecipientType is 2, without a mailbox in the cloud"),
        ({"home_mdb": "", "ms_exch_home_server_name": "", "ms_exch_recipient_type_details": 1},
         "homeMDB is set"),
        ({"ms_exch_home_server_name": "", "ms_exch_recipient_type_details": 1},
         "msExchHomeServerName is set"),
        ({}, None),
        ({"target_address": "SMTP:anna@m.example"}, None),
    ],
)  # fmt: skip
def test_what_says_that_the_mailbox_is_here(attributes: dict[str, Any], sign: str | None) -> None:
    recipient = of(**attributes)
    assert recipient.mailbox_sign == sign
    assert recipient.has_mailbox is (sign is not None)


def test_each_type_of_recipient_is_here_or_elsewhere() -> None:
    for name, kind in LOCAL_TYPES.items():
        recipient = of(ms_exch_recipient_type_details=kind)
        assert recipient.has_mailbox, name
        assert not recipient.says_remote, name
    for name, kind in OTHER_TYPES.items():
        recipient = of(ms_exch_recipient_type_details=kind)
        assert not recipient.has_mailbox, name
        assert recipient.says_remote is name.startswith("Remote"), name
    assert not of().says_remote


@pytest.mark.parametrize(
    ("remote", "is_here"),
    [
        *((0, True), (2, True), (8, True), (10, True), (16, True)),  # an archive, or taken back
        *((1, False), (3, False), (4, False), (6, False), (33, False), (36, False), (100, False)),
    ],
)
def test_an_archive_in_the_cloud_is_no_mailbox_there(remote: int, is_here: bool) -> None:
    assert of(ms_exch_remote_recipient_type=remote).has_mailbox is is_here


@pytest.mark.parametrize(
    ("addresses", "primary"),
    [
        ((), None),
        (("SMTP:anna@contoso.example",), "anna@contoso.example"),
        (("smtp:a@x.example", "SMTP:anna@contoso.example", "X400:c=X"), "anna@contoso.example"),
        (("smtp:a@x.example", "sip:anna@contoso.example"), None),
        (("SMTP:a@x.example", "SMTP:b@x.example"), None),
    ],
)
def test_the_primary_address(addresses: tuple[str, ...], primary: str | None) -> None:
    assert of(proxy_addresses=addresses).primary_address == primary


@pytest.mark.parametrize(
    ("attributes", "is_linked"),
    [
        ({}, False),
        ({"user_account_control": 0x200}, False),
        ({"user_account_control": 0x202}, True),  # disabled
        ({"user_account_control": 0x201}, False),
        ({"ms_exch_master_account_sid": "S-1-5-21-1-2-3-1104"}, True),
        ({"ms_exch_master_account_sid": "S-1-5-10", "user_account_control": 0x200}, True),
    ],
)
def test_which_account_stands_for_another_forest_s(
    attributes: dict[str, Any], is_linked: bool
) -> None:
    assert of(**attributes).is_linked is is_linked

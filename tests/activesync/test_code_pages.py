"""The token tables: their shape, and what later versions of the protocol added."""

import pytest

from eas_redirect.activesync.code_pages import PAGES, TAGS
from eas_redirect.activesync.wbxml import page_name, tag_name, token_of


def test_all_pages_are_there_and_named_once() -> None:
    assert set(PAGES) == set(TAGS) == {*range(26), 254}
    assert len(set(PAGES.values())) == len(PAGES)


@pytest.mark.parametrize("page", TAGS)
def test_tokens_fit_in_six_bits_and_names_are_xml_names_used_once(page: int) -> None:
    tags = TAGS[page]
    assert all(0x05 <= token <= 0x3F for token in tags)
    assert all(name.isascii() and name.isalnum() for name in tags.values())
    assert len(set(tags.values())) == len(tags)


@pytest.mark.parametrize(
    ("page", "token", "name"),
    [
        (4, 0x3C, "ClientUid"),  # 16.0
        (8, 0x10, "ProposedStartTime"),  # 16.1
        (8, 0x11, "ProposedEndTime"),  # 16.1
        (8, 0x12, "SendResponse"),  # 16.0
        (14, 0x3B, "AccountOnlyRemoteWipe"),  # 16.1
        (17, 0x20, "Location"),  # 16.0
        (17, 0x2D, "InstanceId"),  # 16.0
        (21, 0x17, "Name"),  # 16.0
        (21, 0x18, "Email"),  # 16.0
        (22, 0x17, "Send"),  # 16.0
        (24, 0x18, "RemoveRightsManagementProtection"),
        (25, 0x19, "GalSearchCriterion"),  # 16.1; a gap follows
        (25, 0x20, "MaxPictures"),
        (25, 0x21, "MaxSize"),
        (25, 0x22, "Picture"),
        (254, 0x05, "Annotations"),  # outlook.com
        (254, 0x06, "Annotation"),
        (254, 0x07, "Name"),
        (254, 0x08, "Value"),
    ],
)
def test_tokens_that_older_tables_lack_or_place_elsewhere(page: int, token: int, name: str) -> None:
    assert tag_name(page, token) == name


def test_every_token_has_a_name_that_leads_back_to_it() -> None:
    for page in range(256):
        for token in range(0x05, 0x40):
            assert token_of(page, tag_name(page, token)) == token


def test_names_of_what_is_unknown() -> None:
    assert tag_name(25, 0x1A) == "Unknown-1A"
    assert tag_name(77, 0x05) == "Unknown-05"
    assert page_name(77) == "Page-77"
    assert token_of(0, "Nonsense") is None
    assert token_of(0, "Unknown-04") is None
    assert token_of(0, "Unknown-40") is None

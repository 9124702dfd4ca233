"""Statuses in words: by the code page of the Status, else those of all commands."""

import pytest

from eas_redirect.activesync import meanings
from eas_redirect.activesync.code_pages import TAGS
from eas_redirect.activesync.meanings import (
    global_meaning,
    http_meaning,
    item_meaning,
    status_meaning,
    value_meaning,
)


@pytest.mark.parametrize(
    ("page", "status", "meaning"),
    [
        (7, 123, "UserHasNoMailbox"),
        (77, 123, "UserHasNoMailbox"),
        (7, 1, "success"),
        (5, 3, "success"),
        (0, 3, "invalid synchronization key"),
        (14, 5, "wrong policy key"),
        (15, 14, "credentials needed"),
        (20, 10, "empty file"),
        (20, 18, "credentials needed"),
        (77, 1, None),
        (0, 9999, None),
    ],
)
def test_statuses(page: int, status: int, meaning: str | None) -> None:
    assert status_meaning(page, status) == meaning


def test_global_statuses() -> None:
    assert global_meaning("Ping", 7) == "FolderSync needed"
    assert global_meaning(None, 177) == "MaximumDevicesReached"
    assert global_meaning("Telepathy", 1) is None


def test_http_statuses() -> None:
    assert http_meaning(451) == "redirect to X-MS-Location"
    assert http_meaning(418) is None


@pytest.mark.parametrize(
    ("page", "name", "text", "meaning"),
    [
        (7, "Type", "2", "Inbox"),
        (7, "Type", "19", "recipient information cache"),
        (17, "Type", "2", "HTML"),
        (0, "MIMESupport", "1", "MIME for S/MIME only"),
        (0, "FilterType", "5", "1 month back"),
        (0, "Conflict", "1", "the server wins"),
        (14, "AllowCamera", "0", "not allowed"),
        (14, "AllowBluetooth", "1", "hands-free only"),
        (14, "DevicePasswordEnabled", "1", "password needed"),
        (17, "EstimatedDataSize", "1023", None),
        (17, "EstimatedDataSize", "1024", "1.0 KiB"),
        (17, "EstimatedDataSize", "1048575", "1024.0 KiB"),
        (17, "EstimatedDataSize", "1048576", "1.0 MiB"),
        (17, "EstimatedDataSize", "4294967295", "4096.0 MiB"),
        (17, "EstimatedDataSize", "42949672950", None),
        (17, "EstimatedDataSize", "٢٠٤٨", None),
        (13, "HeartbeatInterval", "59", None),
        (13, "HeartbeatInterval", "60", "1 min"),
        (13, "HeartbeatInterval", "900", "15 min"),
        (7, "Status", "9", "synchronization key mismatch"),
        (0, "Truncation", "1", "cut after 512 characters"),
        (0, "Wait", "15", "15 min"),
        (2, "Status", "2", "flagged"),
        (4, "Type", "1", "weekly"),
        (4, "MeetingStatus", "7", "received, cancelled"),
        (14, "MaxInactivityTimeDeviceLock", "9999", "never"),
        (14, "MaxInactivityTimeDeviceLock", "900", "15 min"),
        (14, "MaxEmailBodyTruncationSize", "-1", "not cut"),
        (14, "MaxEmailBodyTruncationSize", "2048", None),
        (22, "LastVerbExecuted", "3", "forwarded"),
        (24, "PrintAllowed", "0", "not allowed"),
        (0, "SyncKey", "-1", None),
        (7, "Type", "77", None),
        (7, "Type", "two", None),
        (7, "Type", "9" * 5000, None),
        (0, "WindowSize", "10000", None),
    ],
)
def test_what_numbers_mean(page: int, name: str, text: str, meaning: str | None) -> None:
    assert value_meaning(page, name, text) == meaning


def test_every_element_with_a_meaning_exists() -> None:
    known = {(page, name) for page, tags in TAGS.items() for name in tags.values()}
    told = {*meanings._VALUES, *meanings._SIZES, *meanings._SECONDS, *meanings._UNCUT}
    assert told <= known


@pytest.mark.parametrize(
    ("command", "status", "meaning"),
    [
        ("MoveItems", 2, "2 invalid destination"),
        ("Sync", 3, "3 invalid synchronization key"),
        ("Search", 113, "113 MailboxQuotaExceeded"),
        ("Search", 99, "99"),
        ("GetAttachment", 150, "150 ItemNotFound"),
    ],
)
def test_what_a_status_below_the_global_one_means(command: str, status: int, meaning: str) -> None:
    assert item_meaning(command, status) == meaning

"""Statuses in words: by the code page of the Status, else those of all commands."""

import pytest

from eas_redirect.activesync.meanings import (
    global_meaning,
    http_meaning,
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
        (17, "EstimatedDataSize", "20480", "20.0 KiB"),
        (13, "HeartbeatInterval", "900", "15 min"),
        (7, "Status", "9", "synchronization key mismatch"),
        (7, "Type", "77", None),
        (7, "Type", "two", None),
        (7, "Type", "9" * 5000, None),
        (0, "WindowSize", "100", None),
    ],
)
def test_what_numbers_mean(page: int, name: str, text: str, meaning: str | None) -> None:
    assert value_meaning(page, name, text) == meaning

"""Servers that take long to make are made once for all tests that use them."""

from collections.abc import Iterator

import pytest

from tests.integration.samba import Samba, running_samba


@pytest.fixture(scope="session")
def samba(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samba]:
    """A domain controller. Whoever changes it puts it back."""
    with running_samba(tmp_path_factory.mktemp("samba") / "home") as running:
        yield running

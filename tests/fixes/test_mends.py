"""A mitmproxy that the mends do not fit is a warning, and the addon loads."""

import sys

import pytest
from mitmproxy.proxy.layers.http import _http1
from mitmproxy.test import taddons

from eas_redirect.addon import EASRedirect
from eas_redirect.fixes import http1, mends


def test_they_are_put_in_place() -> None:
    http1.restore()
    original = _http1.Http1Server.send
    try:
        assert mends.mend()
        assert _http1.Http1Server.send is not original
    finally:
        http1.restore()


def test_a_name_that_is_gone_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(sys.modules, "eas_redirect.fixes.http1")
    monkeypatch.delattr(_http1, "make_body_reader")
    assert mends.mend() is False
    assert "newer than" in caplog.text
    addon = EASRedirect()
    with taddons.context(addon) as context:
        assert "eas_config" in context.options

"""What `check` knows of mitmproxy is true of the mitmproxy that is installed."""

import asyncio

import pytest
from mitmproxy.options import Options
from mitmproxy.tools.dump import DumpMaster

from eas_redirect.checking import local
from eas_redirect.checking.local import _ON
from eas_redirect.engine import quick
from eas_redirect.fixes import http1
from eas_redirect.fixes.without import WITHOUT_FIXES
from eas_redirect.proxy import profile


def test_a_mitmproxy_that_fits_is_said_and_another_one_with_what_then_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [check] = local._check_fixes()
    assert check.state == "good"
    monkeypatch.setattr(quick.EVENTS, "known", ())
    [check] = local._check_fixes()
    assert (check.state, "slower: events" in check.finding) == ("warning", True)
    monkeypatch.setattr(http1.FIXES, "known", ())
    [check] = local._check_fixes()
    assert check.state == "warning"
    assert all(fault in check.finding for fault in WITHOUT_FIXES)


def test_the_options_that_do_harm_are_off_by_default_but_these() -> None:
    loop = asyncio.new_event_loop()
    options = Options()
    DumpMaster(options, loop=loop, with_termlog=False)
    loop.close()
    on = {h.option for h in profile.HAZARDS if options._options[h.option].default is True}
    assert on == _ON

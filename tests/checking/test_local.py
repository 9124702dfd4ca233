"""What `check` knows of mitmproxy is true of the mitmproxy that is installed."""

import asyncio

from mitmproxy.options import Options
from mitmproxy.tools.dump import DumpMaster

from eas_redirect.checking.local import _ON
from eas_redirect.proxy import profile


def test_the_options_that_do_harm_are_off_by_default_but_these() -> None:
    loop = asyncio.new_event_loop()
    options = Options()
    DumpMaster(options, loop=loop, with_termlog=False)
    loop.close()
    on = {h.option for h in profile.HAZARDS if options._options[h.option].default is True}
    assert on == _ON

"""What mitmproxy prints, taken off the event loop.

mitmproxy's log handler ends the process when it cannot print, and a reader of its output that
stalls stalls every exchange. `run` replaces the standard streams before mitmproxy sees them; a
script comes later, when two addons already hold them.
"""

from mitmproxy.addonmanager import AddonManager
from mitmproxy.addons.dumper import Dumper
from mitmproxy.addons.termlog import TermLog

from eas_redirect.telemetry.printable import Printable
from eas_redirect.telemetry.writing import queue_standard_streams, queued


def queue_printing(addons: AddonManager) -> None:
    """For as long as the process lives: other addons still log when ours is done. Idempotent.

    Where there is no log on the terminal (the console's own screen) nothing is replaced.
    """
    termlog, dumper = addons.get("termlog"), addons.get("dumper")
    if not isinstance(termlog, TermLog):
        return
    termlog.logger.file = queued(termlog.logger.file)
    if not any(isinstance(each, Printable) for each in termlog.logger.filters):
        termlog.logger.addFilter(Printable())
    if isinstance(dumper, Dumper):
        dumper.outfp = queued(dumper.outfp)
    queue_standard_streams()  # other scripts print, too

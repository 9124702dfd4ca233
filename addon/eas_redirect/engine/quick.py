"""mitmproxy made quicker: the parts that every exchange runs, replaced by ones that do less work.

The replacements do what the originals do. `VALUES` are small functions; `EVENTS` is mitmproxy's own
handler of connections, and needs the addon manager of `dispatch.py`.
"""

from mitmproxy import addonmanager, hooks, http
from mitmproxy.addonmanager import AddonManager
from mitmproxy.coretypes.multidict import MultiDict
from mitmproxy.optmanager import _Option
from mitmproxy.proxy.layers.http import HttpStream
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.proxy.server import ConnectionHandler

from eas_redirect.engine import quick_events, quick_values
from eas_redirect.fixes.part import Part

VALUES = Part(
    "values",
    (
        (hooks.Hook, "args", quick_values.hook_arguments),
        (http.Headers, "__init__", quick_values.make_headers),
        (http.Headers, "get_all", quick_values.header_values),
        (http.Headers, "get", quick_values.header),
        (http.Headers, "__contains__", quick_values.has_header),
        (http.MessageData, "__post_init__", quick_values.checked_fields),
        (_Option, "current", quick_values.current),
    ),
    stands_on=(
        hooks.Hook.args,
        http.Headers.__init__,
        http.Headers.get_all,
        http.Headers._reduce_values,  # noqa: SLF001
        MultiDict.__init__,
        MultiDict.__getitem__,
        MultiDict.get_all,
        http.MessageData.__post_init__,
        _Option.current,
    ),
    known=("e1761c2157b09d5f",),  # mitmproxy 12.2.2 to 12.3.1
)
DISPATCH = Part(
    "dispatch",
    (),  # an object's class, which `dispatch.remember` changes
    stands_on=(
        AddonManager.handle_lifecycle,
        AddonManager.trigger_event,
        AddonManager.invoke_addon,
        AddonManager._iter_hooks,  # noqa: SLF001
        AddonManager.register,
        AddonManager.remove,
        addonmanager.traverse,
        addonmanager.safecall,
        ProxyConnectionHandler.handle_hook,
        ConnectionHandler.hook_task,
    ),
    known=("c78ef79d53a652ab",),  # mitmproxy 12.2.2 to 12.3.1
)
EVENTS = Part(
    "events",
    (
        (ProxyConnectionHandler, "server_event", quick_events.server_event),
        (ProxyConnectionHandler, "drain_writers", quick_events.drain_writers),
        (HttpStream, "flow_done", quick_events.flow_done),
    ),
    stands_on=(
        ConnectionHandler.server_event,
        ConnectionHandler.hook_task,
        ConnectionHandler.drain_writers,
        ConnectionHandler.handle_connection,
        ConnectionHandler.open_connection,
        ConnectionHandler.wakeup,
        ProxyConnectionHandler.handle_hook,
        HttpStream.__init__,
        HttpStream.state_stream_request_body,
        HttpStream.flow_done,
    ),
    known=("3777aa76a8639030",),  # mitmproxy 12.2.2 to 12.3.1
)

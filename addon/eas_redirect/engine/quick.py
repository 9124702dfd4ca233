"""mitmproxy made quicker: the parts that every exchange runs, replaced by ones that do less work.

The replacements do what the originals do, so they are only put in place where the originals are
those that they were written against, which is told by their source. A mitmproxy that changed one of
them runs at its own pace, and nothing else differs.
"""

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

from mitmproxy import addonmanager, hooks, http
from mitmproxy.addonmanager import AddonManager
from mitmproxy.coretypes.multidict import MultiDict
from mitmproxy.optmanager import _Option
from mitmproxy.proxy.layers.http import HttpStream
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.proxy.server import ConnectionHandler

from eas_redirect.engine import quick_events, quick_values
from eas_redirect.engine.dispatch import remember

_QUICK: tuple[tuple[type, str, Callable[..., object]], ...] = (
    (ProxyConnectionHandler, "server_event", quick_events.server_event),
    (ProxyConnectionHandler, "drain_writers", quick_events.drain_writers),
    (HttpStream, "flow_done", quick_events.flow_done),
    (hooks.Hook, "args", quick_values.hook_arguments),
    (http.Headers, "__init__", quick_values.make_headers),
    (http.Headers, "get_all", quick_values.header_values),
    (http.Headers, "get", quick_values.header),
    (http.Headers, "__contains__", quick_values.has_header),
    (http.MessageData, "__post_init__", quick_values.checked_fields),
    (_Option, "current", quick_values.current),
)
_ORIGINALS = tuple((owner, name, vars(owner).get(name)) for owner, name, _ in _QUICK)

_REPLACED: tuple[Callable[..., Any], ...] = (
    ConnectionHandler.server_event,
    ConnectionHandler.hook_task,
    ConnectionHandler.drain_writers,
    ProxyConnectionHandler.handle_hook,
    HttpStream.__init__,
    HttpStream.state_stream_request_body,
    HttpStream.flow_done,
    AddonManager.handle_lifecycle,
    AddonManager.trigger_event,
    AddonManager.invoke_addon,
    AddonManager._iter_hooks,  # noqa: SLF001
    addonmanager.safecall,
    hooks.Hook.args,
    http.Headers.__init__,
    http.Headers.get_all,
    http.Headers._reduce_values,  # noqa: SLF001
    MultiDict.__init__,
    MultiDict.__getitem__,
    MultiDict.get_all,
    http.MessageData.__post_init__,
    _Option.current,
)
KNOWN = frozenset(
    {
        "b54062a8f4a46c06",  # mitmproxy 12.2.0 to 12.3.1
    }
)
"""Digests of `_REPLACED`."""


def quicken(addons: AddonManager) -> bool:
    """Put the quick parts in place, and give this addon manager its memory; whether they fit. A
    second call changes nothing."""
    if _digest() not in KNOWN or not remember(addons):
        return False
    for owner, name, quick in _QUICK:
        setattr(owner, name, quick)
    return True


def restore() -> None:
    """Take them away again: for tests."""
    for owner, name, original in _ORIGINALS:
        if original is not None:
            setattr(owner, name, original)
        elif name in vars(owner):
            delattr(owner, name)


def _digest() -> str:
    """Of the sources of what is replaced; empty where they cannot be read."""
    try:
        sources = "".join(inspect.getsource(function) for function in _REPLACED)
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(sources.encode()).hexdigest()[:16]

"""What a client does while its request waits for the answer: it closes its half, or sends more.

netcat, socat and many a script close their sending half behind the request (RFC 9293 3.6) and read
on. mitmproxy takes that for leaving, and does not even pass the request on. A connection that is
closed and one that is half closed look the same until something is sent, so in reverse mode the
answer has a moment to begin. Ping and Sync have none: they wait for up to an hour, and a device
that leaves one has left. Nor has a client that leaves in the middle of an answer.

What a client sends ahead is kept until its turn comes, but not without bound.
"""

from collections.abc import Callable, Iterator
from weakref import WeakKeyDictionary

from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode
from mitmproxy.proxy.layers.http._http1 import Http1Client, Http1Server
from mitmproxy.proxy.mode_specs import ReverseMode

from eas_redirect.activesync.request import is_eas_path, read_request
from eas_redirect.proxy import flows
from eas_redirect.proxy.part import Replacement

# When Exchange closes a connection that nothing goes over, the client's ends with it.
#
# mitmproxy keeps it, for as long as `tcp_timeout` says, which is an hour and more here: IIS ends
# idle connections after two minutes, and with them those of phones that have gone out of reach and
# never say so. A client that logged on by NTLM learns that it has to do so again, as without a
# proxy.


def close_client(self: Http1Client) -> Iterator[commands.Command]:
    """End the client's connection, unless a request is on its way or an answer is being judged."""
    client = _client_side(self)
    if client is not None and client.request is None and not client.buf:
        yield commands.CloseConnection(client.conn)


def _client_side(self: Http1Client) -> Http1Server | None:
    """Where every request of a client goes to this one server."""
    if not isinstance(self.context.client.proxy_mode, ReverseMode):
        return None
    for layer in self.context.layers:
        if isinstance(layer, HttpLayer) and layer.mode is HTTPMode.transparent:
            side = layer.connections.get(self.context.client)
            return side if isinstance(side, Http1Server) else None
    return None


type Commands = Iterator[commands.Command]

LINGER_S = 1.0
MAX_UNREAD = 1024 * 1024  # bytes; http.sys refuses heads above 16 KiB unless told otherwise

_wait = Http1Server.wait
_mark_done: Callable[..., Commands] = Http1Server.mark_done
_lingering: WeakKeyDictionary[Http1Server, commands.RequestWakeup] = WeakKeyDictionary()


def _while_waiting(self: Http1Server, event: events.Event) -> Commands:
    match event:
        case events.ConnectionClosed() if _may_be_half_closed(self):
            wakeup = _lingering[self] = commands.RequestWakeup(LINGER_S)
            yield wakeup
        case events.Wakeup():
            if event.command is _lingering.get(self) and self.response is None:
                yield from _wait(self, events.ConnectionClosed(self.conn))
        case events.DataReceived() if len(self.buf) > MAX_UNREAD:
            yield from _wait(self, events.ConnectionClosed(self.conn))
        case _:
            yield from _wait(self, event)


def _may_be_half_closed(self: Http1Server) -> bool:
    can_write = self.conn.state is ConnectionState.CAN_WRITE
    reverse = isinstance(self.context.client.proxy_mode, ReverseMode)
    return reverse and can_write and self.response is None and not _hangs_on_purpose(self)


def _hangs_on_purpose(self: Http1Server) -> bool:
    request = self.request
    if request is None or not is_eas_path(request.path):
        return False
    asked = read_request(request.method, request.path, flows.headers_of(request))
    return asked.command in ("Ping", "Sync")


def _done(self: Http1Server, *, request: bool = False, response: bool = False) -> Commands:
    done = _mark_done(self, request=request, response=response)
    return _then_ended(self, done) if response and self in _lingering else done


def _then_ended(self: Http1Server, done: Commands) -> Commands:
    yield from done
    yield from self.state(events.ConnectionClosed(self.conn))  # the end that was put off


REPLACEMENTS: tuple[Replacement, ...] = (
    (Http1Server, "wait", _while_waiting),
    (Http1Server, "mark_done", _done),
)

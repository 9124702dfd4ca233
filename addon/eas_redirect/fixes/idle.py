"""When Exchange closes a connection that nothing goes over, the client's ends with it.

mitmproxy keeps it, for as long as `tcp_timeout` says, which is an hour and more here: IIS ends idle
connections after two minutes, and with them those of phones that have gone out of reach and never
say so. A client that logged on by NTLM learns that it has to do so again, as without a proxy.
"""

from collections.abc import Iterator

from mitmproxy.proxy import commands
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode
from mitmproxy.proxy.layers.http._http1 import Http1Client, Http1Server
from mitmproxy.proxy.mode_specs import ReverseMode


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

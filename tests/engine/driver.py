"""mitmproxy's HTTP layer without sockets: bytes in on either side, bytes out on the other."""

from collections.abc import Callable

from mitmproxy import connection, options
from mitmproxy.connection import ConnectionState
from mitmproxy.http import HTTPFlow
from mitmproxy.proxy import commands, events, layers
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode
from mitmproxy.proxy.mode_specs import ProxyMode

type OnFlow = Callable[[str, HTTPFlow], None]


_OPTIONS = {
    "body_size_limit": None,
    "connection_strategy": "lazy",
    "keep_host_header": True,
    "proxy_debug": False,
    "store_streamed_bodies": False,
    "stream_large_bodies": None,
    "validate_inbound_headers": True,
}


class Proxied:
    """One client connection, proxied. Hooks answer at once, but for the one that `hold` names:
    that when `release` is called. `hooks` lists their names."""

    def __init__(self, on_flow: OnFlow | None = None, *, hold: str = "") -> None:
        opts = options.Options(websocket=False)
        for name, value in _OPTIONS.items():  # those that an addon of mitmproxy's declares
            opts.add_option(name, object, value, "")
        client = connection.Client(
            peername=("127.0.0.1", 50000),
            sockname=("127.0.0.1", 8080),
            timestamp_start=0,
            state=ConnectionState.OPEN,
            proxy_mode=ProxyMode.parse("reverse:http://127.0.0.1:80"),
        )
        self.context = Context(client, opts)
        self.context.server.address = ("127.0.0.1", 80)
        self.to_client = bytearray()
        self.to_server = bytearray()
        self.hooks: list[str] = []
        self.closed: list[str] = []
        self.wakeups: list[commands.RequestWakeup] = []
        self._hold = hold
        self._held: list[events.Event] = []
        self._servers: list[connection.Server] = []
        self._on_flow = on_flow or _stream
        self.layer = layers.HttpLayer(self.context, HTTPMode.transparent)
        self._handle(events.Start())

    def client(self, data: bytes) -> None:
        self._handle(events.DataReceived(self.context.client, data))

    def server(self, data: bytes) -> None:
        self._handle(events.DataReceived(self._servers[-1], data))

    def client_closes(self) -> None:
        self._close(self.context.client)

    def server_closes(self) -> None:
        self._close(self._servers[-1])

    def wake(self) -> None:
        """As much time goes by as the oldest timer still has to run."""
        self._handle(events.Wakeup(self.wakeups.pop(0)))

    def release(self) -> None:
        """The hook that is held is done."""
        self._handle(self._held.pop())

    @property
    def connections(self) -> int:
        """How many upstream connections were opened."""
        return len(self._servers)

    @property
    def client_state(self) -> ConnectionState:
        return self.context.client.state

    @property
    def server_state(self) -> ConnectionState:
        """Of the last upstream connection; closed when there was none."""
        return self._servers[-1].state if self._servers else ConnectionState.CLOSED

    def _close(self, side: connection.Connection) -> None:
        side.state &= ~ConnectionState.CAN_READ
        self._handle(events.ConnectionClosed(side))

    def _handle(self, event: events.Event) -> None:
        pending = [event]
        while pending:  # replies wait until the layer is done with what it is at
            for command in self.layer.handle_event(pending.pop(0)):
                reply = self._carry_out(command)
                if reply is not None:
                    pending.append(reply)

    def _carry_out(self, command: commands.Command) -> events.Event | None:
        match command:
            case commands.SendData(connection=side, data=data):
                (self.to_client if side is self.context.client else self.to_server).extend(data)
            case commands.CloseConnection(connection=side):
                side.state = ConnectionState.CLOSED
                self.closed.append("client" if side is self.context.client else "server")
            case commands.OpenConnection(connection=side):
                side.timestamp_start = 0
                side.state = ConnectionState.OPEN
                self._servers.append(side)
                return events.OpenConnectionCompleted(command, None)
            case commands.StartHook():
                return self._hook(command)
            case commands.RequestWakeup():
                self.wakeups.append(command)
            case _:
                pass
        return None

    def _hook(self, hook: commands.StartHook) -> events.Event | None:
        self.hooks.append(hook.name)
        (subject,) = hook.args()
        if isinstance(subject, HTTPFlow):
            self._on_flow(hook.name, subject)
        completed = events.HookCompleted(hook)
        if hook.name != self._hold:
            return completed
        self._held.append(completed)
        return None


def _stream(hook: str, flow: HTTPFlow) -> None:
    if hook == "requestheaders":
        flow.request.stream = True
    if hook == "responseheaders" and flow.response:
        flow.response.stream = True


def buffered(_hook: str, _flow: HTTPFlow) -> None:
    """An `on_flow` that leaves bodies to be read whole."""

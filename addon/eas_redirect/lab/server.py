"""A small HTTP/1.1 server on a thread of its own: what the lab's stand-ins are made of.

Standard library only. Written so that a test can say exactly what goes over the wire and can see
exactly what came; it has no ambition to serve strangers.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

from eas_redirect.lab.message import (
    BadRequestError,
    Reply,
    Request,
    read_request,
    write_reply,
)

type Handler = Callable[[Request], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Exchanged:
    """One request with the reply that was given to it."""

    request: Request
    reply: Reply


class Server:
    """`with Server(handler) as server: server.port` - http, or https with an `ssl.SSLContext`.

    `exchanged` grows by one pair per answered request, `requests` by one per received request, so
    a test sees a Ping that still waits. Either is safe to read from other threads.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        listener: socket.socket | None = None,
    ) -> None:
        self._handler = handler
        self._tls = tls
        self.host = host
        self.port = port
        self.requests: list[Request] = []
        self.exchanged: list[Exchanged] = []
        self._listener = listener
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{self.host}:{self.port}"

    def start(self) -> Self:
        """Listen before returning, so that nobody has to wait for the server to be there."""
        if self._listener is None:
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            self._listener = socket.create_server((self.host, self.port), family=family)
        self.port = self._listener.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait(10)
        return self

    def stop(self) -> None:
        """Close the listener and every connection; what waits is cut. Idempotent."""
        if self._thread is None:
            return
        with contextlib.suppress(RuntimeError):  # The loop has already ended.
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._connected, sock=self._listener, ssl=self._tls)
        )
        ready.set()
        try:
            self._loop.run_forever()
        finally:
            server.close()
            self._loop.run_until_complete(self._end_connections())
            self._loop.close()

    async def _end_connections(self) -> None:
        tasks = tuple(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass  # The other side has gone, or the server is stopping.
        finally:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one connection, one after the other, until it is closed."""
        client = writer.get_extra_info("peername")
        while True:
            try:
                request = await read_request(reader, (client[0], client[1]))
            except BadRequestError as error:
                await write_reply(writer, Reply(400, body=str(error).encode()), "GET")
                await _finish(writer)
                return
            if request is None:
                return
            self.requests.append(request)
            reply = await self._handler(request)
            self.exchanged.append(Exchanged(request, reply))
            await write_reply(writer, reply, request.method)
            if reply.close or reply.raw is not None or _asks_to_close(request):
                await _finish(writer)
                return


def _asks_to_close(request: Request) -> bool:
    return (request.header("Connection") or "").lower() == "close"


async def _finish(writer: asyncio.StreamWriter) -> None:
    """Let what was written arrive before the connection is dropped."""
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), 5)

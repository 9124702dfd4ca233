"""A legacy Exchange that waits: Ping and requests marked `slow` are held until they are let go."""

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY = b"from Exchange"


@dataclass
class Waiting:
    """`held`: requests that wait now; `let_go` ends them; `served` counts whole answers to clients:
    not those to the proxy's own requests, which are asked for a logon as Exchange does."""

    port: int
    let_go: threading.Event = field(default_factory=threading.Event)
    held: int = 0
    served: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def waiting_exchange() -> Iterator[Waiting]:
    server = _Server(("127.0.0.1", 0), _Handler)
    state = Waiting(server.server_address[1])
    server.state = state
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    state: Waiting


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _answer(self) -> None:
        state = self.server.state
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.headers.get("User-Agent", "").startswith("eas-redirect/"):
            self._challenge()
            return
        if "Cmd=Ping" in self.path or "slow" in self.path:
            with state.lock:
                state.held += 1
            state.let_go.wait(120)
            with state.lock:
                state.held -= 1
        with contextlib.suppress(OSError):
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)
            with state.lock:
                state.served += 1

    def _challenge(self) -> None:
        with contextlib.suppress(OSError):
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Negotiate")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_GET = do_POST = do_OPTIONS = _answer  # noqa: N815 - the names that the library calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing on standard error."""

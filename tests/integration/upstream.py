"""A scripted HTTP upstream: each request names its case in a header and gets that case's answer."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CASE = "X-Test-Case"


@dataclass(frozen=True)
class Scripted:
    """One answer; `Content-Length` is added. `delay_s`: how long it takes to begin."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_s: float = 0.0


@dataclass
class Upstream:
    """The running server. `answers` may be changed at any time; `asked` lists the cases seen."""

    port: int
    answers: dict[str, Scripted]
    asked: list[str] = field(default_factory=list)


@contextmanager
def upstream(answers: dict[str, Scripted]) -> Iterator[Upstream]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    running = Upstream(server.server_address[1], answers)
    server.upstream = running  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        running: Upstream = self.server.upstream  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        case = self.headers.get(CASE)
        if case is None:  # the proxy's own question: this server asks for a logon, as Exchange does
            scripted = Scripted(401, {"WWW-Authenticate": 'Basic realm="x"'})
        else:
            running.asked.append(case)
            scripted = running.answers[case]
        time.sleep(scripted.delay_s)
        self.send_response(scripted.status)
        for name, value in scripted.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(scripted.body)))
        self.end_headers()
        self.wfile.write(scripted.body)

    do_GET = do_POST = do_OPTIONS = _answer  # noqa: N815 - the names that the library calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing on standard error."""

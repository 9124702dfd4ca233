"""A question to a proxy or a judge that runs, over `metrics.listen`. Blocks."""

import http.client
import socket

from eas_redirect.telemetry.web import parse_listen

_LONGEST = 4 * 1024 * 1024  # bytes of an answer that are read


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask_running(listen: str, target: str, timeout_s: float) -> tuple[int, bytes]:
    """The status and the body of `target` where `listen` says. Raises OSError where nobody answers
    with HTTP in time."""
    address = parse_listen(listen)
    connection: http.client.HTTPConnection
    if address.path is not None:
        connection = _UnixConnection(address.path, timeout_s)
    else:
        host = "127.0.0.1" if address.is_everywhere else address.host
        connection = http.client.HTTPConnection(host, address.port, timeout=timeout_s)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.read(_LONGEST)
    except http.client.HTTPException as error:
        raise OSError(f"what answers there speaks no HTTP ({type(error).__name__})") from None
    finally:
        connection.close()

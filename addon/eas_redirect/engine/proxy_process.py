"""One proxy process: takes mitmdump's own command line, runs the `Engine` on it.

`python -m eas_redirect.engine.proxy_process -- MITMDUMP ARGUMENTS` is a worker of a supervisor.
Exit codes are mitmdump's: 0 stopped, 1 the start failed.
"""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mitmproxy import exceptions, optmanager
from mitmproxy.options import Options
from mitmproxy.proxy.mode_specs import ReverseMode
from mitmproxy.tools import cmdline
from mitmproxy.tools.main import mitmdump, process_options

from eas_redirect.engine.master import EngineMaster
from eas_redirect.telemetry.writing import queue_standard_streams

STOP_TIMEOUT_S = 25.0  # below the 30 s after which Kubernetes and others lose patience

# These log every connection and every request; nobody reads that in production.
_CHATTY = ("mitmproxy.proxy.server", "tornado", "asyncio", "hpack", "quic")


def run(
    arguments: Sequence[str],
    *,
    stop_timeout_s: float = STOP_TIMEOUT_S,
    worker: bool = False,
) -> int:
    """Run until a signal ends it. `arguments` are mitmdump's, without its name. A `worker` shares
    its port, and stops when its standard input ends, because then its supervisor is gone."""
    queue_standard_streams()
    _set_up_logging()
    factory = _SharedPortLoop if worker else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        try:
            return runner.run(_main(list(arguments), stop_timeout_s, worker=worker))
        except SystemExit as exit_:  # mitmproxy's way to say that the start failed
            return exit_.code if isinstance(exit_.code, int) else 1


def run_stock(arguments: Sequence[str]) -> int:
    """Plain mitmdump in this process."""
    queue_standard_streams()
    try:
        mitmdump(list(arguments))
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    return 0


async def _main(arguments: list[str], stop_timeout_s: float, *, worker: bool) -> int:
    _listen_over_tcp_only()
    options = Options()
    engine = EngineMaster(options, stop_timeout_s)
    parsed = cmdline.mitmdump(options).parse_args(arguments)
    try:
        _set_options(options, parsed)
    except exceptions.OptionsError as error:
        print(f"eas-redirect: {error}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return 1
    _on_signals(engine)
    if worker:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _supervisor_left, engine)
    await engine.run()
    return 0


def _listen_over_tcp_only() -> None:
    """In front of an https server mitmproxy also listens for HTTP/3, whatever its option `http3`
    says: on UDP, where each datagram from a stranger costs memory, and where processes that share a
    TCP port cannot share the port."""
    prepare = ReverseMode.__post_init__

    def prepared(self: ReverseMode) -> None:
        prepare(self)
        if self.scheme == "https":
            self.transport_protocol = "tcp"

    ReverseMode.__post_init__ = prepared  # type: ignore[method-assign]


def _set_options(options: Options, parsed: argparse.Namespace) -> None:
    """As mitmdump does: flags, then config.yaml, then `--set`; words left over are a filter."""
    options.set(*parsed.setoptions, defer=True)
    folder = Path(options.confdir).expanduser()
    optmanager.load_paths(options, str(folder / "config.yaml"), str(folder / "config.yml"))
    process_options(None, options, parsed)
    if parsed.filter_args:
        wanted = " ".join(parsed.filter_args)
        options.update(save_stream_filter=wanted, readfile_filter=wanted, dumper_filter=wanted)


def _on_signals(engine: EngineMaster) -> None:
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGTERM, engine.shutdown)
        loop.add_signal_handler(signal.SIGINT, engine.shutdown)
    except NotImplementedError:  # Windows
        signal.signal(signal.SIGINT, lambda *_: engine.shutdown())
        signal.signal(signal.SIGTERM, lambda *_: engine.shutdown())
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def _supervisor_left(engine: EngineMaster) -> None:
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
    engine.shutdown()


def _set_up_logging() -> None:
    """Make no record that nobody will see: every one costs time."""
    logging.getLogger().setLevel(logging.INFO)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


class _SharedPortLoop(asyncio.SelectorEventLoop):
    """An event loop whose servers share their port with those of other processes."""

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.Server:
        return await super().create_server(*args, **{"reuse_port": True, **kwargs})


def worker_main() -> int:
    """The command line of a worker; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="eas_redirect.engine.proxy_process")
    parser.add_argument("--stop-timeout", type=float, default=STOP_TIMEOUT_S)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    parsed = parser.parse_args()
    arguments = parsed.arguments[1:] if parsed.arguments[:1] == ["--"] else parsed.arguments
    return run(arguments, stop_timeout_s=parsed.stop_timeout, worker=True)


if __name__ == "__main__":
    sys.exit(worker_main())

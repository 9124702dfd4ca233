"""A proxy process reads mitmdump's own command line, and ends with mitmdump's own codes."""

import subprocess
import sys
from pathlib import Path

import pytest
from mitmproxy.options import Options
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode
from mitmproxy.tools import cmdline

from eas_redirect.engine import proxy_process
from eas_redirect.engine.master import EngineMaster
from eas_redirect.engine.proxy_process import _listen_over_tcp_only, _set_options


async def options(tmp_path: Path, *words: str) -> Options:
    made = Options()
    EngineMaster(made, stop_timeout_s=1.0)
    parsed = cmdline.mitmdump(made).parse_args(["--set", f"confdir={tmp_path}", *words])
    _set_options(made, parsed)
    return made


async def test_the_order_in_which_options_are_said(tmp_path: Path) -> None:
    """mitmdump's own order: a flag, config.yaml, `--set`."""
    (tmp_path / "config.yaml").write_text("listen_port: 1111\nconnection_strategy: lazy\n")
    found = await options(tmp_path, "-p", "2222", "--set", "connection_strategy=eager")
    assert (found.listen_port, found.connection_strategy) == (2222, "lazy")


async def test_words_that_are_left_over_are_a_filter(tmp_path: Path) -> None:
    found = await options(tmp_path, "~u", "Microsoft-Server-ActiveSync")
    assert found.save_stream_filter == "~u Microsoft-Server-ActiveSync"
    assert found.dumper_filter == found.readfile_filter == found.save_stream_filter


def test_no_datagram_of_a_stranger_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """mitmproxy would listen for HTTP/3 before an https server, whatever its options say."""
    monkeypatch.setattr(ReverseMode, "__post_init__", ReverseMode.__post_init__)
    _listen_over_tcp_only()
    ProxyMode.parse.cache_clear()
    for mode in ("reverse:https://ex07.contoso.local", "reverse:http://ex07.contoso.local"):
        assert ProxyMode.parse(mode).transport_protocol == "tcp"
    assert ProxyMode.parse("reverse:dns://192.0.2.1").transport_protocol == "both"
    ProxyMode.parse.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "mitmdumps"),
    [
        (["--", "-p", "1"], ["-p", "1"]),
        (["--stop-timeout", "3", "--", "--stop-timeout"], ["--stop-timeout"]),
    ],
    ids=["mitmdump's", "its own too"],
)
def test_a_workers_words(
    arguments: list[str], mitmdumps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run: list[tuple[list[str], float, bool]] = []

    def running(words: list[str], *, stop_timeout_s: float, worker: bool) -> int:
        run.append((words, stop_timeout_s, worker))
        return 0

    monkeypatch.setattr(proxy_process, "run", running)
    monkeypatch.setattr(sys, "argv", ["worker", *arguments])
    assert proxy_process.worker_main() == 0
    limit_s = 3.0 if "3" in arguments else proxy_process.STOP_TIMEOUT_S
    assert run == [(mitmdumps, limit_s, True)]


def test_a_start_that_fails_says_why_and_ends_with_1(tmp_path: Path) -> None:
    words = ["--", "--set", f"confdir={tmp_path}", "--set", "listen_port=none"]
    ended = subprocess.run(
        [sys.executable, "-m", "eas_redirect.engine.proxy_process", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "eas-redirect: " in ended.stderr
    assert "listen_port" in ended.stderr
    assert "Traceback" not in ended.stderr

"""`eas-redirect explain CAPTURE`: what the devices of a capture did, and what is decided of it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from eas_redirect.cli.common import (
    FINDINGS,
    GOOD,
    UNREACHABLE,
    USAGE,
    fail,
    load,
    print_json,
    print_lines,
)
from eas_redirect.cli.progress import progress_bar

if TYPE_CHECKING:
    from eas_redirect.captures.capture import Captured, CaptureTrouble
    from eas_redirect.captures.device_timeline import Filter
    from eas_redirect.configuration.config import Config
    from eas_redirect.judging.judge import Judge


def explain_capture(
    path: Path,
    config: Path | None,
    against: Path | None,
    *,
    device: str | None,
    user: str | None,
    as_json: bool,
) -> int:
    """The exit code: 0 when nothing is wrong, 1 when there is a finding or a difference, 3 when the
    directory that would decide could not be asked."""
    from eas_redirect.captures.device_timeline import Filter

    wanted = Filter(device=device, user=user)
    if against is None:
        return _timelines(path, config, wanted, as_json=as_json)
    if config is None:
        fail("--against needs --config: it compares two configurations.", USAGE)
    return _differences(path, config, against, wanted, as_json=as_json)


def _timelines(path: Path, config: Path | None, wanted: "Filter", *, as_json: bool) -> int:
    from eas_redirect.captures import timeline_text as room
    from eas_redirect.captures.device_timeline import report

    loaded = None if config is None else load(config)
    size = path.stat().st_size
    with _judge(loaded) as judge, progress_bar(path.name, size) as advance:
        whole = asyncio.run(report(_exchanges(path, loaded, advance), judge, wanted))
    if as_json:
        print_json(room.as_json(whole))
    else:
        print_lines(room.in_lines(whole))
    if room.directory_was_unreachable(whole):
        return UNREACHABLE
    return FINDINGS if room.something_is_wrong(whole) else GOOD


def _differences(
    path: Path, config: Path, against: Path, wanted: "Filter", *, as_json: bool
) -> int:
    from eas_redirect.captures import timeline_text as room
    from eas_redirect.captures.timeline_text import compare

    one, other = load(config), load(against)
    bar = progress_bar(path.name, path.stat().st_size)
    with _judge(one) as now, _judge(other) as then, bar as advance:
        assert now is not None and then is not None  # noqa: S101, PT018 - both have a configuration
        before = _exchanges(path, one, advance)
        after = _exchanges(path, other, lambda _: None)
        changes, troubles = asyncio.run(compare(before, now, after, then, wanted))
    if as_json:
        print_json(room.changes_json(changes, troubles))
    else:
        print_lines(room.change_lines(changes, troubles))
    return FINDINGS if changes or troubles else GOOD


def _exchanges(
    path: Path, config: "Config | None", advance: Callable[[int], None]
) -> "Iterator[Captured | CaptureTrouble]":
    from eas_redirect.captures.capture import read_exchanges
    from eas_redirect.configuration.config import servers

    if config is None:
        return read_exchanges(path, progress=advance)
    weak = frozenset(config.exchange.weak_statuses)
    return read_exchanges(path, weak, config.exchange.trusted_proxies, advance, servers(config))


@contextmanager
def _judge(config: "Config | None") -> "Iterator[Judge | None]":
    """The service's own way of deciding, without a journal."""
    from eas_redirect.configuration.config import ConfigError
    from eas_redirect.directory.snapshot import SnapshotError
    from eas_redirect.judging.explain import open_judge
    from eas_redirect.judging.waves import with_waves

    if config is None:
        yield None
        return
    try:
        judge = with_waves(open_judge(config))
    except (ConfigError, SnapshotError) as error:
        fail(str(error), USAGE)
    try:
        yield judge
    finally:
        judge.directory.close()

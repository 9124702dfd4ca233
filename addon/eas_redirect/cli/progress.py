"""How far a long command is, on standard error: a bar while files are read, a line now and then
while users are asked for.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from eas_redirect.cli.common import tell

MANY = 50  # items that begin to take long


@contextmanager
def progress_bar(what: str, size: int) -> Iterator[Callable[[int], None]]:
    """Gives the function to be called with the bytes that have been read. On a terminal only."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=size)
        yield lambda count: bar.advance(task, count)


def progress_lines(what: str, total: int) -> Callable[[], None]:
    """Gives the function to be called after each item."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if total >= MANY and (done % MANY == 0 or done == total):
            tell(f"{what}: {done} of {total}")

    return step

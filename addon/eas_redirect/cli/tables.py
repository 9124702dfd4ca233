"""A console whose tables pass no escape sequences to the terminal. Imports rich."""

from collections.abc import Iterable
from typing import override

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from eas_redirect.telemetry.printable import printable


class PrintableConsole(Console):
    """Its own colours go out, escapes in what is shown do not."""

    @override
    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control or text.isprintable() else Segment(printable(text), style)

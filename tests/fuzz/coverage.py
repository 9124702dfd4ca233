"""Which instructions of the package have run: `sys.monitoring` tells of each once."""

import sys
from types import CodeType, TracebackType
from typing import Self

import eas_redirect

_PACKAGE = next(iter(eas_redirect.__path__))
_TOOL = 4  # ids 0 to 2 and 5 have names of their own: debuggers, coverage, profilers, optimizers


class Coverage:
    """`with Coverage() as coverage: …`; `reached` counts instructions and only grows."""

    def __init__(self) -> None:
        self.reached = 0

    def _instruction(self, code: CodeType, _offset: int) -> object:
        if code.co_filename.startswith(_PACKAGE):
            self.reached += 1
        return sys.monitoring.DISABLE

    def __enter__(self) -> Self:
        monitoring = sys.monitoring
        monitoring.use_tool_id(_TOOL, "eas-redirect fuzz")
        monitoring.register_callback(_TOOL, monitoring.events.INSTRUCTION, self._instruction)
        monitoring.set_events(_TOOL, monitoring.events.INSTRUCTION)
        monitoring.restart_events()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.monitoring.set_events(_TOOL, 0)
        sys.monitoring.free_tool_id(_TOOL)

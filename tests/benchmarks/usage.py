"""What processes use, from /proc (Linux)."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one process, or summed over several. CPU is user and system time since their start."""

    cpu_s: float = 0.0
    resident_bytes: int = 0
    descriptors: int = 0
    threads: int = 0

    @property
    def resident_mb(self) -> float:
        return self.resident_bytes / 2**20

    def __add__(self, other: Self) -> "Usage":
        return Usage(
            self.cpu_s + other.cpu_s,
            self.resident_bytes + other.resident_bytes,
            self.descriptors + other.descriptors,
            self.threads + other.threads,
        )


def usage(pid: int | None = None) -> Usage:
    """Of one process now; without a pid, of this one."""
    pid = os.getpid() if pid is None else pid
    # The name in parentheses may hold anything; the fields behind it are counted from 3.
    fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    return Usage(
        cpu_s=(int(fields[11]) + int(fields[12])) * TICK_S,
        resident_bytes=int(fields[21]) * PAGE,
        descriptors=sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        threads=int(fields[17]),
    )


def usage_with_children(pid: int) -> Usage:
    """Of a process and all its descendants."""
    return sum((usage_with_children(child) for child in children(pid)), usage(pid))


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text("ascii").split()]

"""Load from `wrk`, with the requests of `eas.lua`."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SCRIPT = Path(__file__).with_name("eas.lua")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What wrk sends. `every`: one request in so many is of a user who has moved; 0: none.
    `devices` take turns."""

    kind: Literal["eas", "owa"] = "eas"
    every: int = 0
    connections: int = 32
    keep_alive: bool = True
    tls: bool = False
    devices: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it. `refused` counts answers above 399: the 451s, and whatever else went wrong;
    `errors` connections that failed."""

    requests: int
    duration_s: float
    p50_ms: float
    p99_ms: float
    refused: int
    errors: int

    @property
    def rate(self) -> float:
        return self.requests / self.duration_s if self.duration_s else 0.0


def drive(port: int, load: Load, seconds: int) -> Outcome:
    """One run against a port of loopback; raises CalledProcessError when wrk fails."""
    scheme = "https" if load.tls else "http"
    words = [load.kind, str(load.every), "keep" if load.keep_alive else "close", str(load.devices)]
    command = [
        *("wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "20s"),
        *("-s", str(SCRIPT), f"{scheme}://127.0.0.1:{port}/", "--", *words),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.rpartition("JSON ")[2])
    return Outcome(
        requests=found["requests"],
        duration_s=found["duration_s"],
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
        refused=found["failed"],
        errors=found["errors"],
    )

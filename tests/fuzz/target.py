"""What is fuzzed: a function that takes bytes and raises when the invariant does not hold."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.support import DATA

BASE_US = 50_000.0  # caches fill, patterns are compiled
CORPUS = DATA / "fuzz"

type Check = Callable[[bytes], object]
type Seeds = Callable[[], Iterable[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One reader under test. `check` returns for good and for refused input alike.

    `tokens` are pieces that mutations put in, `max_size` bytes bound an input, `per_byte_us` is
    the CPU time that a byte may cost beyond `base_us`, which any input may take, and `per_byte` the
    bytes of memory that it may hold.
    """

    name: str
    invariant: str
    check: Check
    seeds: Seeds
    tokens: tuple[bytes, ...]
    max_size: int
    per_byte_us: float
    per_byte: int
    base_us: float

    def corpus(self) -> list[bytes]:
        """The seeds from the tests' tables, and the files that earlier runs found worth keeping."""
        kept = (path.read_bytes() for path in sorted(self.directory.glob("*")))
        return list(dict.fromkeys([*self.seeds(), *kept]))

    @property
    def directory(self) -> Path:
        return CORPUS / self.name


TARGETS: dict[str, Target] = {}


def target(
    *,
    seeds: Seeds,
    tokens: Iterable[bytes] = (),
    max_size: int = 64 * 1024,
    per_byte_us: float = 3.0,
    per_byte: int = 512,
    base_us: float = BASE_US,
) -> Callable[[Check], Check]:
    """Registers a check; its docstring is the invariant, its name the target's."""

    def register(check: Check) -> Check:
        name = check.__name__.removeprefix("fuzz_")
        TARGETS[name] = Target(
            name=name,
            invariant=" ".join((check.__doc__ or "").split()),
            check=check,
            seeds=seeds,
            tokens=tuple(tokens),
            max_size=max_size,
            per_byte_us=per_byte_us,
            per_byte=per_byte,
            base_us=base_us,
        )
        return check

    return register

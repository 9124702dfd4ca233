"""New inputs out of old ones: bits, bytes, digits, tokens, pieces of others, and long repetitions.

The long ones are there for the invariant that time and memory are linear in the input.
"""

import random
from collections.abc import Callable, Sequence

_INTERESTING = b"\x00\x01\x7f\x80\xff\x03\x43\xc3 \r\n\t\"'%&=+:;,.<>@\\/[]{}"


class Mutator:
    """Mutations of a corpus that grows; all chance comes from `chance`."""

    def __init__(self, chance: random.Random, tokens: Sequence[bytes], max_size: int) -> None:
        self._chance = chance
        self._tokens = tokens
        self._max_size = max_size
        ways: list[Callable[[bytearray], None]] = [
            self._flip,
            self._flip,
            self._replace,
            self._insert,
            self._delete,
            self._double,
            self._count,
            self._cut,
        ]
        self._ways = ways + [self._put_token] * (3 if tokens else 0)

    def mutated(self, corpus: Sequence[bytes]) -> bytes:
        chance = self._chance.random()
        data = bytearray(self._chance.choice(corpus))
        if chance < 0.15:
            self._splice(data, self._chance.choice(corpus))
        elif chance > 0.995:
            self._stretch(data)
        for _ in range(1 << int(self._chance.random() * 4)):
            self._chance.choice(self._ways)(data)
        return bytes(data[: self._max_size])

    def _at(self, data: bytearray, beyond: int = 0) -> int:
        return int(self._chance.random() * (len(data) + beyond))

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._at(data)] ^= 1 << int(self._chance.random() * 8)

    def _replace(self, data: bytearray) -> None:
        if data:
            data[self._at(data)] = self._byte()

    def _insert(self, data: bytearray) -> None:
        data.insert(self._at(data, 1), self._byte())

    def _byte(self) -> int:
        if self._chance.random() < 0.5:
            return self._chance.choice(_INTERESTING)
        return int(self._chance.random() * 256)

    def _delete(self, data: bytearray) -> None:
        start, end = self._range(data)
        del data[start:end]

    def _double(self, data: bytearray) -> None:
        start, end = self._range(data)
        data[end:end] = data[start:end]

    def _cut(self, data: bytearray) -> None:
        if self._chance.random() < 0.3:
            del data[self._at(data, 1) :]

    def _range(self, data: bytearray) -> tuple[int, int]:
        """A place and, mostly, a short way from it."""
        start = self._at(data, 1)
        length = int(2 ** (self._chance.random() * 8))
        return start, min(len(data), start + length)

    def _count(self, data: bytearray) -> None:
        """A byte one up or down: lengths, offsets, digits."""
        if data:
            at = self._at(data)
            data[at] = (data[at] + self._chance.choice((1, -1, 16, -16))) & 0xFF

    def _put_token(self, data: bytearray) -> None:
        token = self._chance.choice(self._tokens)
        start = self._at(data, 1)
        replaced = len(token) if self._chance.random() < 0.5 else 0
        data[start : start + replaced] = token

    def _splice(self, data: bytearray, other: bytes) -> None:
        start = int(self._chance.random() * (len(other) + 1))
        data[self._at(data, 1) :] = other[start:]

    def _stretch(self, data: bytearray) -> None:
        """A short piece many times over, up to the size limit."""
        start, end = self._range(data)
        piece = bytes(data[start:end]) or b"\0"
        room = max(0, self._max_size - len(data))
        data[end:end] = piece * (int(self._chance.random() * room) // len(piece))

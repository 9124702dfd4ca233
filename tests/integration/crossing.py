"""Sends exchanges across the proxy and compares both legs, byte for byte.

One thing is let pass everywhere: where a chunked body is cut into chunks (see docs/why.md). Its
bytes, its trailers and everything else must be the same.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from tests.integration.kinds import Exchange, number_of
from tests.integration.rawserver import HEAD_END, Script, Wire, connected, dechunked, framing


@dataclass(frozen=True, slots=True)
class Difference:
    """`leg`: what the server got (`request`), or what the client got (`answer`)."""

    number: int
    leg: str
    sent: bytes
    arrived: bytes

    def __str__(self) -> str:
        at = next(
            (n for n, (a, b) in enumerate(zip(self.sent, self.arrived, strict=False)) if a != b),
            min(len(self.sent), len(self.arrived)),
        )
        near = slice(max(0, at - 60), at + 60)
        return (
            f"{self.leg} {self.number}, {len(self.sent)} and {len(self.arrived)} bytes, at {at}:\n"
            f"  sent    {self.sent[near]!r}\n  arrived {self.arrived[near]!r}"
        )


class Arrivals:
    """What the server received, by the number of the exchange."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self.exchanges = exchanges
        self.requests: dict[int, bytes] = {}

    @property
    def script(self) -> Script:
        """For a RawServer: answers each exchange with its own answer."""
        return self._serve

    def _serve(self, wire: Wire) -> None:
        closing = False
        while not closing:
            raw = wire.read_request()
            number = number_of(raw)
            self.requests[number] = raw
            exchange = self.exchanges[number]
            if exchange.interim:
                wire.send(exchange.interim)
            wire.send(exchange.answer)
            closing = exchange.closes


def cross(
    port: int,
    arrivals: Arrivals,
    numbers: Sequence[int],
    tls: ssl.SSLContext | None = None,
    name: str = "127.0.0.1",
) -> list[Difference]:
    """Each numbered exchange in turn, on as few connections as its answers allow."""
    found: list[Difference] = []
    left = list(numbers)
    while left:
        with connected(port, tls, name) as wire:
            while left:
                number = left.pop(0)
                found += _one(wire, arrivals, number)
                if arrivals.exchanges[number].closes:
                    wire.wait_for_end()
                    break
    return found


def _one(wire: Wire, arrivals: Arrivals, number: int) -> list[Difference]:
    exchange = arrivals.exchanges[number]
    request = exchange.named(number)
    wire.send(request)
    interim = b"".join(wire.read_head() for _ in range(exchange.interim.count(HEAD_END)))
    answer = wire.read_answer(bodiless=exchange.bodiless)
    legs = (
        ("request", request, arrivals.requests.get(number, b"")),
        ("interim", exchange.interim, interim),
        ("answer", exchange.answer, answer),
    )
    return [
        Difference(number, leg, sent, arrived)
        for leg, sent, arrived in legs
        if whole(sent) != whole(arrived)
    ]


def whole(message: bytes) -> tuple[bytes, bytes, bytes]:
    """Head, body and trailers; the body without its chunks."""
    head, end, body = message.partition(HEAD_END)
    if not body or framing(head) != "chunked":
        return head + end, body, b""
    return (head + end, *dechunked(body))

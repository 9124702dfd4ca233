"""Walks a persona through the proxy: asks, follows a 451 as a phone does, notes what it got."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from eas_redirect.lab.client import Ask, Device, Got, Line, Network
from eas_redirect.lab.personas import HOST, Persona
from eas_redirect.lab.target import make_token


@dataclass(frozen=True, slots=True)
class Walk:
    """What one persona got: one `Got` per ask, then what the target said to one who followed.

    `problem` is a plain sentence when the walk could not be finished.
    """

    persona: Persona
    got: tuple[Got, ...] = ()
    arrived: Got | None = None
    problem: str | None = None

    @property
    def port(self) -> int | None:
        """The local port that the device called Exchange from."""
        return self.got[0].local_port if self.got else None


def walk_all(personas: Sequence[Persona], network: Network) -> tuple[Walk, ...]:
    """Every persona at once, each on connections of its own; the results in the order given."""
    with ThreadPoolExecutor(len(personas)) as pool:
        return tuple(pool.map(lambda persona: walk(persona, network), personas))


def walk(persona: Persona, network: Network) -> Walk:
    """One persona's asks, one after the other on one connection."""
    device = persona.make_device()
    done = Walk(persona)
    try:
        with Line(network, HOST) as line:
            for ask in persona.asks:
                done = replace(done, got=(*done.got, _send(line, device, ask)))
        location = done.got[-1].location
        if persona.follows and done.got[-1].status == 451 and location:
            done = replace(done, arrived=_follow(network, persona, location))
    except (OSError, KeyError, ValueError) as error:
        return replace(done, problem=f"{type(error).__name__}: {error}")
    return done


def _send(line: Line, device: Device, ask: Ask) -> Got:
    return line.send(ask.method, device.target(ask), device.headers(ask))


def _follow(network: Network, persona: Persona, location: str) -> Got:
    """Ask the new server the same; where it takes no password, sign in and ask once more."""
    device, ask = persona.make_device(), persona.asks[-1]
    with Line(network, urlsplit(location).hostname or "") as line:
        got = _send(line, device, ask)
        if got.status == 401 and got.header("WWW-Authenticate") == "Bearer":
            token = f"Bearer {make_token(persona.user_principal_name)}"
            got = _send(line, replace(device, authorization=token), ask)
        return got

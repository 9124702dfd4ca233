"""Walks a persona through the proxy: asks, follows a 451 as a phone does, notes what it got."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from eas_redirect.lab.autodiscovery import host_of, other_address, question
from eas_redirect.lab.personas import AUTODISCOVER, HOST, Persona
from eas_redirect.lab.phone import PATH, DeviceRequest, Got, Line, Phone, Route
from eas_redirect.lab.target_server import make_token

MAX_HOPS = 3  # as Android's own mail follows


@dataclass(frozen=True, slots=True)
class Walk:
    """What one persona got from Exchange, then what the target said last to one who followed.

    `problem` is a plain sentence when the walk could not be finished.
    """

    persona: Persona
    got: tuple[Got, ...] = ()
    arrived: Got | None = None
    problem: str | None = None

    @property
    def ports(self) -> tuple[int, ...]:
        """The local ports that the device called Exchange from."""
        return tuple(dict.fromkeys(got.local_port for got in self.got))


def knock(network: Route) -> None:
    """A device that sends no logon. A reverse proxy asks by itself, so there it is not needed;
    elsewhere only devices' requests show that Exchange checks logons, and without that a 403
    counts for nothing."""
    with Line(network, HOST) as line:
        line.send("OPTIONS", PATH, (("User-Agent", "eas-redirect lab"),))


def walk_all(personas: Sequence[Persona], network: Route) -> tuple[Walk, ...]:
    """Every persona at once, each on its own connections; the results in the given order."""
    with ThreadPoolExecutor(len(personas)) as pool:
        return tuple(pool.map(lambda persona: walk(persona, network), personas))


def walk(persona: Persona, network: Route) -> Walk:
    """One persona's requests, one after the other on one connection, then the path of its 451."""
    device = persona.make_device()
    done = Walk(persona)
    try:
        with Line(network, AUTODISCOVER if persona.adds_account else HOST) as line:
            for ask in persona.asks:
                done = replace(done, got=(*done.got, _send(line, device, ask)))
        if persona.adds_account:
            done = _set_up(network, done)
        elif persona.follows:
            done = _follow(network, done)
    except (OSError, KeyError, ValueError) as error:
        return replace(done, problem=f"{type(error).__name__}: {error}")
    return done


def _send(line: Line, device: Phone, ask: DeviceRequest) -> Got:
    body = question(device.user) if ask.is_question else b""
    return line.send(ask.method, device.target(ask), device.headers(ask), body)


def _set_up(network: Route, done: Walk) -> Walk:
    """From Autodiscover's answer to the server that it names, which is first asked for its
    versions. Phones that understand Redirect ask the new server's Autodiscover."""
    told, persona = done.got[-1], done.persona
    address = other_address(told.wire_body)
    if address is not None and persona.knows_redirect:
        told = _ask_at(network, persona, host_of(address), persona.asks[-1])
    host = urlsplit(told.location or "").hostname
    if host is None:
        return done
    _ask_at(network, persona, host, DeviceRequest("OPTIONS", query="none"))
    return replace(done, arrived=_ask_at(network, persona, host, DeviceRequest()))


def _follow(network: Route, done: Walk) -> Walk:
    """From 451 to 451, as far as a phone goes; it may be sent back to where it came from."""
    last = done.got[-1]
    for _ in range(MAX_HOPS):
        if last.status != 451 or not last.location:
            break
        host = urlsplit(last.location).hostname or ""
        last = _ask_at(network, done.persona, host, done.persona.asks[-1])
        done = replace(done, got=(*done.got, last)) if host == HOST else replace(done, arrived=last)
    return done


def _ask_at(network: Route, persona: Persona, host: str, ask: DeviceRequest) -> Got:
    """Ask another server; if it takes no password, sign in and ask once more."""
    device = persona.make_device()
    with Line(network, host) as line:
        got = _send(line, device, ask)
        if got.status == 401 and got.header("WWW-Authenticate") == "Bearer":
            token = f"Bearer {make_token(persona.user_principal_name)}"
            got = _send(line, replace(device, authorization=token), ask)
        return got

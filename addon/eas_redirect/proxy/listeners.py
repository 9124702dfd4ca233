"""Which other addons need whole messages, and which bodies are held for them.

The proxy streams everything that it need not read. A streamed request has left before the hook
`request` is called, so an addon that answers or changes requests there comes too late, and one that
changes answers in `response` has no effect. So if an addon listens, short bodies of known length
are held for it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType

from mitmproxy import http
from mitmproxy.addonmanager import traverse

from eas_redirect.proxy.part import is_in_place

MAX_HELD = 64 * 1024  # bytes of one body
PASSES = (
    "Longer and chunked bodies, and those of Outlook Anywhere and MAPI over HTTP, pass without it"
)

# mitmproxy's own addons that act on whole messages: the option that turns each on.
_ACTS_ON_REQUESTS = {
    "anticache": "anticache",
    "anticomp": "anticomp",
    "blocklist": "block_list",
    "intercept": "intercept",
    "maplocal": "map_local",
    "mapremote": "map_remote",
    "modifybody": "modify_body",
    "serverplayback": "server_replay",
    "stickyauth": "stickyauth",
    "stickycookie": "stickycookie",
}
_ACTS_ON_ANSWERS = {
    "intercept": "intercept",
    "modifybody": "modify_body",
    "stickycookie": "stickycookie",
}
_UNBOUNDED_METHODS = ("RPC_IN_DATA", "RPC_OUT_DATA")  # MS-RPCH 2.1.2.1.1
_UNBOUNDED_PATHS = ("/mapi/", "/rpc/")  # MS-OXCMAPIHTTP 2.2.3.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Names of the addons that need whole requests, or whole answers."""

    of_requests: tuple[str, ...] = ()
    of_answers: tuple[str, ...] = ()

    def want_request(self, request: http.Request) -> bool:
        return bool(self.of_requests) and is_held(request, request)

    def want_answer(self, request: http.Request, answer: http.Response) -> bool:
        return bool(self.of_answers) and is_held(request, answer)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.of_requests, *self.of_answers)))


def find_listeners(chain: Iterable[object], options: Mapping[str, object]) -> Listeners:
    """Search all addons. `options` are mitmproxy's, by name."""
    requests: list[str] = []
    answers: list[str] = []
    for addon, name in _named(chain):
        if _origin(addon) == "mitmproxy":
            requests += [name] if options.get(_ACTS_ON_REQUESTS.get(name, "")) else []
            answers += [name] if options.get(_ACTS_ON_ANSWERS.get(name, "")) else []
        else:
            # A fix lets an addon answer when the headers come; without the fix, an answer to a
            # streamed request crashes its exchange.
            early = not is_in_place("fixes") and _hears(addon, "requestheaders")
            requests += [name] if early or _hears(addon, "request") else []
            answers += [name] if _hears(addon, "response") else []
    return Listeners(of_requests=tuple(requests), of_answers=tuple(answers))


def is_held(request: http.Request, message: http.Message) -> bool:
    """Whether the body of this request, or of its answer, is short and of known length."""
    if request.method in _UNBOUNDED_METHODS or request.path.startswith(_UNBOUNDED_PATHS):
        return False
    length = message.headers.get("content-length", "")
    return (
        length.isascii()
        and length.isdecimal()
        and len(length) < 10
        and int(length) <= MAX_HELD
        and "transfer-encoding" not in message.headers
    )


def _named(chain: Iterable[object]) -> Iterator[tuple[object, str]]:
    for addon in traverse(chain):
        if _origin(addon) != "eas_redirect":
            yield addon, str(getattr(addon, "name", type(addon).__name__.lower()))


def _origin(addon: object) -> str:
    """The package that an addon comes from; empty for a script."""
    return "" if isinstance(addon, ModuleType) else type(addon).__module__.partition(".")[0]


def _hears(addon: object, hook: str) -> bool:
    try:
        return callable(getattr(addon, hook, None))
    except Exception:  # a property of a script; mitmproxy reports it when it calls the hook
        return False

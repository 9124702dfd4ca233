"""Who else listens: by what an addon does, not by what it is called."""

from types import ModuleType

import pytest
from mitmproxy.addons import blocklist, dumper, modifybody
from mitmproxy.test import tflow

from eas_redirect.addon import EASRedirect
from eas_redirect.proxy.listeners import MAX_HELD, find_listeners, is_held


class Requests:
    def request(self, flow: object) -> None: ...


class Answers:
    name = "shows-answers"

    def response(self, flow: object) -> None: ...


class Both(Requests, Answers): ...


class Nested:
    def __init__(self) -> None:
        self.addons = [Requests(), Answers()]


class Breaks:
    @property
    def request(self) -> object:
        raise RuntimeError("not yet")


def script(**hooks: object) -> ModuleType:
    module = ModuleType("script")
    vars(module).update(hooks)
    return module


@pytest.mark.parametrize(
    ("addon", "requests", "answers"),
    [
        (Requests(), ["requests"], []),
        (Answers(), [], ["shows-answers"]),
        (Both(), ["shows-answers"], ["shows-answers"]),
        (Nested(), ["requests"], ["shows-answers"]),
        (script(response=lambda _flow: None), [], ["module"]),
        (script(response="no function"), [], []),
        (Breaks(), [], []),
        (EASRedirect(), [], []),
        (dumper.Dumper(), [], []),
    ],
)
def test_scripts_by_their_hooks(addon: object, requests: list[str], answers: list[str]) -> None:
    found = find_listeners([addon], {})
    assert (list(found.of_requests), list(found.of_answers)) == (requests, answers)


def test_mitmproxys_own_by_their_options() -> None:
    chain = [blocklist.BlockList(), modifybody.ModifyBody()]
    assert find_listeners(chain, {}).names == ()
    assert find_listeners(chain, {"block_list": [], "modify_body": []}).names == ()
    blocking = find_listeners(chain, {"block_list": [":~u x:404"]})
    assert (blocking.of_requests, blocking.of_answers) == (("blocklist",), ())
    changing = find_listeners(chain, {"modify_body": ["/a/b"]})
    assert changing.of_requests == changing.of_answers == ("modifybody",)
    assert changing.names == ("modifybody",)


@pytest.mark.parametrize(
    ("length", "held"),
    [
        ("0", True),
        (str(MAX_HELD), True),
        (str(MAX_HELD + 1), False),
        ("9999999999", False),  # ten digits
        ("-1", False),
        ("٣", False),
        ("", False),
        (None, False),
    ],
)
def test_only_bodies_that_say_that_they_are_short_are_held(length: str | None, held: bool) -> None:
    flow = tflow.tflow()
    flow.request.headers.pop("content-length", None)
    if length is not None:
        flow.request.headers.fields = ((b"Content-Length", length.encode()),)
    assert is_held(flow.request, flow.request) is held
    listening, deaf = find_listeners([Requests()], {}), find_listeners([], {})
    assert listening.want_request(flow.request) is held
    assert not deaf.want_request(flow.request)


@pytest.mark.parametrize(
    ("method", "path"),
    [("RPC_IN_DATA", "/x"), ("RPC_OUT_DATA", "/x"), ("POST", "/mapi/emsmdb"), ("GET", "/rpc/x")],
)
def test_what_has_no_end_is_never_held(method: str, path: str) -> None:
    """Outlook's connections say a length that they take an hour to fill."""
    flow = tflow.tflow(resp=True)
    flow.request.method, flow.request.path = method, path
    assert flow.response is not None
    for message in (flow.request, flow.response):
        message.headers["Content-Length"] = "10"
        assert not is_held(flow.request, message)


def test_a_chunked_body_is_none_of_known_length() -> None:
    flow = tflow.tflow()
    flow.request.headers["Content-Length"] = "10"
    flow.request.headers["Transfer-Encoding"] = "chunked"
    assert not is_held(flow.request, flow.request)

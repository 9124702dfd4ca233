"""The profile: what is set for the user, what is warned of, and that mitmproxy knows every name."""

import asyncio

import pytest
from mitmproxy import options
from mitmproxy.tools.dump import DumpMaster

from eas_redirect.proxy import profile
from tests.support import ROOT


@pytest.fixture(scope="module")
def mitmdump() -> options.Options:
    """The options of a mitmdump with all its addons."""
    loop = asyncio.new_event_loop()
    opts = options.Options()
    DumpMaster(opts, loop=loop, with_termlog=False)
    loop.close()
    return opts


@pytest.fixture(scope="module")
def stock(mitmdump: options.Options) -> dict[str, object]:
    return {name: option.default for name, option in mitmdump._options.items()}


def reviewed(stock: dict[str, object], **user: object) -> profile.Review:
    return profile.review(stock | user, set(user), reverse=True)


def test_everything_is_set_when_the_user_set_nothing(stock: dict[str, object]) -> None:
    review = reviewed(stock)
    assert review.to_set == {s.option: s.value for s in profile.SETTINGS}
    assert review.warnings == ()


def test_every_option_is_one_of_mitmproxys(stock: dict[str, object]) -> None:
    named = {s.option for s in (*profile.SETTINGS, *profile.KEEP_BODIES)}
    named |= {h.option for h in profile.HAZARDS}
    assert named - set(stock) == set()


def test_mitmproxy_takes_every_value(mitmdump: options.Options) -> None:
    words = profile.arguments(keep_bodies=True)
    mitmdump.set(*(w for w in words if w != "--set"))
    for s in profile.settings(keep_bodies=True):
        assert getattr(mitmdump, s.option) == s.value


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("tcp_timeout", 600),
        ("tcp_timeout", 3599),
        ("http2", True),
        ("keep_host_header", False),
        ("connection_strategy", "eager"),
        ("stream_large_bodies", "10"),
        ("stream_large_bodies", "63k"),
        ("stream_large_bodies", "1b"),
        ("block_global", True),
        ("websocket", True),
    ],
)
def test_a_users_harmful_value_stands_and_is_warned_of(
    stock: dict[str, object], option: str, value: object
) -> None:
    review = reviewed(stock, **{option: value})
    assert option not in review.to_set
    assert len(review.warnings) == 1
    assert review.warnings[0].startswith(f"{option}={str(value).lower()}: ")
    assert f"Set {option}=" in review.warnings[0]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("tcp_timeout", 3600),
        ("tcp_timeout", 86400),
        ("stream_large_bodies", "64k"),
        ("stream_large_bodies", "1m"),
        ("stream_large_bodies", "2g"),
        ("http2", False),
        ("connection_strategy", "lazy"),
        ("flow_detail", "0"),
    ],
)
def test_a_users_value_that_serves_stands_in_silence(
    stock: dict[str, object], option: str, value: object
) -> None:
    review = reviewed(stock, **{option: value})
    assert option not in review.to_set
    assert review.warnings == ()


def test_mitmproxys_own_default_stands_too_when_the_user_said_it(stock: dict[str, object]) -> None:
    said = profile.review(stock, (), said={"http2"}, reverse=True)
    assert "http2" not in said.to_set
    assert [warning.partition(":")[0] for warning in said.warnings] == ["http2=true"]


@pytest.mark.parametrize("hazard", profile.HAZARDS, ids=lambda h: h.option)
def test_a_hazard_is_warned_of_when_the_user_set_it(
    stock: dict[str, object], hazard: profile.Hazard
) -> None:
    review = reviewed(stock, **{hazard.option: "something"})
    assert review.warnings == (f"{hazard.option} is set: {hazard.reason}.",)


def test_outside_reverse_mode_what_is_only_safe_there_is_left_alone(
    stock: dict[str, object],
) -> None:
    review = profile.review(stock, set(), reverse=False)
    assert set(review.to_set) == {s.option for s in profile.SETTINGS if s.mode == "any"}
    assert "block_global" not in review.to_set


def test_keeping_bodies_stores_what_is_streamed_and_is_no_hazard(stock: dict[str, object]) -> None:
    kept = profile.review(stock, set(), reverse=True, keep_bodies=True)
    assert kept.to_set["store_streamed_bodies"] is True
    by_user = stock | {"store_streamed_bodies": True}
    said = profile.review(by_user, {"store_streamed_bodies"}, reverse=True, keep_bodies=True)
    assert said.warnings == ()


def test_an_option_that_this_flavour_lacks_is_left_out(stock: dict[str, object]) -> None:
    bare = {name: value for name, value in stock.items() if name != "flow_detail"}
    assert "flow_detail" not in profile.review(bare, set(), reverse=True).to_set


def test_the_command_line_is_pairs_of_set() -> None:
    words = profile.arguments()
    assert words[::2] == ["--set"] * len(profile.SETTINGS)
    assert "keep_host_header=true" in words
    assert "tcp_timeout=4200" in words


def test_the_table_agrees_with_mitmproxys_core_options() -> None:
    assert options.Options().tcp_timeout < profile.LONGEST_WAIT_S


def test_the_reference_has_a_row_for_every_setting_and_hazard() -> None:
    page = (ROOT / "docs" / "reference.md").read_text("utf-8").splitlines()
    words = profile.arguments()[1::2]
    rows = [f"| `{w}` | {s.reason} |" for w, s in zip(words, profile.SETTINGS, strict=True)]
    rows += [f"| `{h.option}` | {h.reason} |" for h in profile.HAZARDS]
    assert [row for row in rows if row not in page] == []

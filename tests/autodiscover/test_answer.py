"""What an answer of Autodiscover is evidence of, and the answer that is given in its place."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.autodiscover.answer import (
    FRAMEWORK,
    NoMailboxHere,
    OtherAnswer,
    RedirectAddress,
    User,
    may_say_more,
    read_discovery_answer,
    write_settings,
)
from eas_redirect.autodiscover.document import read_document
from eas_redirect.autodiscover.phone_request import RESPONSE
from tests.autodiscover.vectors import (
    DOCTYPE,
    FRAMEWORK_ERROR,
    LOCATION,
    MOVED_TO,
    OLD,
    OUTLOOK_ANSWER,
    USER,
    answer,
    error,
    redirect,
    settings,
)

ANNA = User(email_address="anna@example.test", display_name="Anna Example", culture="en:us")
XML = "text/xml; charset=utf-8"


def read(body: str, status: int = 200, content_type: str = XML) -> object:
    return read_discovery_answer(status, content_type, "", body.encode())


def test_a_redirect_names_the_address_and_the_user() -> None:
    assert read(answer(USER + redirect())) == RedirectAddress(address=MOVED_TO, user=ANNA)
    assert read(answer(redirect(f"\r\n {MOVED_TO} "))) == RedirectAddress(address=MOVED_TO)


def test_compressed_and_in_other_encodings() -> None:
    whole = answer(USER + redirect())
    packed = gzip.compress(whole.encode())
    assert read_discovery_answer(200, XML, "gzip", packed) == RedirectAddress(
        address=MOVED_TO, user=ANNA
    )
    utf16 = answer(USER + redirect(), declaration="").encode("utf-16")
    assert isinstance(read_discovery_answer(200, "application/xml", "", utf16), RedirectAddress)


@pytest.mark.parametrize(
    ("body", "status"),
    [(answer(USER + error()), 200), (answer(error(data="")), 200), ("<html>denied</html>", 403)],
)
def test_what_only_hints_at_it(body: str, status: int) -> None:
    assert isinstance(read(body, status), NoMailboxHere)


def test_the_user_of_a_hint_is_kept_and_an_empty_name_is_none() -> None:
    assert read(answer(USER + error())) == NoMailboxHere(user=ANNA)
    nameless = USER.replace("Anna Example", " ")
    expected = User(email_address=ANNA.email_address, culture=ANNA.culture)
    assert read(answer(nameless + error())) == NoMailboxHere(user=expected)


OTHERS = {
    "settings of the old server": answer(USER + settings(OLD)),
    "settings of a new one": answer(USER + settings()),
    "the framework's error": FRAMEWORK_ERROR,
    "outlook's schema": OUTLOOK_ANSWER,
    "a doctype": DOCTYPE + answer(redirect("&x;"), declaration=""),
    "another status": answer(error("1")),
    "a status with a sign": answer(error("+2")),
    "two actions": answer(redirect() + redirect()),
    "two in one action": answer(
        f"<Action><Redirect>{MOVED_TO}</Redirect><Redirect>{MOVED_TO}</Redirect></Action>"
    ),
    "redirect and error": answer(
        f"<Action><Redirect>{MOVED_TO}</Redirect><Error><Status>2</Status></Error></Action>"
    ),
    "an empty redirect": answer(redirect("")),
    "a redirect with an element": answer(redirect(f"<b>{MOVED_TO}</b>")),
    "a redirect in another namespace": answer(
        f'<Action><Redirect xmlns="urn:x">{MOVED_TO}</Redirect></Action>'
    ),
    "an address in another action": answer(f"<Action><Address>{MOVED_TO}</Address></Action>"),
    "another root": answer(redirect())
    .replace("<Autodiscover", "<Discover")
    .replace("</Autodiscover", "</Discover"),
    "a root in another namespace": answer(redirect()).replace(f'"{FRAMEWORK}"', '"urn:x"'),
    "something beside the response": answer(redirect()).replace("</Autod", "<Other/></Autod"),
    "no action": answer(USER),
    "html": "<html><body>hello</body></html>",
    "cut short": answer(redirect())[:-5],
    "too long": answer(redirect()) + " " * 64 * 1024,
}


@pytest.mark.parametrize("body", OTHERS.values(), ids=OTHERS)
def test_everything_else_says_nothing(body: str) -> None:
    assert isinstance(read(body), OtherAnswer)


@pytest.mark.parametrize("status", [204, 301, 302, 307, 401, 404, 449, 451, 456, 457, 500, 503])
def test_no_other_status_is_evidence(status: int) -> None:
    assert isinstance(read(answer(redirect()), status), OtherAnswer)


@pytest.mark.parametrize("content_type", ["", "text/html", "application/json", "text/xmlx"])
def test_what_is_not_xml_is_not_read(content_type: str) -> None:
    assert isinstance(read(answer(redirect()), 200, content_type), OtherAnswer)


def test_a_bomb_and_a_stream_are_not_read() -> None:
    bomb = gzip.compress(answer(redirect()).encode() + b" " * 10_000_000)
    assert isinstance(read_discovery_answer(200, XML, "gzip", bomb), OtherAnswer)
    assert isinstance(read_discovery_answer(200, XML, "br", b"x"), OtherAnswer)
    assert isinstance(read_discovery_answer(200, XML, "", None), OtherAnswer)


def test_the_settings_byte_for_byte() -> None:
    assert write_settings(LOCATION, ANNA) == answer(USER + settings()).encode()


def test_settings_without_what_is_not_known() -> None:
    bare = answer("<Culture>en:us</Culture>" + settings()).encode()
    assert write_settings(LOCATION, User()) == bare
    # DisplayName alone would be no User: its EMailAddress is required.
    assert write_settings(LOCATION, User(display_name="Anna")) == bare
    address = "<Culture>en:us</Culture><User><EMailAddress>a@example.test</EMailAddress></User>"
    assert write_settings(LOCATION, User(email_address="a@example.test")) == (
        answer(address + settings()).encode()
    )


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_a_name_holds_stays_in_its_element(name: str, address: str) -> None:
    user = User(email_address=address, display_name=name)
    root = read_document(write_settings(LOCATION, user))
    assert (root.namespace, root.name) == (FRAMEWORK, "Autodiscover")
    response = root.one(RESPONSE, "Response")
    assert response is not None
    named = any(c >= " " and c not in "\ufffe\uffff" for c in address)
    person = ["User"] if named else []
    assert [child.name for child in response.children] == ["Culture", *person, "Action"]
    action = response.one(RESPONSE, "Action")
    assert action is not None
    server = action.children[0].children[0]
    assert [(child.name, child.text) for child in server.children] == [
        ("Type", "MobileSync"),
        ("Url", LOCATION),
        ("Name", LOCATION),
    ]


def test_a_name_that_is_longer_than_any_is_left_out() -> None:
    user = User(email_address="a@example.test", display_name="&" * 257, culture="x" * 257)
    short = User(email_address="a@example.test")
    assert write_settings(LOCATION, user) == write_settings(LOCATION, short)
    assert b"<User>" not in write_settings(LOCATION, User(email_address="a" * 257))
    longest = User(email_address="\U0001f600" * 256, display_name="&" * 256, culture="<" * 256)
    assert "\U0001f600" * 256 in write_settings(LOCATION, longest).decode()
    assert len(write_settings(LOCATION, longest)) < 8192 // 2


@pytest.mark.parametrize(
    ("expected", "status", "headers"),
    [
        (True, 200, [("Content-Type", "text/xml; charset=utf-8")]),
        (True, 200, [("content-type", "Application/XML"), ("Content-Length", "65536")]),
        (True, 200, [("Content-Type", "text/xml"), ("Content-Length", "0")]),
        (True, 403, []),
        (True, 403, [("Content-Type", "text/html"), ("Content-Length", "1233")]),
        (False, 403, [("Content-Length", "65537")]),
        (False, 200, []),
        (False, 200, [("Content-Type", "text/html")]),
        (False, 200, [("Content-Type", "text/xml"), ("Content-Type", "text/xml")]),
        (False, 200, [("Content-Type", "text/xml"), ("Content-Length", "65537")]),
        (False, 200, [("Content-Type", "text/xml"), ("Content-Length", "9" * 5000)]),
        (False, 200, [("Content-Type", "text/xml"), ("Content-Length", "+1")]),
        (False, 200, [("Content-Type", "text/xml"), ("Content-Length", "")]),
        (
            False,
            200,
            [("Content-Type", "text/xml"), ("Content-Length", "1"), ("Content-Length", "70000")],
        ),
        (False, 500, [("Content-Type", "text/xml")]),
        (False, 401, [("Content-Type", "text/xml")]),
        (False, 302, [("Content-Type", "text/xml")]),
    ],
)
def test_what_is_held_until_it_is_judged(
    expected: bool, status: int, headers: list[tuple[str, str]]
) -> None:
    assert may_say_more(status, tuple(headers)) is expected


@pytest.mark.parametrize(
    "action",
    [
        "<Action><Redirect>anna@example.test<x/></Redirect></Action>",
        "<Action><Redirect> </Redirect></Action>",
        "<Action><Error><Message>no status</Message></Error></Action>",
        "<Action><Error><Status>2</Status><Status>2</Status></Error></Action>",
        "<Action/>",
        "<Action><Redirect xmlns='urn:x'>anna@example.test</Redirect></Action>",
    ],
)
def test_an_action_of_another_form_says_nothing(action: str) -> None:
    assert isinstance(read(answer(action)), OtherAnswer)


def test_what_xml_cannot_hold_is_left_out() -> None:
    user = User(email_address="a\ud800\udfff\ufffe\uffff\x1fb@example.test", display_name="\x01")
    written = write_settings(LOCATION, user)
    assert b"<User><EMailAddress>ab@example.test</EMailAddress></User>" in written
    kept = "\ud7ff\ue000\ufffd\U0001fffe "
    user = User(email_address=f"{kept}@example.test")
    assert f"<EMailAddress>{kept}@example.test<".encode() in write_settings(LOCATION, user)

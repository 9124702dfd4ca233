"""Request targets, queries and headers."""

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.activesync import request as requests
from eas_redirect.activesync.request import (
    COMMAND_CODES,
    MAX_QUERY,
    MAX_USUAL,
    MAX_VALUE,
    EASRequest,
    Headers,
    is_eas_path,
    read_request,
    read_request_line,
)
from tests.support import DATA

PATH = "/Microsoft-Server-ActiveSync"
SPEC_EXAMPLE = "jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l"  # MS-ASHTTP 4.5.2: a base64 query


def paths() -> list[tuple[str, bool]]:
    lines = (DATA / "paths.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")][1:]
    return [(target, eas == "yes") for eas, target in rows]


def read(query: str, *headers: tuple[str, str], method: str = "POST") -> EASRequest:
    return read_request(method, f"{PATH}?{query}" if query else PATH, headers)


def encoded(
    version: int = 141,
    code: int = 0,
    device_id: bytes = b"device",
    policy_key: bytes = b"",
    device_type: bytes = b"SmartPhone",
    parameters: bytes = b"",
) -> bytes:
    """The layout of MS-ASHTTP 2.2.1.1.1.1."""
    fixed = bytes((version, code)) + (0x0409).to_bytes(2, "little")
    for value in (device_id, policy_key, device_type):
        fixed += bytes([len(value)]) + value
    return fixed + parameters


def base64_query(**fields: object) -> str:
    return base64.b64encode(encoded(**fields)).decode()  # type: ignore[arg-type]


@pytest.mark.parametrize(("target", "eas"), paths())
def test_paths(target: str, eas: bool) -> None:
    assert is_eas_path(target) is eas


def test_only_short_lines_without_a_secret_are_remembered() -> None:
    short, room = "Cmd=Sync", MAX_USUAL - len("POST")
    for method, query, versions in (
        ("POST", base64_query(policy_key=b"\1\2\3\4"), ()),
        ("POST", short.ljust(room + 1, "x"), ()),
        ("P" * MAX_USUAL, short, ()),
        ("P" * (MAX_USUAL // 2), short.ljust(MAX_USUAL // 2 + 1, "x"), ()),
        ("POST", short, ("1" * MAX_USUAL,)),
        ("POST", short, ("14.1", "14.1" * room)),
    ):
        requests._usual_line.cache_clear()
        read_request_line(method, f"{PATH}?{query}", versions, has_policy_key=False)
        assert requests._usual_line.cache_info().currsize == 0, (method, query, versions)
    for query in ("", short, short.ljust(room, "x")):
        requests._usual_line.cache_clear()
        for _ in range(2):
            read_request_line("POST", f"{PATH}?{query}", (), has_policy_key=False)
        assert requests._usual_line.cache_info().hits == 1, query
    assert not read(short).has_policy_key
    assert read(short, ("X-MS-PolicyKey", "1")).has_policy_key


@given(st.text())
def test_any_target_is_read(target: str) -> None:
    is_eas_path(target)
    request = read_request("POST", target, ())
    assert request.problem is None or request.command is None


@given(
    st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1),
    st.sampled_from(sorted(COMMAND_CODES.values())),
)
def test_a_plain_query_comes_back_whatever_the_name(user: str, command: str) -> None:
    user = user[:MAX_VALUE]
    request = read(f"DeviceType=t&Cmd={command}&User={quote(user, safe='')}&DeviceId=d")
    if user.isprintable():
        assert (request.user, request.command, request.problem) == (user, command, None)


def test_the_example_of_the_specification() -> None:
    assert read(SPEC_EXAMPLE) == EASRequest(
        method="POST",
        command="Sync",
        query_encoding="base64",
        protocol_version="14.0",
        device_id="v140Device",
        device_type="SmartPhone",
    )


@pytest.mark.parametrize(("code", "name"), COMMAND_CODES.items())
def test_each_command_code(code: int, name: str) -> None:
    assert read(base64_query(code=code)).command == name


def test_an_unknown_command_stays_as_it_came() -> None:
    assert read(base64_query(code=77)).command == "77"
    assert read("Cmd=Telepathy&User=anna").command == "Telepathy"


@pytest.mark.parametrize("written", ["Cmd=FOLDERSYNC", "cmd=foldersync", "CMD=FolderSync"])
def test_commands_are_known_without_regard_to_case(written: str) -> None:
    assert read(f"{written}&User=anna").command == "FolderSync"


@pytest.mark.parametrize(
    ("written", "user"),
    [
        ("anna", "anna"),
        ("CONTOSO%5Canna", "CONTOSO\\anna"),
        ("CONTOSO\\anna", "CONTOSO\\anna"),
        ("anna%40contoso.example", "anna@contoso.example"),
        ("anna@contoso.example", "anna@contoso.example"),
        ("J%C3%BCrgen", "Jürgen"),
        ("J%FCrgen", "Jürgen"),
        ("J\udcfcrgen", "Jürgen"),
        ("anna+work", "anna work"),
        ("anna%2Bwork", "anna+work"),
        ("", None),
    ],
)
def test_users_of_plain_queries(written: str, user: str | None) -> None:
    request = read(f"Cmd=Sync&User={written}&DeviceId=d&DeviceType=t")
    assert (request.user, request.problem) == (user, None)


def test_the_device_of_a_plain_query() -> None:
    request = read("Cmd=Sync&User=anna&DeviceId=Appl1&DeviceType=iPhone")
    assert (request.device_id, request.device_type) == ("Appl1", "iPhone")


@pytest.mark.parametrize(
    ("query", "encoding"),
    [
        ("", "none"),
        ("User=anna", "plain"),
        ("Ping&anna", "plain"),
        ("Cmd=", "plain"),
        ("cmd==", "plain"),
        (SPEC_EXAMPLE, "base64"),
        (base64.b64encode(bytes(49)).decode(), "base64"),  # two signs of padding
    ],
)
def test_the_encoding_is_told_by_the_signs_of_the_query(query: str, encoding: str) -> None:
    assert read(query).query_encoding == encoding


def test_the_longest_values_queries_and_paths() -> None:
    for size in (512, 513, MAX_QUERY):
        query = "Cmd=Sync&User=anna&x="
        request = read(query + "a" * (size - len(query)))
        assert (request.user, request.problem) == ("anna", None)
    assert read("Cmd=Sync&User=" + "a" * MAX_VALUE).user == "a" * MAX_VALUE
    slashes = "/" * (MAX_VALUE - len(PATH) + 1)
    assert is_eas_path(slashes + PATH[1:])
    assert not is_eas_path("/" + slashes + PATH[1:])


@pytest.mark.parametrize(
    ("query", "named"),
    [("Cmd=Sync&User=anna&User=berta", "names User twice"), ("x=1&x=2", "names a parameter twice")],
)
def test_a_name_that_stands_twice_is_told_where_it_is_known(query: str, named: str) -> None:
    assert named in (read(query).problem or "")


def test_a_user_may_stand_twice_when_it_is_the_same() -> None:
    assert read("Cmd=Sync&User=anna&User=anna").user == "anna"
    twice = read(base64_query(parameters=b"\x08\x04anna" * 2))
    assert (twice.user, twice.problem) == ("anna", None)


def test_a_text_that_no_bytes_stand_for_is_read_all_the_same() -> None:
    """Half of a pair of UTF-16, which is no byte of a target either."""
    assert read("Cmd=Sync&User=%61\ud800").user == "a?"
    assert not is_eas_path("/%61\ud800")


def test_a_version_of_the_query_may_be_contradicted_by_the_header() -> None:
    """No version then, and no fault of the request's form."""
    request = read(base64_query(version=141), ("MS-ASProtocolVersion", "12.1"))
    assert (request.protocol_version, request.problem) == (None, None)


@pytest.mark.parametrize(
    ("version", "text"), [(25, "2.5"), (121, "12.1"), (140, "14.0"), (141, "14.1"), (161, "16.1")]
)
def test_version_bytes(version: int, text: str) -> None:
    assert read(base64_query(version=version)).protocol_version == text


def test_a_user_in_a_base64_query() -> None:
    query = base64_query(parameters=b"\x07\x01\x03\x08\x0cCONTOSO\\anna")
    assert read(query).user == "CONTOSO\\anna"


@pytest.mark.parametrize(
    ("key", "present"), [(b"", False), (b"\0\0\0\0", False), (b"\x01\x02\x03\x04", True)]
)
def test_the_policy_key_of_a_base64_query(key: bytes, present: bool) -> None:
    assert read(base64_query(policy_key=key)).has_policy_key is present


@pytest.mark.parametrize(
    ("values", "present"), [((), False), (("0",), False), (("",), False), (("3141592653",), True)]
)
def test_the_policy_key_header(values: tuple[str, ...], present: bool) -> None:
    request = read("Cmd=Sync", *(("X-MS-PolicyKey", value) for value in values))
    assert request.has_policy_key is present
    assert "3141592653" not in repr(request)


def test_a_binary_device_id_is_shown_as_hexadecimal() -> None:
    assert read(base64_query(device_id=bytes(range(0xF0, 0x100)))).device_id == (
        "F0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF"
    )
    assert read(base64_query(device_id=b"")).device_id is None


def test_base64_with_encoded_signs_and_without_padding() -> None:
    raw = base64.b64encode(encoded(device_id=b"\xfb\xef\xff\xfe", parameters=b"\x08\x01a")).decode()
    assert "+" in raw or "/" in raw
    expected = read(raw)
    assert (expected.user, expected.problem) == ("a", None)
    assert read(quote(raw, safe="")) == expected
    assert read(raw.rstrip("=")) == expected


@pytest.mark.parametrize("length", range(1, len(encoded())))
def test_each_proper_prefix_of_a_base64_query_is_a_problem(length: int) -> None:
    request = read(base64.b64encode(encoded()[:length]).decode())
    assert request.problem is not None
    assert request.problem.startswith("the base64 query ends inside")
    assert request == EASRequest(method="POST", query_encoding="base64", problem=request.problem)


@pytest.mark.parametrize(
    "query",
    [
        "Cmd=Sync&User=anna&User=berta",
        "Cmd=Sync&cmd=Ping",
        "Cmd=Sync&User=%zz",
        "Cmd=Sync&User=anna%",
        "Cmd=Sync&User=anna%00",
        "Cmd=Sync&User=anna%0d%0aX: y",
        "Cmd=Sync&User=" + "a" * (MAX_VALUE + 1),
        "Cmd=Sync&DeviceId=%07",
        "Cmd=Sync&x=" + "a" * MAX_QUERY,
        "not base64 at all!",
        "%zz",
        "A",
        base64_query(policy_key=b"12"),
        base64_query(parameters=b"\x08\x05ann"),
        base64_query(parameters=b"\x08\x01a\x08\x01b"),
        base64_query(parameters=b"\x08\x02a\0"),
        base64_query(device_type=b"\x07"),
    ],
)
def test_a_malformed_query_says_nothing_but_its_problem(query: str) -> None:
    request = read(query, ("MS-ASProtocolVersion", "14.1"))
    assert request.problem
    assert "anna" not in request.problem
    assert (request.command, request.user, request.device_id) == (None, None, None)
    assert request.protocol_version == "14.1"


@pytest.mark.parametrize(
    ("headers", "version", "problem"),
    [
        ((), None, False),
        ((("MS-ASProtocolVersion", "14.1"),), "14.1", False),
        ((("ms-asprotocolversion", " 2.5 "),), "2.5", False),
        ((("MS-ASProtocolVersion", "14.1"), ("MS-ASProtocolVersion", "14.1")), "14.1", False),
        ((("MS-ASProtocolVersion", "14.1"), ("MS-ASProtocolVersion", "12.1")), None, True),
        ((("MS-ASProtocolVersion", "14.1, 12.1"),), None, True),
        ((("MS-ASProtocolVersion", "latest"),), None, True),
        ((("MS-ASProtocolVersion", ""),), None, True),
        ((("MS-ASProtocolVersion", "١٤.١"),), None, True),
    ],
)
def test_version_headers(headers: Headers, version: str | None, problem: bool) -> None:
    request = read("Cmd=Sync&User=anna", *headers)
    assert (request.protocol_version, request.problem is not None) == (version, problem)
    assert request.command == "Sync"


def test_options_usually_has_no_query() -> None:
    assert read("", method="OPTIONS") == EASRequest(method="OPTIONS")


@pytest.mark.parametrize("named", ["Options", "OPTIONS", "options"])
def test_options_with_its_own_name_as_a_command_is_options(named: str) -> None:
    """Old K-9 Mail writes it; as a command it would count beside the OPTIONS without a query."""
    request = read(f"Cmd={named}&User=anna&DeviceId=A", method="OPTIONS")
    assert (request.command, request.user, request.device_id) == (None, "anna", "A")
    assert read("Cmd=Sync", method="OPTIONS").command == "Sync"
    assert read(f"Cmd={named}").command == named


@given(st.binary(max_size=80))
def test_any_bytes_as_a_base64_query(data: bytes) -> None:
    request = read(base64.b64encode(data).decode())
    assert request.problem is None or request.command is None

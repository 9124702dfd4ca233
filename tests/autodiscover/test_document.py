"""The bounded XML reader: encodings, hostile documents, bounds."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eas_redirect.autodiscover.document import MAX_BYTES, DocumentError, XMLElement, read_document

LATIN1 = "<?xml version='1.0' encoding='ISO-8859-1'?><a>Jürgen</a>"
UTF16 = '<?xml version="1.0" encoding="utf-16"?><a>Jürgen</a>'


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        ("<a>Jürgen</a>".encode(), ""),
        ("<a>Jürgen</a>".encode("utf-8-sig"), "text/xml"),
        ('<?xml version="1.0" encoding="UTF-8"?><a>Jürgen</a>'.encode(), 'text/xml;charset="utf8"'),
        (LATIN1.encode("latin-1"), "text/xml"),
        (LATIN1.encode("latin-1"), "text/xml; charset=latin1"),
        ("<a>Jürgen</a>".encode("latin-1"), "text/xml; charset=iso-8859-1"),
        (b'<?xml version="1.0" encoding="us-ascii"?><a>J&#xfc;rgen</a>', ""),
        (UTF16.encode("utf-16"), ""),
        (b"\xfe\xff" + UTF16.encode("utf-16-be"), "text/xml; charset=utf-16"),
        ("<a>Jürgen</a>".encode("utf-16"), "text/xml; charset=utf-16le"),
    ],
)
def test_reads_the_encodings_of_clients(data: bytes, content_type: str) -> None:
    assert read_document(data, content_type) == XMLElement("", "a", "Jürgen", ())


@pytest.mark.parametrize(
    ("data", "content_type", "why"),
    [
        (b"<!DOCTYPE a><a/>", "", "DOCTYPE"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "", "DOCTYPE"),
        (b'<?xml version="1.0"?><!DOCTYPE a SYSTEM "http://x.example/a.dtd"><a/>', "", "DOCTYPE"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><a/>'.encode("utf-16"), "", "DOCTYPE"),
        (b"<a>&x;</a>", "", "well-formed"),
        (b"<a>", "", "well-formed"),
        (b"<a/><b/>", "", "well-formed"),
        (b"<a>\x00</a>", "", "NUL"),
        (b"", "", "well-formed"),
        ("<a>ü</a>".encode("latin-1"), "", "not in the encoding"),
        ("<a/>".encode("utf-16-le"), "", "NUL"),
        (b"\xef\xbb\xbf" * 2 + b"<a/>", "", "second byte order mark"),
        (b'<?xml version="1.0" encoding="utf-16"?><a/>', "", "none that is read"),
        (b'<?xml version="1.0" encoding="utf-7"?><a/>', "", "none that is read"),
        (b'<?xml version="1.0" encoding="cp037"?><a/>', "", "none that is read"),
        (b'<?xml version="1.0" encoding="no-such"?><a/>', "", "none that is read"),
        (b"<a/>", "text/xml; charset=windows-1252", "none that is read"),
        (LATIN1.encode("latin-1"), "text/xml; charset=utf-8", "contradict"),
        ('<?xml version="1.0" encoding="utf-8"?><a/>'.encode("utf-16"), "", "contradict"),
        ("<a/>".encode("utf-8-sig"), "text/xml; charset=utf-16", "contradict"),
        (b"<a>" * 17 + b"</a>" * 17, "", "nests"),
        (b"<a>" + b"x" * MAX_BYTES + b"</a>", "", "longer than"),
        (b'<a xmlns="' + b"n" * 300 + b'"/>', "", "namespace"),
    ],
)
def test_refuses_with_a_sentence(data: bytes, content_type: str, why: str) -> None:
    with pytest.raises(DocumentError, match=why):
        read_document(data, content_type)


@given(st.binary(max_size=400), st.sampled_from(["", "text/xml; charset=utf-8"]))
def test_any_bytes_are_a_document_or_the_one_error(data: bytes, content_type: str) -> None:
    with contextlib.suppress(DocumentError):
        assert read_document(data, content_type).name


def test_every_proper_prefix_of_a_document_is_refused() -> None:
    whole = b'<?xml version="1.0"?><a xmlns="n"><b>x</b></a>'
    assert read_document(whole).one("n", "b") == XMLElement("n", "b", "x", ())
    for end in range(len(whole)):
        with pytest.raises(DocumentError):
            read_document(whole[:end])


def test_the_bounds() -> None:
    whole = b"<a>" + b"x" * (MAX_BYTES - 7) + b"</a>"
    assert len(whole) == MAX_BYTES
    assert len(read_document(whole).text) == MAX_BYTES - 7
    with pytest.raises(DocumentError, match="longer than"):
        read_document(whole + b"\n")
    assert read_document(b"<a xmlns='%b'/>" % (b"n" * 256)).namespace == "n" * 256
    with pytest.raises(DocumentError, match="namespace"):
        read_document(b"<a xmlns='%b'/>" % (b"n" * 257))
    assert read_document(b"<a xmlns=''><b xmlns=''/></a>").children[0].namespace == ""


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-8"])
def test_half_a_character_is_refused(encoding: str) -> None:
    mark = "\ufeff".encode(encoding)
    with pytest.raises(DocumentError, match="encoding that it names"):
        read_document(mark + "<a>\ud800</a>".encode(encoding, "surrogatepass"))

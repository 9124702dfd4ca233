"""What a file is that somebody named in place of another kind, by its first bytes."""

import codecs
import re

HEAD = 4096  # bytes that tell it
SETTINGS = "a file of settings (TOML)"

_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
# Possessive: a line of hashes, or many empty ones below a comment, must not be tried in every way.
_COMMENTS = r"(?:#[^\n]*+\n\s*+)*+"
_FORMS = (
    ("a certificate or a key (PEM)", r"-----BEGIN "),
    ("an export of the directory (LDIF)", rf"(?:version: ?1\s+)?{_COMMENTS}dn::? "),
    ("a log of IIS", r"#(?:Software: Microsoft|Fields: (?:date|time|[cs]+-))"),
    ("a journal", r'\{"@timestamp":'),
    ("a capture (HAR)", r'\{\s*"log"\s*:'),
    ("JSON", r'\{\s*"|\[\s*\{'),
    ("a web page", r"<(?:!doctype html|html)"),
    ("XML", r"<\?xml"),
    ("a flow file of mitmproxy", r"[0-9]+:[0-9]+:[a-z_]+;"),
    (SETTINGS, rf"{_COMMENTS}(?:mode *= *[\"']|\[[a-z_]+(?:\.[a-z_]+)*\]\s)"),
)
_KNOWN = tuple((name, re.compile(form, re.IGNORECASE)) for name, form in _FORMS)


def kind_of(head: bytes) -> str | None:
    """A noun for it, such as `a journal`; None: not one of these. `head`: HEAD bytes of it."""
    if head.startswith(_PACKED):
        return "a packed file (unpack it first)"
    if head.startswith(_WORKBOOKS):
        return "a workbook or an archive"
    if re.match(rb"\x30[\x80-\x84]", head):
        return "a certificate or a key (DER or PKCS#12)"
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = head.decode("utf-16" if wide else "utf-8-sig", "replace").lstrip()
    return next((name for name, form in _KNOWN if form.match(text)), None)

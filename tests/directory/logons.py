"""Logons for the directory's tests, written as a person would."""

from eas_redirect.activesync.authorization import Logon, parse_logon


def logon(text: str) -> Logon:
    parsed = parse_logon(text)
    assert parsed is not None, text
    return parsed

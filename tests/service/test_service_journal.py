"""What a service writes: by which names, and what counts as a decision."""

from pathlib import Path

from eas_redirect.configuration.config import load_config
from eas_redirect.policy.reasons import Reason
from eas_redirect.service.service import is_decision, redaction_of
from eas_redirect.telemetry.record import Record


def pseudonym(folder: Path, key: str, users: str = "hash") -> str | None:
    (folder / "people.ldif").write_text("dn: DC=contoso,DC=example\n", "utf-8")
    (folder / "key").write_text(key, "utf-8")
    file = folder / "eas-redirect.toml"
    file.write_text(
        'mode = "observe"\n[directory]\nsnapshot = "people.ldif"\n'
        f'[journal]\nusers = "{users}"\nhash_key_file = "key"\n',
        "utf-8",
    )
    return redaction_of(load_config(file, environment={})).name("anna")


def test_a_pseudonym_is_made_with_the_key_of_the_file(tmp_path: Path) -> None:
    """Without it anybody could compute the pseudonym of each name."""
    ours, theirs = "our own secret, long enough", "the secret of somebody else"
    assert pseudonym(tmp_path, ours) == pseudonym(tmp_path, f"{ours}\n")
    assert pseudonym(tmp_path, ours) != pseudonym(tmp_path, theirs)
    assert pseudonym(tmp_path, ours) not in (None, "anna")
    assert pseudonym(tmp_path, ours, "clear") == "anna"
    assert pseudonym(tmp_path, ours, "drop") is None


def test_what_counts_as_a_decision() -> None:
    ordinary = str(Reason.OTHER_ANSWER)
    rows = (
        ("eas.exchange", "pass", ordinary, None, False),
        ("eas.autodiscover", "pass", ordinary, None, False),
        ("eas.exchange", "pass", ordinary, "InternalError", True),
        ("eas.exchange", "pass", str(Reason.NO_TARGET_ADDRESS), None, True),
        ("eas.exchange", "redirect", ordinary, None, True),
        ("eas.exchange", "would_redirect", ordinary, None, True),
        ("eas.wait", "end_wait", ordinary, None, True),
    )
    for action, decision, reason, error_type, counts in rows:
        record = Record(
            timestamp_s=0.0,
            action=action,
            message="",
            decision=decision,
            reason=reason,
            error_type=error_type,
        )
        assert is_decision(record) is counts, (action, decision, reason, error_type)

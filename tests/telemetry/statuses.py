"""Statuses to show: a lively one, and one in which every string is hostile."""

from dataclasses import replace

from eas_redirect.directory.values import CacheStatistics
from eas_redirect.telemetry.status import (
    CertificateLine,
    ConfigurationLine,
    DecisionLine,
    DeviceLine,
    DirectoryLine,
    ErrorLine,
    ReasonCount,
    RelationshipLine,
    Status,
    UpstreamLine,
)

NOW_S = 1_795_000_000.0
HOSTILE = (
    "<script>document.title='owned'</script>\"'>&\u202egnp.exe\x00\n<img src=x onerror=alert(1)>"
)


def device(user: str, number: int = 1, *, state: str = "stuck") -> DeviceLine:
    """A device that was redirected, with its last decisions."""
    location = "https://outlook.office365.com/Microsoft-Server-ActiveSync"
    return DeviceLine(
        user=user,
        device_id=f"APPL{number:08d}",
        device="iPhone",
        state=state,
        since_s=NOW_S - 7000 - number,
        last_s=NOW_S - 60 * number,
        returns=3 + number,
        redirected_s=NOW_S - 90_000,
        location=location,
        advice="The app seems to ignore the redirect. Set up the account again.",
        decisions=tuple(
            DecisionLine(
                timestamp_s=NOW_S - 600 * step,
                decision="redirect" if step % 2 else "pass",
                reason="mailbox_moved" if step % 2 else "directory_unavailable",
                command="FolderSync",
                location=location if step % 2 else None,
            )
            for step in range(3)
        ),
    )


LIVELY = Status(
    now_s=NOW_S,
    started_s=NOW_S - 93_784,
    mode="enforce",
    upstream=UpstreamLine(address="ex07.contoso.example:443", age_s=0.4, reachable=True),
    directory=DirectoryLine(
        state="answering", source="ldap", server="ldaps://dc1.contoso.example", age_s=312.0
    ),
    configuration=ConfigurationLine(
        path="/etc/eas-redirect/eas-redirect.toml",
        meant="enforce for 3 of 40 users, except 1 user",
        loaded_s=NOW_S - 93_784,
    ),
    cache=CacheStatistics(hits=48_211, misses=1_204, negative=310, entries=1_190, age_s=312.0),
    relationships=(
        RelationshipLine(
            name="O365 to On-premises - contoso",
            domain_names=("contoso.mail.onmicrosoft.example", "contoso.example"),
            target_owa_url="http://outlook.com/owa/contoso.onmicrosoft.example",
            eas_host="outlook.office365.com",
        ),
        RelationshipLine(
            name="Fabrikam",
            domain_names=("fabrikam.example",),
            target_owa_url="https://mail.fabrikam.example/owa",
            eas_host="mail.fabrikam.example",
            source="configuration",
            note="from the configuration",
        ),
        RelationshipLine(
            name="Adatum", domain_names=("adatum.example",), note="disabled", enabled=False
        ),
    ),
    reasons=(
        ReasonCount(decision="pass", reason="other_answer", count=812_433),
        ReasonCount(decision="redirect", reason="mailbox_moved", count=3_120),
        ReasonCount(decision="pass", reason="unauthenticated", count=90_211),
        ReasonCount(decision="would_redirect", reason="mailbox_moved", count=44),
        ReasonCount(decision="pass", reason="recipient_has_mailbox", count=410),
        ReasonCount(decision="pass", reason="not_in_wave", count=97),
        ReasonCount(decision="pass", reason="directory_unavailable", count=12),
    ),
    ledger={
        "seen": 2_204, "redirected": 31, "returned": 6, "stuck": 2, "quiet": 1_388, "confirmed": 12,
    },
    open_exchanges=1_902,
    open_waits=1_877,
    last=tuple(
        DecisionLine(
            timestamp_s=NOW_S - 11 * number,
            decision=decision,
            reason=reason,
            user=user,
            device=device,
            command=command,
            location=location,
        )
        for number, (decision, reason, user, device, command, location) in enumerate(
            [
                ("redirect", "mailbox_moved", "anna@contoso.example", "iPhone", "FolderSync",
                 "https://outlook.office365.com/Microsoft-Server-ActiveSync"),
                ("pass", "not_in_wave", "CONTOSO\\bert", "SAMSUNGSMG991B", "Sync", None),
                ("redirect", "mailbox_moved", "CONTOSO\\cleo", "iPad", "OPTIONS",
                 "https://mail.fabrikam.example/Microsoft-Server-ActiveSync"),
                ("pass", "directory_unavailable", "dora@contoso.example", "Android", "Ping", None),
                ("pass", "recipient_has_mailbox", "CONTOSO\\emil", "WindowsMail", "Sync", None),
            ]
        )
    ),
    certificates=(
        CertificateLine(
            whose="phones",
            ends_s=NOW_S + 9 * 86_400,
            error=ErrorLine(text="it ends on 2026-11-28: renew it", since_s=NOW_S - 12 * 86_400),
        ),
        CertificateLine(whose="exchange", ends_s=NOW_S + 400 * 86_400),
    ),
    stuck=(device("dora@contoso.example"), device("CONTOSO\\erik", 2)),
    moved=(device("fred@contoso.example", 3, state="quiet"),),
    workers=2,
)  # fmt: skip

HOSTILE_STATUS = replace(
    LIVELY,
    mode=HOSTILE,
    upstream=UpstreamLine(address=HOSTILE),
    directory=DirectoryLine(state="stale", source=HOSTILE, server=HOSTILE, problem=HOSTILE * 20),
    configuration=ConfigurationLine(
        path=HOSTILE,
        meant=f"enforce for {HOSTILE}",
        problem=HOSTILE,
        error=ErrorLine(text=HOSTILE, since_s=NOW_S - 5),
    ),
    stuck=(
        replace(
            device(HOSTILE), device_id=HOSTILE, device=HOSTILE, advice=HOSTILE, location=HOSTILE
        ),
    ),
    moved=(replace(device(HOSTILE), device_id=HOSTILE, device=HOSTILE, location=HOSTILE),),
    certificates=(CertificateLine(whose="phones", error=ErrorLine(text=HOSTILE, since_s=1.0)),),
    relationships=(
        RelationshipLine(
            name=HOSTILE,
            domain_names=(HOSTILE,) * 50,
            target_owa_url=HOSTILE,
            eas_host=HOSTILE,
            note=HOSTILE,
        ),
    ),
    reasons=(ReasonCount(decision=HOSTILE, reason=HOSTILE, count=1),),
    last=(
        DecisionLine(
            timestamp_s=NOW_S,
            decision=HOSTILE,
            reason=HOSTILE,
            user=HOSTILE,
            device=HOSTILE,
            command=HOSTILE,
            location=HOSTILE,
        ),
    ),
)

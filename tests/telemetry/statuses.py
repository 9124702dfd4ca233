"""Statuses to show: a lively one, and one in which every string is hostile."""

from dataclasses import replace

from eas_redirect.directory.values import CacheStatistics
from eas_redirect.telemetry.status import (
    ConfigurationLine,
    DecisionLine,
    DirectoryLine,
    ReasonCount,
    RelationshipLine,
    Status,
    UpstreamLine,
)

NOW_S = 1_795_000_000.0
HOSTILE = (
    "<script>document.title='owned'</script>\"'>&\u202egnp.exe\x00\n<img src=x onerror=alert(1)>"
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
        path="/etc/eas-redirect/eas-redirect.toml", loaded_s=NOW_S - 93_784
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
        ReasonCount(decision="pass", reason="recipient_has_mailbox", count=410),
        ReasonCount(decision="pass", reason="not_in_wave", count=97),
        ReasonCount(decision="pass", reason="directory_unavailable", count=12),
    ),
    ledger={"seen": 2_204, "redirected": 31, "returned": 6, "stuck": 2, "quiet": 1_388},
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
    workers=2,
)  # fmt: skip

HOSTILE_STATUS = replace(
    LIVELY,
    mode=HOSTILE,
    upstream=UpstreamLine(address=HOSTILE),
    directory=DirectoryLine(state="stale", source=HOSTILE, server=HOSTILE, problem=HOSTILE * 20),
    configuration=ConfigurationLine(path=HOSTILE, problem=HOSTILE),
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

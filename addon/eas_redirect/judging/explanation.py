"""Why a user would be redirected or not, step by step: one exchange made up and judged.

`eas-redirect explain USER` and the console's `eas.lookup` show this. The exchange is the clearest
case there is (a POST that Exchange answered with UserHasNoMailbox), so that what remains is the
directory and the policy. Imports neither mitmproxy nor ldap3.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from eas_redirect.activesync.authorization import Credentials, Identity, Logon, parse_logon
from eas_redirect.activesync.exchange import Exchange
from eas_redirect.activesync.request import EASRequest
from eas_redirect.activesync.response import Answer, Evidence
from eas_redirect.autodiscover.answer import RedirectAddress
from eas_redirect.autodiscover.phone_request import PhoneRequest
from eas_redirect.configuration.config import Config, cache_settings, directory_settings, policy
from eas_redirect.directory.cache import CachedDirectory
from eas_redirect.directory.open import open_directory
from eas_redirect.directory.values import Directory, Found, Recipient
from eas_redirect.judging.judge import Judge, Judgement
from eas_redirect.policy.decision import Policy, Redirect, Step
from eas_redirect.policy.discovery import Discovery, discovery
from eas_redirect.policy.reasons import advice_of_named, in_order

ASSUMED = (
    "the device has logged on, and Exchange answers UserHasNoMailbox; a 403 counts only where"
    " Exchange is known to ask for logons (eas-redirect check tries it)"
)
_ACTIVESYNC_OFF = 4  # msExchOmaAdminWirelessEnable


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedDevice:
    """The made-up device. `called_host`: the name by which it calls this proxy."""

    protocol_version: str = "14.1"
    device_type: str | None = None
    client_address: str | None = None
    called_host: str | None = None
    user_agent: str | None = None  # None: one that `autodiscover.listed` has


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A judgement with the steps that led to it."""

    logon: Logon
    judgement: Judgement
    steps: tuple[Step, ...]
    assumed: bool = False  # the exchange is made up: see ASSUMED
    waits: int | None = None  # devices of the user that wait at the running proxy
    watch_s: float | None = None  # how often it looks at them; None: no wait is ended
    added_again: Judgement | None = None  # of Autodiscover's answer then, where phones are told

    @property
    def recipient(self) -> Recipient | None:
        lookup = self.judgement.asked.lookup if self.judgement.asked else None
        return lookup.recipient if isinstance(lookup, Found) else None

    @property
    def location(self) -> str | None:
        verdict = self.judgement.verdict
        return verdict.location if isinstance(verdict, Redirect) else None


def open_judge(config: Config) -> Judge:
    """A judge for one command: the service's own, without a journal.

    Raises SnapshotError and ConfigError as the service does; a directory that is down does not.
    """
    return judge_over(config, open_directory(directory_settings(config), config.directory.snapshot))


def judge_over(config: Config, directory: Directory) -> Judge:
    """The same over a directory that is already open. Raises ConfigError."""
    return Judge(
        policy=policy(config),
        directory=CachedDirectory(directory, cache_settings(config)),
        mode=config.mode,
        lookup_timeout_s=config.directory.lookup_timeout_s,
    )


async def explain_user(judge: Judge, user: str, device: AskedDevice) -> Explanation | None:
    """None if `user` is not a logon: empty, too long, control characters, half of a name."""
    logon = parse_logon(user)
    if logon is None:
        return None
    steps: list[Step] = []
    judgement = await judge.judge(_exchange(logon, device, judge), steps)
    found = Explanation(logon=logon, judgement=judgement, steps=tuple(steps), assumed=True)
    if judge.policy.discovery.phones == "off":
        return found
    again = await judge.discover(_discovery(found, device, judge.policy))
    return replace(found, added_again=again)


def _called(device: AskedDevice, policy: Policy) -> str:
    """Nobody called, so only names in the configuration can be a loop (RFC 2606 2: invalid)."""
    return device.called_host or min(policy.own_names, default="proxy.invalid")


def _discovery(found: Explanation, device: AskedDevice, policy: Policy) -> Discovery:
    """As if the user added the account again, and Exchange named the directory's targetAddress."""
    recipient = found.recipient
    address = (recipient.mail or recipient.primary_address) if recipient else None
    target = (recipient.target_address if recipient else None) or ""
    agent = device.user_agent if device.user_agent is not None else policy.discovery.listed[0]
    return discovery(
        PhoneRequest(email_address=address or found.logon.text),
        RedirectAddress(address=target),
        status_code=200,
        credentials=Credentials(scheme="basic", logon=found.logon),
        user_agent=agent,
        device_names=(_called(device, policy),),
        client_address=device.client_address,
    )


def _exchange(logon: Logon, device: AskedDevice, judge: Judge) -> Exchange:
    return Exchange(
        request=EASRequest(
            method="POST",
            command="FolderSync",
            protocol_version=device.protocol_version,
            device_type=device.device_type,
        ),
        credentials=Credentials(scheme="basic", logon=logon),
        identity=Identity(logon=logon, source="authorization"),
        answer=Answer(status_code=200, evidence=Evidence.CERTAIN, eas_status=123),
        called_names=(_called(device, judge.policy),),
        client_address=device.client_address,
        challenged=True,
    )


def recipient_remarks(recipient: Recipient) -> Iterator[str]:
    """What does not affect the decision but explains why a device fails."""
    if recipient.is_disabled:
        yield "The account is disabled (userAccountControl)."
    if (recipient.ms_exch_oma_admin_wireless_enable or 0) & _ACTIVESYNC_OFF:
        yield "ActiveSync is disabled for this user (msExchOmaAdminWirelessEnable)."


def explanation_lines(explanation: Explanation) -> Iterator[str]:
    """For people: each question with its finding, then the result."""
    logon, judgement = explanation.logon, explanation.judgement
    yield f"{logon.text}: a logon of the form {logon.format}"
    if explanation.assumed:
        yield f"  assumed: {ASSUMED}"
    if judgement.asked is not None and judgement.asked.steps:
        server = judgement.asked.server or judgement.asked.source
        yield f"  asked {server}:"
        yield from (f"    {step}" for step in judgement.asked.steps)
    for step in explanation.steps:
        yield f"  {'✓' if step.ok else '✗'} {step.question} {step.finding}"
    if explanation.recipient is not None:
        yield from (f"  ! {remark}" for remark in recipient_remarks(explanation.recipient))
    yield f"  {_outcome(explanation)}"
    if explanation.watch_s is not None:
        yield f"  {_waits(explanation, explanation.watch_s)}"
    if explanation.added_again is not None:
        yield f"  If the account is added again: {_added_again(explanation.added_again)}"
    reason = judgement.verdict.reason
    if not in_order(reason) and (advice := advice_of_named(reason)):
        yield f"  What to do: {advice}"


def _waits(explanation: Explanation, watch_s: float) -> str:
    match explanation.waits:
        case None:
            return "Whether devices wait is not known: no running proxy answers at metrics.listen."
        case 0:
            return "No device of this user waits here."
        case count:
            who = "One device waits" if count == 1 else f"{count} devices wait"
            ends = "its wait ends" if count == 1 else "their waits end"
    within = f"at the next look, within {watch_s:g} s, unless ended for this move before"
    match explanation.judgement.decision:
        case "redirect":
            return f"{who}; {ends} {within}."
        case "would_redirect":
            return f"{who}; in enforce mode {ends} {within}."
        case "pass":
            return f"{who}, and {'goes' if count == 1 else 'go'} on waiting."


def _outcome(explanation: Explanation) -> str:
    judgement = explanation.judgement
    reason = judgement.verdict.reason
    what = "451 to" if judgement.discovery is None else "Settings of"
    match judgement.decision:
        case "redirect":
            return f"→ {what} {explanation.location} ({reason})"
        case "would_redirect":
            return f"→ observe mode: would be {what} {explanation.location} ({reason})"
        case "pass":
            told = {step.finding for step in explanation.steps}
            detail = judgement.verdict.detail
            return f"→ Exchange's own answer passes ({reason})" + (
                "." if detail in told else f": {detail}"
            )


def _added_again(judgement: Judgement) -> str:
    verdict = judgement.verdict
    match judgement.decision:
        case "redirect":
            return "Autodiscover tells the phone its new server"
        case "would_redirect":
            return "observe mode: Autodiscover would tell the phone its new server"
        case "pass":
            return f"Autodiscover's own answer passes ({verdict.reason}): {verdict.detail}"


def explanation_json(explanation: Explanation) -> dict[str, object]:
    """For machines, in the words of the journal."""
    judgement = explanation.judgement
    verdict, asked, recipient = judgement.verdict, judgement.asked, explanation.recipient
    return {
        "user": explanation.logon.text,
        "logon_format": explanation.logon.format,
        "mode": judgement.mode,
        "decision": judgement.decision,
        "reason": str(verdict.reason),
        "detail": verdict.detail,
        "assumed": ASSUMED if explanation.assumed else None,
        "advice": advice_of_named(verdict.reason),
        "location": explanation.location,
        "added_again": None
        if (again := explanation.added_again) is None
        else {"decision": again.decision, "reason": str(again.verdict.reason)},
        "waits": explanation.waits,
        "target_domain": verdict.target_domain,
        "relationship": verdict.relationship,
        "wave": verdict.wave,
        "directory": None
        if asked is None
        else {
            "source": asked.source,
            "server": asked.server,
            "duration_ms": asked.duration_ms,
            "asked": list(asked.steps),
        },
        "recipient": None if recipient is None else asdict(recipient),
        "remarks": [] if recipient is None else list(recipient_remarks(recipient)),
        "steps": [asdict(step) for step in explanation.steps],
        "error": None
        if judgement.error_type is None
        else {"type": judgement.error_type, "message": judgement.error_message},
    }

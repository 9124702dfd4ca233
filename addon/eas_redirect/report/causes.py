"""Why a device may be stuck: the likeliest cause, from what it did after its redirect. Pure."""

from dataclasses import dataclass

from eas_redirect.planning.readiness import Prospect, Readiness
from eas_redirect.telemetry.clients import version

FIRST_WITH_451 = "14.0"  # KB 2751417: devices below it were not expected to know 451

NTLM_REFUSALS = 2  # of each logon that succeeds: without a token, and with the first one


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How often a device, once redirected, was answered how when it came back."""

    comebacks: int
    redirected_again: int = 0
    refused_logon: int = 0  # 401, which is no comeback; NTLM alone has two for each
    served: int = 0  # Exchange answered as if the mailbox were here
    directory_down: int = 0
    last_reason: str | None = None
    protocol_version: str | None = None


def likely_cause(did: Behaviour, readiness: Readiness | None) -> str:
    """One sentence with what to do. A presumption, and worded as one."""
    if did.served * 2 > did.comebacks or did.last_reason == "recipient_has_mailbox":
        return "Exchange serves it here again: was the mailbox moved back?"
    if did.refused_logon > NTLM_REFUSALS * did.comebacks:
        return "Exchange refuses its password: an account left on the phone. Remove the account."
    if did.directory_down * 2 > did.comebacks:
        return "No directory could be asked when it came back. See the directory's faults first."
    if did.protocol_version and version(did.protocol_version) < version(FIRST_WITH_451):
        return (
            f"Speaks {did.protocol_version}, and apps below {FIRST_WITH_451} may not know the"
            " redirect. Set the account up anew."
        )
    if readiness is not None and readiness.verdict is Prospect.REFUSED:
        return f"The target refuses it. {readiness.rule}"
    if readiness is not None and readiness.verdict is Prospect.ASKED:
        return "The target wants a sign-in that nobody has done yet. Ask the user to sign in."
    return "The app seems to ignore the redirect. Set the account up anew."

"""One user as a line of `check`; `explain` has the steps."""

from eas_redirect.checking.values import Check, failed, good, unreachable
from eas_redirect.judging.explain import Explanation
from eas_redirect.policy.reasons import in_order


def check_user(name: str, explanation: Explanation | None) -> Check:
    """`explanation` is None for what is no logon at all."""
    subject = f"user {name}"
    if explanation is None:
        advice = "Write a UPN, DOMAIN\\user, an address or an account name."
        return failed(subject, "this is no logon", advice)
    verdict = explanation.judgement.verdict
    if explanation.location is not None:
        return good(subject, f"{verdict.reason}: to {explanation.location}")
    finding = f"{verdict.reason}: {verdict.detail}"
    if explanation.judgement.out_of_reach:
        return unreachable(subject, finding)
    if in_order(verdict.reason):
        return good(subject, finding)
    return failed(subject, finding, f'eas-redirect explain "{name}" shows each step.')

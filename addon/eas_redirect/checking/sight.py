"""What the directory can vouch for, a line for each thing that it cannot."""

from collections.abc import Iterator

from eas_redirect.checking.values import Check, failed, good, warning
from eas_redirect.directory.names import dns_name
from eas_redirect.directory.sight import Sight


def check_sight(sight: Sight | None) -> Iterator[Check]:
    """None: it could not be asked, which has lines of its own."""
    if sight is None:
        return
    for remark in sight.remarks():
        judge = failed if remark.blind else warning
        advice = f"{remark.advice[:1].upper()}{remark.advice[1:]}."
        yield judge(f"directory: {remark.kind.replace('_', ' ')}", remark.finding, advice)
    seen = [dns_name(domain.nc_name) for domain in sight.domains if domain.mailboxes]
    if seen:
        yield good("directory: mailboxes", f"can be seen in {', '.join(seen)}")

"""The hosts of Exchange Online, cloud by cloud: the only list of them. Pure.

To add a cloud, or a host of one, edit this file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """One cloud of Exchange Online. `owa_hosts`: names of Outlook on the web in a TargetOwaURL,
    including the EAS host. `domains`: parent domains of its hosts and of its tenants' own domain
    names."""

    eas_host: str
    owa_hosts: tuple[str, ...]
    domains: tuple[str, ...]


CLOUDS: list[Cloud] = [
    Cloud(
        eas_host="outlook.office365.com",
        owa_hosts=(
            "outlook.com",
            "www.outlook.com",
            "outlook.office.com",
            "outlook.office365.com",
            "outlook.cloud.microsoft",
        ),
        domains=(
            "outlook.com",
            "office.com",
            "office365.com",
            "cloud.microsoft",
            "onmicrosoft.com",
        ),
    ),
    Cloud(
        eas_host="partner.outlook.cn",
        owa_hosts=("partner.outlook.cn",),
        domains=("outlook.cn", "onmschina.cn"),
    ),
    # Two clouds share these domains: only the name of Outlook on the web tells which.
    Cloud(
        eas_host="outlook.office365.us",
        owa_hosts=("outlook.office365.us",),
        domains=("office365.us", "onmicrosoft.us"),
    ),
    Cloud(
        eas_host="outlook-dod.office365.us",
        owa_hosts=("outlook-dod.office365.us",),
        domains=(),
    ),
]


def host_map() -> Mapping[str, str]:
    """Names of Outlook on the web → the host that speaks ActiveSync there (`redirect.hosts`)."""
    return MappingProxyType({owa: cloud.eas_host for cloud in CLOUDS for owa in cloud.owa_hosts})


# `redirect.hosts` adds to these and overrides them.
DEFAULT_HOST_MAP: Mapping[str, str] = host_map()


def is_eas_host(host: str | None) -> bool:
    """Whether a phone sent to this host arrives at Exchange Online."""
    return host is not None and host.lower() in {cloud.eas_host for cloud in CLOUDS}


def is_public_host(host: str) -> bool:
    """Whether all tenants share this name."""
    return host.lower() in host_map()


def cloud_of(name: str) -> Cloud | None:
    """The one cloud that a host or a domain belongs to, if any. `name` in lower case."""
    for cloud in CLOUDS:
        if name in cloud.owa_hosts:
            return cloud
    for cloud in CLOUDS:
        if any(name == domain or name.endswith(f".{domain}") for domain in cloud.domains):
            return cloud
    return None

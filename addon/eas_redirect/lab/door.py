"""A door for real phones: an interface of this machine that leads into the transparent lab.

The interface moves into the gateway's namespace, so that the machine's own network has it no more;
dnsmasq gives addresses and answers names with the lab's. A physical interface comes back by itself
when the namespace ends, however the lab ends (it is the kernel that gives it back).
"""

import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from eas_redirect.lab.namespaces import Namespace, NamespaceError, run_here

GATE = "10.45.1.1"
FIRST, LAST = "10.45.1.10", "10.45.1.250"


def open_door(stack: ExitStack, gate: Namespace, interface: str) -> None:
    """Move the interface into the gateway and give it its address; undone with `stack`."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    stack.callback(os.close, home)
    run_here("ip", "link", "set", interface, "netns", gate.path)
    stack.callback(_give_back, gate, interface, f"/proc/{os.getpid()}/fd/{home}")
    gate.run("ip", "address", "add", f"{GATE}/24", "dev", interface)
    gate.run("ip", "link", "set", interface, "up")


def _give_back(gate: Namespace, interface: str, home: str) -> None:
    with suppress(NamespaceError):  # It was pulled out meanwhile.
        gate.run("ip", "link", "set", interface, "netns", home)


def names_and_addresses(interface: str, names: Mapping[str, str], work: Path) -> tuple[str, ...]:
    """The dnsmasq command that tells phones of `interface` their address and these names."""
    options = {
        "conf-file": "/dev/null",
        "interface": interface,
        "dhcp-range": f"{FIRST},{LAST},255.255.255.0,1h",
        "dhcp-option": f"option:router,{GATE}",
        "dhcp-leasefile": str(work.resolve() / "dnsmasq.leases"),
        "log-facility": "-",
        "pid-file": "",
        "user": "root",  # it reads and writes the work directory, which is the lab's own
    }
    flags = ("keep-in-foreground", "no-resolv", "no-hosts", "bind-interfaces")
    return (
        "dnsmasq",
        *(f"--{flag}" for flag in flags),
        *(f"--{name}={value}" if value else f"--{name}" for name, value in options.items()),
        *(f"--address=/{name}/{address}" for name, address in names.items()),
    )

"""Which sysctls a pod may set: those of its own namespaces that disturb nobody else. Pure.

What is safe is a kubelet's list (Kubernetes documentation, "Using sysctls in a Kubernetes Cluster"); whoever runs the
gateway may allow others, by their names or by what these begin with. A pod that asks for more is refused before
anything of it begins, with a kubelet's words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edgecore.pods.admitting import refused
from edgecore.pods.status import Ending
from skerry.objects.json import JsonObject, bool_at, map_at, maps_at, str_at

FORBIDDEN: Final = "SysctlForbidden"
SAFE: Final = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
)
_SHARED: Final = (
    ("net.", "hostNetwork", "net"),
    ("kernel.shm", "hostIPC", "ipc"),
    ("kernel.msg", "hostIPC", "ipc"),
    ("kernel.sem", "hostIPC", "ipc"),
    ("fs.mqueue.", "hostIPC", "ipc"),
)
"""How names begin that belong to a namespace; the field by which a pod shares the gateway's; how that is called."""


def sysctl_refusal(pod: JsonObject, allowed: Sequence[str]) -> Ending | None:
    """Why the pod may not run here; None where it may. `allowed`: names beside the safe ones; one that ends in `*`
    stands for all that begin so."""
    for each in maps_at(pod, "spec", "securityContext", "sysctls"):
        name = str_at(each, "name").replace("/", ".")
        fault = _fault(name, map_at(pod, "spec"), allowed)
        if fault:
            return refused(FORBIDDEN, f'forbidden sysctl: "{name}" {fault}')
    return None


def _fault(name: str, spec: JsonObject, allowed: Sequence[str]) -> str:
    for begin, field, called in _SHARED:
        if name.startswith(begin) and bool_at(spec, field):
            return f"not allowed with host {called} enabled"
    return "" if name in SAFE or any(_covers(each, name) for each in allowed) else "not allowlisted"


def _covers(pattern: str, name: str) -> bool:
    pattern = pattern.replace("/", ".")
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern

"""The files by which pods find names: the gateway's resolv.conf, read, and a pod's /etc/hosts, written.

A pod's file is below its directory and goes with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgecore.pods.names import hosts_text, hosts_text_of_gateway, parse_resolv
from edgecore.pods.port import DnsConfig, Mount
from skerry.objects.json import JsonObject, bool_at, maps_at, str_at

HOSTS: Final = "/etc/hosts"
_STUB: Final = "127.0.0.53"
"""systemd-resolved's, which only the gateway itself reaches; whom it asks is in a file of its own."""
_BEHIND_THE_STUB: Final = "run/systemd/resolve/resolv.conf"


def gateway_resolver(root: Path) -> DnsConfig:
    """What the gateway's pods may ask."""
    found = _read(root / "etc/resolv.conf")
    if _STUB in found.servers:
        behind = _read(root / _BEHIND_THE_STUB)
        return behind if behind.servers else found
    return found


def _read(file: Path) -> DnsConfig:
    try:
        return parse_resolv(file.read_text(errors="replace"))
    except OSError:
        return DnsConfig()


def hosts_mount(
    pod: JsonObject, container: JsonObject, directory: Path, *, addresses: tuple[str, ...], domain: str, root: Path
) -> tuple[Mount, ...]:
    """Writes the pod's file and gives its mount; none where the container has its own there. `addresses` are the
    pod's; without any it has the gateway's network. Raises `OSError`."""
    if any(str_at(each, "mountPath").rstrip("/") == HOSTS for each in maps_at(container, "volumeMounts")):
        return ()
    if addresses and not bool_at(pod, "spec", "hostNetwork"):
        text = hosts_text(pod, addresses, domain=domain)
    else:
        text = hosts_text_of_gateway(pod, (root / "etc/hosts").read_text(errors="replace"))
    directory.mkdir(exist_ok=True)
    file = directory / "etc-hosts"
    if not file.exists() or file.read_text() != text:
        file.write_text(text)  # the same file: containers that run see it, too
        file.chmod(0o644)
    return (Mount(host_path=file, container_path=HOSTS, read_only=False),)

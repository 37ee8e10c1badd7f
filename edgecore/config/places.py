"""Addresses and networks by the settings: where the agent is asked, by whom, and what it does for pods' network."""

from __future__ import annotations

from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from edgecore.config.agent import EdgeSettings
from edgecore.network.ingress.settings import IngressSettings
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.names import subdomain_faults

DMI_SOCKET: Final = Path("/etc/kubeedge/dmi.sock")
"""KubeEdge's own."""


class Address(Frozen):
    """Where something listens."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        return ip_address(self.host).is_loopback


def local_api_of(settings: EdgeSettings, *, pods_apart: bool) -> list[Address]:
    """Where the local API is served over TCP. `pods_apart`: pods have a network of their own. Raises
    `InvalidError`."""
    if settings.local_api == "off":
        return []
    if settings.local_api != "auto":
        return [address_of(settings.local_api, "--local-api", "127.0.0.1:10550, auto or off")]
    texts = ("127.0.0.1:10550", *(("169.254.20.11:10550",) if pods_apart else ()))
    return [address_of(each, "--local-api") for each in texts]


def address_of(text: str, flag: str = "--mqtt-listen", example: str = "127.0.0.1:1883") -> Address:
    host, sign, port = text.rpartition(":")
    try:
        if not sign:
            raise ValueError
        made = Address(host=str(ip_address(host.strip("[]"))), port=int(port))
    except ValueError:
        raise InvalidError(f"{flag} {text!r}: write ADDRESS:PORT, e.g. {example}") from None
    if not 0 < made.port < 1 << 16:
        raise InvalidError(f"{flag} {text!r}: a port is 1 to 65535")
    return made


def dmi_socket_of(settings: EdgeSettings) -> Path | None:
    """Where mappers are served; None: nowhere. Raises `InvalidError`."""
    if settings.dmi_socket == "none":
        return None
    installed = find_spec("grpclib") is not None
    if settings.dmi_socket == "auto":
        return DMI_SOCKET if installed and DMI_SOCKET.parent.is_dir() else None
    if not settings.dmi_socket.startswith("/"):
        raise InvalidError(f"--dmi-socket {settings.dmi_socket!r}: write auto, none or an absolute path")
    if not installed:
        raise InvalidError("--dmi-socket needs grpclib, which is not installed: pip install 'skerry[dmi]'")
    return Path(settings.dmi_socket)


def service_bus_port_of(settings: EdgeSettings) -> int | None:
    """None: off. Raises `InvalidError`."""
    text = settings.service_bus_port
    if text == "off":
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65535):
        raise InvalidError(f"--service-bus-port {text!r}: write a port number from 1 to 65535, or off")
    return int(text)


def cluster_dns_of(settings: EdgeSettings) -> tuple[str, int, str] | None:
    """Address, port and domain; None: off. Raises `InvalidError`."""
    text = settings.cluster_dns
    if text == "none":
        return None
    domain = settings.cluster_domain.lower().strip(".")
    if subdomain_faults(domain):
        raise InvalidError(f"--cluster-domain {settings.cluster_domain!r}: write a domain, as cluster.local")
    host, _, port = text.rpartition(":") if text.count(":") == 1 or text.startswith("[") else (text, "", "")
    port = port or "53"
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        address = None
    if address is None or address.is_unspecified or not (port.isascii() and port.isdecimal() and int(port) <= 65535):
        why = "write one of the gateway's own addresses, as 127.0.0.1:5353, or 169.254.20.10, or none"
        raise InvalidError(f"--cluster-dns {text!r}: {why}")
    return str(address), int(port), domain


def pod_network_of(settings: EdgeSettings) -> tuple[str, ...] | None:
    """Ranges of pods' addresses, () for those that the Node has; None: pods are connected by others. Raises
    `InvalidError`."""
    text = settings.pod_network
    if text in ("auto", "none"):
        return () if text == "auto" else None
    from edgecore.network.cni import pod_ranges  # only who names ranges pays

    try:
        return pod_ranges(text.split(","))
    except InvalidError as error:
        raise InvalidError(f"--pod-network {text!r}: write auto, none or ranges as 10.88.0.0/24; {error}") from None


def ingress_of(settings: EdgeSettings) -> IngressSettings | None:
    """Where Ingresses are served; None: nowhere. Raises `InvalidError`."""
    if settings.ingress == "none":
        return None
    if settings.ingress_http_port == settings.ingress_https_port:
        raise InvalidError("--ingress-https-port: is that of --ingress-http-port, and each needs its own")
    try:
        address = str(ip_address(settings.ingress_address.strip("[]"))) if settings.ingress_address else ""
    except ValueError:
        raise InvalidError(
            f"--ingress-address {settings.ingress_address!r}: write an address of this machine, or none"
        ) from None
    return IngressSettings(
        http_port=settings.ingress_http_port, https_port=settings.ingress_https_port, address=address
    )


def node_ip_of(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The addresses, in their usual form. Raises `InvalidError`."""
    try:
        found = [ip_address(each) for each in texts]
    except ValueError:
        found = []
    if not found or len({each.version for each in found}) < len(found):
        said = ",".join(texts)
        raise InvalidError(f"--node-ip {said}: write an IPv4 or IPv6 address, one of each, or none to find it")
    return tuple(map(str, found))


def check_transport(transport: str) -> None:
    """What can never work is not tried at every dial. Raises `InvalidError`."""
    if transport == "quic" and find_spec("aioquic") is None:
        raise InvalidError("--transport quic needs aioquic, which is not installed: pip install 'skerry[quic]'")

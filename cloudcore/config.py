"""What `cloudcore` can be told: read once at start (see `skerry.settings`)."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from cloudcore.controllers.noderange.plan import ClusterRange, cluster_ranges
from skerry.errors import BadRequestError, InvalidError
from skerry.objects.enrolment import split_address
from skerry.settings import Settings, setting

_DNS_NAME = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")


class CloudSettings(Settings):
    """Settings of the whole process."""

    data: Path = setting(help="directory for everything that is kept: store, keys, admin.kubeconfig")
    https_port: int = setting(6443, help="TCP port of the API, Kubernetes' own; 0 means any", low=0, high=65535)
    hub_port: int = setting(10443, help="TCP port that gateways dial; 0 means any", low=0, high=65535)
    quic_port: str = setting(
        "same",
        help="UDP port on which gateways dial over QUIC: same as the hub's number, a number (0 means any), or off",
    )
    router_port: str = setting(
        "off",
        help="TCP port on which applications' requests are carried to gateways by rules: a number (9443 in KubeEdge; "
        "0 means any), or off",
    )
    router_access: str = setting(
        "tls",
        help="who may ask there: tls, whoever shows a token or a certificate and has the right; open, anybody, over "
        "plain HTTP as in KubeEdge, for trusted networks alone",
        choices=("tls", "open"),
    )
    bind: str = setting("0.0.0.0", help="address to listen on, for all ports; :: for IPv6 and IPv4")
    names: tuple[str, ...] = setting(
        (), help="more DNS names and addresses for the server certificate, comma-separated or repeated"
    )
    database: str = setting(
        "",
        help="postgresql://... (libpq's form): where the store is kept; none: SQLite in DIR/cloud.db",
    )
    cluster_key: str = setting(
        "",
        help="file with the key that seals the CA's keys in the --database (openssl rand -base64 32)",
    )
    advertise: str = setting(
        "",
        help="HOST:PORT where other cloudcores on the same --database reach this one's API; none: this machine's "
        "address, or --bind",
    )
    service_cidr: tuple[str, ...] = setting(
        ("10.96.0.0/16",),
        help="range that Services get their addresses from, of IPv4; with a second one of IPv6 "
        "(10.96.0.0/16,fd00:10:96::/112) Services may have both (ipFamilyPolicy)",
    )
    cluster_cidr: tuple[str, ...] = setting(
        (),
        help="range that pods' addresses are from, a part of it for each node (10.244.0.0/16): gateways without a "
        "CNI configuration then set up their pods' network themselves; one of IPv4, of IPv6, or both; none: no parts",
    )
    node_cidr_mask_size: tuple[str, ...] = setting(
        (), help="length of the prefix of a node's part, for each --cluster-cidr; none: 24 of IPv4, 64 of IPv6"
    )
    history_s: int = setting(
        300, help="seconds of change history kept for watches; a slower client lists again", low=10
    )
    record_days: int = setting(30, help="days that device history is kept", low=1)
    records_per_series: int = setting(100_000, help="newest readings kept per device property", low=1)
    heartbeat_s: float = setting(
        30.0, help="seconds between a quiet gateway's heartbeats; two without one end the session", low=1, high=3600
    )
    node_grace_s: float = setting(
        40.0,
        help="seconds without a word from a gateway until its node's Ready is Unknown (not before its session ends)",
        low=0,
        high=86_400,
    )
    log_level: str = setting("info", help="what is logged", choices=("debug", "info", "warning", "error"))


def quic_port_of(text: str, *, hub_port: int) -> int | None:
    """The UDP port that a setting means; None for off. Raises `InvalidError`."""
    if text == "off":
        return None
    if text == "same":
        return hub_port
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        raise InvalidError(f"--quic-port: {text!r} is neither same nor off nor a port number from 0 to 65535")
    return int(text)


def router_port_of(text: str) -> int | None:
    """The port that a setting means; None for off. Raises `InvalidError`."""
    if text == "off":
        return None
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        raise InvalidError(f"--router-port: {text!r} is neither off nor a port number from 0 to 65535")
    return int(text)


def cluster_ranges_of(settings: CloudSettings) -> tuple[ClusterRange, ...]:
    """What nodes get parts of. Raises `InvalidError`."""
    masks = settings.node_cidr_mask_size
    if not all(each.isascii() and each.isdecimal() for each in masks):
        raise InvalidError(f"--node-cidr-mask-size {','.join(masks)}: write a number, as 24")
    return cluster_ranges(settings.cluster_cidr, [int(each) for each in masks])


def check_settings(settings: CloudSettings) -> None:
    """What no single field can say. Raises `InvalidError`."""
    try:
        ipaddress.ip_address(settings.bind)
    except ValueError:
        raise InvalidError(f"--bind: {settings.bind!r} is not an IP address") from None
    try:
        network = ipaddress.IPv4Network(settings.service_cidr[0] if settings.service_cidr else "")
        second = [ipaddress.IPv6Network(each) for each in settings.service_cidr[1:]]
    except ValueError as error:
        raise InvalidError(f"--service-cidr: {error}") from None
    if not 8 <= network.prefixlen <= 28:
        raise InvalidError(f"--service-cidr: {network} must be between a /8 and a /28")
    if len(second) > 1 or any(not 64 <= each.prefixlen <= 124 for each in second):
        raise InvalidError("--service-cidr: the second range is one of IPv6, between a /64 and a /124")
    for each in cluster_ranges_of(settings):
        for services in (network, *second):
            if each.network.version == services.version and each.network.overlaps(services):
                raise InvalidError(f"--cluster-cidr {each.network}: overlaps --service-cidr {services}")
    if settings.database and not settings.database.startswith(("postgresql://", "postgres://")):
        raise InvalidError("--database: must begin with postgresql:// (SQLite is in --data, and needs no name)")
    if settings.cluster_key and not settings.database:
        raise InvalidError("--cluster-key: seals keys in a database, and needs a --database")
    if settings.advertise:
        _check_advertised(settings)
    for name in settings.names:
        if not _is_name(name):
            raise InvalidError(f"--names: {name!r} is neither a DNS name nor an IP address")
    quic_port_of(settings.quic_port, hub_port=settings.hub_port)
    router_port_of(settings.router_port)
    if settings.https_port and settings.https_port == settings.hub_port:
        raise InvalidError(f"--https-port and --hub-port must differ (both are {settings.hub_port})")


def _check_advertised(settings: CloudSettings) -> None:
    if not settings.database:
        raise InvalidError("--advertise: tells other cloudcores on a database, and needs a --database")
    try:
        host, port = split_address(settings.advertise, default_port=0)
    except BadRequestError as error:
        raise InvalidError(f"--advertise: {error}") from None
    if not port or not _is_name(host):
        raise InvalidError(f"--advertise: {settings.advertise!r} is not HOST:PORT")


def reachable_at(bind: str) -> str:
    """The address by which a client on this machine reaches what listens on `bind`."""
    address = ipaddress.ip_address(bind)
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "::1"
    return str(address)


def _is_name(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return len(name) <= 253 and _DNS_NAME.fullmatch(name) is not None
    return True

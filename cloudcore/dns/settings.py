"""What `cloudcore dns` can be told, read once at start (see `skerry.settings`)."""

from __future__ import annotations

import binascii
import hashlib
import ipaddress
import re
import socket
from pathlib import Path
from typing import Final

from cloudcore.dns.access import Peer, peer_of, read_networks
from cloudcore.dns.cookies import KEY_SIZE
from cloudcore.dns.exchange import ECHOES_MAX
from cloudcore.dns.limiter import LimiterSettings
from cloudcore.dns.streams import StreamSettings
from skerry.dns.names import name_of
from skerry.errors import InvalidError, UnavailableError
from skerry.settings import Settings, setting

KEYS_MAX: Final = 8
_OWNER: Final = re.compile(r"[A-Za-z0-9.-]{1,63}")
SECONDARIES_MAX: Final = 10_000


class DnsSettings(Settings):
    """Settings of the DNS server's processes."""

    zones: str = setting(
        "", help="directory of zone files, ORIGIN.zone each, as BIND, Knot and NSD read them; none: see --cloud"
    )
    cloud: str = setting("", help="kubeconfig of a cloud whose DnsZones are answered for, beside those of --zones")
    state: Path = setting(
        Path("/var/lib/skerry/dns"),
        help="directory for what is kept: zones of the cloud, drains, and who was up last",
    )
    observers: tuple[str, ...] = setting(
        (),
        help="other servers that try the same endpoints and say who is up: ADDRESS@PORT, comma-separated or repeated",
    )
    observe_port: int = setting(0, help="UDP port on which they are heard, on the first address", low=0, high=65535)
    observers_key: str = setting("", help="file with the key that observers share, of 32 hex digits or more")
    listen: tuple[str, ...] = setting(
        ("0.0.0.0",), help="addresses to answer on, comma-separated or repeated; :: for IPv6 and IPv4"
    )
    port: int = setting(53, help="UDP and TCP port; 0 means any", low=0, high=65535)
    workers: int = setting(0, help="processes that answer over UDP; 0: one for each core", low=0, high=256)
    control: Path = setting(
        Path("/run/skerry-dns.sock"), help="unix socket by which `skerry dns` asks this server (mode 0600)"
    )
    tls_port: int = setting(853, help="TCP port for DNS over TLS, where there is a certificate", low=0, high=65535)
    tls_certificate: str = setting("", help="PEM file with the certificate for DNS over TLS and its chain")
    tls_key: str = setting("", help="PEM file with its private key")
    nsid: str = setting("", help="this server's name among several, for NSID and id.server")
    version: str = setting("", help="what version.bind is answered with; none: refused")
    cookie_keys: str = setting(
        "",
        help="file with keys for DNS cookies, 32 hex digits a line, shared by servers of one name: the first makes "
        "cookies, all are taken; none: a key of this process's own",
    )
    geo: str = setting(
        "",
        help="database in MaxMind's format (.mmdb), by which clients are placed that no network of `places` has",
    )
    dnssec_keys: str = setting(
        "", help="directory of keys that zones are signed with, as `skerry dns keys` makes them; none: not signed"
    )
    signatures_rate: int = setting(
        500,
        help="signatures a second and process for names that are not in signed zones, and as many for clients over "
        "TCP or with a cookie; beyond it they are sent to TCP, or told SERVFAIL; 0: no limit",
        low=0,
        high=1_000_000,
    )
    transfer_keys: str = setting(
        "",
        help="file with keys of servers that may have whole zones (TSIG): NAME ALGORITHM SECRET a line; the first "
        "signs what is sent to --notify",
    )
    allow_transfer: tuple[str, ...] = setting(
        (), help="networks that may have whole zones without a key, comma-separated or repeated"
    )
    notify: tuple[str, ...] = setting(
        (), help="servers that are told of changed zones: ADDRESS or ADDRESS@PORT, comma-separated or repeated"
    )
    secondary: tuple[str, ...] = setting(
        (),
        help="zones of other servers, fetched and kept below --state: ZONE=ADDRESS or ZONE=ADDRESS@PORT, "
        "comma-separated or repeated; the first of --transfer-keys signs what is asked",
    )
    export: tuple[str, ...] = setting(
        (),
        help="zones that other servers are kept in step with by DNS UPDATE: ZONE=ADDRESS or ZONE=ADDRESS@PORT, "
        "comma-separated or repeated; the first of --transfer-keys signs; names that others have there stay theirs",
    )
    export_owner: str = setting("skerry", help="whose exported names are, in marks as external-dns writes them")
    amplified_rate: int = setting(
        LimiterSettings().rate,
        help="answers a second and network (/24, /56) of more than --amplified-factor times their query, to clients "
        "without a cookie over UDP; beyond it they are sent to TCP; 0: none",
        low=0,
        high=1_000_000,
    )
    amplified_factor: float = setting(
        LimiterSettings().factor, help="see --amplified-rate; 0: every answer is counted", low=0, high=100
    )
    tcp_connections: int = setting(StreamSettings().connections, help="open connections, TCP and TLS", low=1)
    tcp_connections_per_client: int = setting(
        StreamSettings().connections_per_client, help="open connections of one address", low=1
    )
    tcp_idle_s: float = setting(
        StreamSettings().idle_s, help="seconds that a connection may be silent", low=0.1, high=600
    )
    log_level: str = setting("info", help="what is logged", choices=("debug", "info", "warning", "error"))


def check_dns_settings(settings: DnsSettings) -> None:
    """What no single field can say. Raises `InvalidError`."""
    if not settings.zones and not settings.cloud and not settings.secondary:
        raise InvalidError("--zones, --cloud, --secondary: one of them is wanted, or several")
    if len(settings.secondary) > SECONDARIES_MAX:
        raise InvalidError(f"--secondary: at most {SECONDARIES_MAX} zones")
    for text in settings.secondary:
        secondary_of(text)
    for text in settings.export:
        export_of(text)
    if settings.export and not settings.transfer_keys:
        raise InvalidError("--export: is signed with the first of --transfer-keys, which is wanted as well")
    if not _OWNER.fullmatch(settings.export_owner):
        raise InvalidError("--export-owner: letters, digits, hyphens and dots are wanted, 63 at most")
    if not settings.listen:
        raise InvalidError("--listen: an address is wanted")
    for address in settings.listen:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise InvalidError(f"--listen: {address!r} is not an IP address") from None
    if len(set(settings.listen)) < len(settings.listen):
        raise InvalidError("--listen: an address is named twice")
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise InvalidError("--tls-certificate and --tls-key: both or neither")
    if len({bool(settings.observers), bool(settings.observe_port), bool(settings.observers_key)}) > 1:
        raise InvalidError("--observers, --observe-port and --observers-key: all or none")
    if len(settings.observers) > ECHOES_MAX:
        raise InvalidError(f"--observers: at most {ECHOES_MAX} others")
    for peer in settings.observers:
        peer_of(peer, flag="--observers")
    read_networks(settings.allow_transfer)
    for peer in settings.notify:
        peer_of(peer)
    if len(settings.nsid.encode()) > 255 or len(settings.version.encode()) > 255:
        raise InvalidError("--nsid and --version: at most 255 bytes")


def export_of(text: str) -> tuple[bytes, Peer]:
    """A zone and whom it is told. Raises `InvalidError`."""
    return secondary_of(text, flag="--export")


def exporter_name(settings: DnsSettings) -> str:
    """Tells apart the exporters of one owner, also two of one machine."""
    said = re.sub(r"[^A-Za-z0-9._-]", "-", settings.nsid)[:63]
    place = f"{socket.gethostname()} {settings.state.absolute()}"
    return said or f"{socket.gethostname()[:50]}-{hashlib.blake2b(place.encode(), digest_size=4).hexdigest()}"


def secondary_of(text: str, flag: str = "--secondary") -> tuple[bytes, Peer]:
    """A zone and who has it. Raises `InvalidError`."""
    zone, sign, primary = text.partition("=")
    if not sign or "/" in zone or not zone.strip("."):
        raise InvalidError(f"{flag}: {text!r} is not ZONE=ADDRESS or ZONE=ADDRESS@PORT")
    return name_of(zone).lower(), peer_of(primary, flag=flag)


def read_observers_key(path: Path) -> bytes:
    """Raises `InvalidError`, `UnavailableError`."""
    try:
        key = binascii.unhexlify(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise UnavailableError(f"--observers-key {path}: {error.strerror}") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise InvalidError(f"--observers-key {path}: is no line of hex digits") from error
    if len(key) < KEY_SIZE:
        raise InvalidError(f"--observers-key {path}: has {len(key)} bytes, and {KEY_SIZE} or more are wanted")
    return key


def read_cookie_keys(path: Path) -> list[bytes]:
    """Raises `InvalidError`, `UnavailableError`."""
    try:
        lines = path.read_text(encoding="ascii").split()
    except OSError as error:
        raise UnavailableError(f"--cookie-keys {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidError(f"--cookie-keys {path}: is no text of hex digits") from error
    keys: list[bytes] = []
    for number, line in enumerate(lines, 1):
        try:
            key = binascii.unhexlify(line)
        except ValueError as error:
            raise InvalidError(f"--cookie-keys {path}: key {number} is not of hex digits") from error
        if len(key) != KEY_SIZE:
            raise InvalidError(f"--cookie-keys {path}: key {number} has {len(key)} bytes, not {KEY_SIZE}")
        keys.append(key)
    if not 1 <= len(keys) <= KEYS_MAX:
        raise InvalidError(f"--cookie-keys {path}: from 1 to {KEYS_MAX} keys are wanted, and there are {len(keys)}")
    return keys

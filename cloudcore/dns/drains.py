"""What nobody is led to for a while, as somebody at this server said: kept in `drains` below the state directory.

The file is replaced as a whole, before what it says holds. A drain ends by itself at its time.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from cloudcore.dns.table import Place
from cloudcore.dns.zone import Zone
from skerry.dns.names import name_of, text_of
from skerry.errors import BadRequestError, InvalidError
from skerry.files import write_private
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, decode_object, encode_object, float_at, maps_at, str_at

FILE: Final = "drains"
DRAINS_MAX: Final = 1000
SECONDS_MAX: Final = 366 * 86_400.0


class Drain(Frozen):
    target: str
    """An IP address, or a region."""
    service: str = ""
    """A name of a service, absolute; "": of all."""
    until_s: float = 0.0
    """0: until somebody ends it."""
    reason: str = ""

    def holds(self, now_s: float) -> bool:
        return not self.until_s or self.until_s > now_s

    def row(self) -> JsonObject:
        return {"target": self.target, "service": self.service, "until": self.until_s, "reason": self.reason}


def drain_of(target: str, service: str, seconds: float, reason: str, now_s: float) -> Drain:
    """Raises `InvalidError`."""
    if not target or len(target) > 253:
        raise InvalidError("an address or a region is wanted")
    with suppress(ValueError):  # a region
        target = str(ipaddress.ip_address(target))
    named = text_of(name_of(service).lower()) if service else ""
    if not 0 <= seconds <= SECONDS_MAX:
        raise InvalidError("--for: up to a year")
    return Drain(target=target, service=named, until_s=now_s + seconds if seconds else 0.0, reason=reason[:500])


def drained_places(drains: Iterable[Drain], zones: Mapping[bytes, Zone], now_s: float) -> set[Place]:
    held = [each for each in drains if each.holds(now_s)]
    found: set[Place] = set()
    if not held:
        return found
    for zone in zones.values():
        for service in zone.services.values():
            name = text_of(service.name)
            mine = {each.target for each in held if each.service in ("", name)}
            found.update(
                (service.name, each.address)
                for each in service.endpoints
                if mine and (each.region in mine or str(ipaddress.ip_address(each.address)) in mine)
            )
    return found


def read_drains(state: Path) -> tuple[Drain, ...]:
    """Those that can be read; none where there is no file."""
    try:
        told = decode_object((state / FILE).read_bytes())
    except (OSError, BadRequestError, ValueError):
        return ()
    return tuple(
        Drain(
            target=str_at(each, "target"),
            service=str_at(each, "service"),
            until_s=float_at(each, "until"),
            reason=str_at(each, "reason"),
        )
        for each in maps_at(told, "drains")
    )


def write_drains(state: Path, drains: Sequence[Drain]) -> None:
    """Raises `UnavailableError`, `InvalidError`."""
    if len(drains) > DRAINS_MAX:
        raise InvalidError(f"there are {DRAINS_MAX} drains already")
    write_private(state / FILE, encode_object({"drains": [each.row() for each in drains]}))

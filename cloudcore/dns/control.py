"""What the running server tells of itself over its unix socket: a line of JSON in, a line of JSON out.

    {"do": "zones"}                     {"ok": {"zones": [...]}}
    {"do": "nonsense"}                  {"error": "..."}

`skerry dns` asks here. Keeps nothing.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cloudcore.dns.drains import Drain, drain_of, drained_places
from cloudcore.dns.explain import explain, known_good
from cloudcore.dns.geography import GeoDatabase
from cloudcore.dns.table import HealthTable
from cloudcore.dns.zone import Zone, warnings
from cloudcore.dns.zonefile import rdata_text, type_of, type_text, write_zone
from skerry.dns.names import canonical, name_of, text_of
from skerry.errors import InvalidError, NotFoundError, SkerryError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, str_at

LINE_MAX: Final = 64 << 10
ASK_S_MAX: Final = 2.0
RECORDS_MAX: Final = 100_000


class Control(Frozen):
    """What the supervisor lends."""

    zones: Callable[[], Mapping[bytes, Zone]]
    problems: Callable[[], tuple[str, ...]]
    counts: Callable[[], dict[str, int]]
    reload: Callable[[], tuple[str, ...]]
    processes: int
    up_s: float
    table: HealthTable
    drains: tuple[Drain, ...]
    set_drains: Callable[[Sequence[Drain]], None]
    geo: GeoDatabase | None = None


def answer_line(asked: socket.socket, control: Control) -> None:
    """One question of one client, who is on this machine and may read the socket; one that is slow gets nothing."""
    asked.settimeout(ASK_S_MAX)
    line = b""
    try:
        while not line.endswith(b"\n") and len(line) < LINE_MAX:
            piece = asked.recv(4096)
            if not piece:
                break
            line += piece
        asked.settimeout(10 * ASK_S_MAX)
        asked.sendall(json.dumps(_answered(line, control)).encode() + b"\n")
        # Processes that a reload has just forked hold the connection as well.
        asked.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # who asked has gone


def _answered(line: bytes, control: Control) -> JsonObject:
    try:
        question: Json = json.loads(line)
        if not isinstance(question, dict):
            raise InvalidError("a JSON object is wanted")
        return {"ok": _result(question, control)}
    except SkerryError as error:
        return {"error": str(error)}
    except (ValueError, RecursionError) as error:
        return {"error": f"not JSON: {error}"}


def _result(question: JsonObject, control: Control) -> Json:
    match str_at(question, "do"):
        case "zones":
            return {
                "zones": [_zone_row(zone) for _, zone in _sorted(control.zones())],
                "problems": list(control.problems()),
            }
        case "records":
            return {"records": _records(question, control.zones())}
        case "dump":
            return {"text": write_zone(_zone(str_at(question, "zone"), control.zones()))}
        case "check":
            found: list[Json] = [
                f"{text_of(zone.origin)}: {line}" for _, zone in _sorted(control.zones()) for line in warnings(zone)
            ]
            return {"problems": [*control.problems(), *found]}
        case "explain":
            name, kind = name_of(str_at(question, "name")).lower(), type_of(str_at(question, "type") or "A")
            client, now_s = _client(str_at(question, "from")), int(time.monotonic())
            return explain(control.zones(), name, kind, client, control.table, control.geo, now_s)
        case "health":
            return {"endpoints": _endpoints(control), "drains": [each.row() for each in control.drains]}
        case "drain":
            return _drain(question, control)
        case "undrain":
            return _undrain(question, control)
        case "stats":
            counts: dict[str, Json] = dict(control.counts())
            return {"counts": counts, "processes": control.processes, "up_s": round(control.up_s, 1)}
        case "reload":
            return {"changed": list(control.reload()), "problems": list(control.problems())}
        case other:
            raise InvalidError(f"{other!r} is nothing that can be asked for")


def _endpoints(control: Control) -> list[Json]:
    rows: list[Json] = []
    for _, zone in _sorted(control.zones()):
        for name in sorted(zone.services, key=canonical):
            service = zone.services[name]
            for each in control.table.seen(service).endpoints:
                place = name, each.address
                state = "drained" if each.drained else "up" if each.up else "down"
                probed = service.probe is not None and place in control.table.slots
                unsure = probed and control.table.is_unsure(place)
                votes = control.table.votes(place) if probed else (0, 0)
                rows.append(
                    {
                        "name": text_of(name),
                        "address": str(ipaddress.ip_address(each.address)),
                        "region": each.region,
                        "state": state,
                        "probe": service.probe.type if service.probe is not None else "",
                        "sure": not unsure,
                        "weight": each.weight,
                        "knownGood": known_good(each, int(time.monotonic())),
                        "reason": _with_votes(each.reason, votes),
                    }
                )
    return rows


def _with_votes(reason: str, votes: tuple[int, int]) -> str:
    told = f"gateways say {votes[0]} up, {votes[1]} down" if any(votes) else ""
    return "; ".join(each for each in (reason, told) if each)


def _drain(question: JsonObject, control: Control) -> JsonObject:
    now_s = time.time()
    try:
        seconds = float(str_at(question, "seconds") or 0)
    except ValueError:
        raise InvalidError("--for: a number of seconds is wanted") from None
    made = drain_of(
        str_at(question, "target"), str_at(question, "service"), seconds, str_at(question, "reason"), now_s
    )
    places = drained_places([made], control.zones(), now_s)
    if not places:
        raise NotFoundError(_nowhere(made, control.zones()))
    others = [each for each in control.drains if (each.target, each.service) != (made.target, made.service)]
    control.set_drains([*others, made])
    return {"drained": len(places), "target": made.target}


def _nowhere(drain: Drain, zones: Mapping[bytes, Zone]) -> str:
    """Why a drain is of nothing: a word that was mistyped would be taken for one that holds."""
    services = {text_of(each.name): each for zone in zones.values() for each in zone.services.values()}
    if drain.service and drain.service not in services:
        return f"--service: {drain.service} is no service here"
    asked = [services[drain.service]] if drain.service else services.values()
    regions = sorted({each.region for service in asked for each in service.endpoints if each.region})
    where = f"regions are {', '.join(regions[:20])}" if regions else "there are no regions"
    return f"no endpoint is at {drain.target}; {where}"


def _undrain(question: JsonObject, control: Control) -> JsonObject:
    asked = drain_of(str_at(question, "target"), str_at(question, "service"), 0, "", 0)
    kept = [each for each in control.drains if (each.target, each.service) != (asked.target, asked.service)]
    if len(kept) == len(control.drains):
        raise NotFoundError(f"{asked.target} is not drained here (drains of the cloud: spec.drains)")
    control.set_drains(kept)
    return {"target": asked.target}


def _client(text: str) -> bytes | None:
    """An address, or a network as a resolver tells of it (RFC 7871)."""
    try:
        return ipaddress.ip_interface(text).network.network_address.packed if text else None
    except ValueError:
        raise InvalidError(f"--from: {text[:64]!r} is no IP address, and no network as 192.0.2.0/24") from None


def _sorted(zones: Mapping[bytes, Zone]) -> list[tuple[bytes, Zone]]:
    return sorted(zones.items(), key=lambda item: canonical(item[0]))


def _zone_row(zone: Zone) -> JsonObject:
    return {
        "zone": text_of(zone.origin),
        "serial": zone.serial,
        "records": zone.records,
        "names": len(zone.nodes),
        "services": len(zone.services),
        "delegations": len(zone.cuts),
    }


def _zone(text: str, zones: Mapping[bytes, Zone]) -> Zone:
    name = name_of(text).lower()
    found = zones.get(name)
    if found is None:
        there = ", ".join(text_of(origin) for origin, _ in _sorted(zones)[:10]) or "none"
        raise NotFoundError(f"no zone {text_of(name)} here; zones are {there}")
    return found


def _named(text: str, zone: Zone) -> bytes:
    """A name of the zone, as a whole or as a zone file has it. Raises `NotFoundError`."""
    whole = zone.origin if text == "@" else name_of(text).lower()
    asked = [whole] if text == "@" or text.endswith(".") else [whole, whole[:-1] + zone.origin]
    found = next((name for name in asked if name in zone.nodes), None)
    if found is None:
        raise NotFoundError(f"there is no {text_of(asked[0])} in {text_of(zone.origin)}")
    return found


def _records(question: JsonObject, zones: Mapping[bytes, Zone]) -> list[Json]:
    zone = _zone(str_at(question, "zone"), zones)
    only_name = _named(str_at(question, "name"), zone) if str_at(question, "name") else None
    only_type = type_of(str_at(question, "type")) if str_at(question, "type") else None
    rows: list[Json] = []
    for owner in sorted(zone.nodes, key=canonical):
        if only_name is not None and owner != only_name:
            continue
        for kind, rrset in sorted(zone.nodes[owner].items()):
            if only_type is not None and kind != only_type:
                continue
            head: JsonObject = {"name": text_of(owner), "ttl": rrset.ttl, "type": type_text(kind)}
            rows += [{**head, "data": rdata_text(kind, rdata)} for rdata in rrset.rdatas]
            if len(rows) > RECORDS_MAX:
                raise InvalidError(f"more than {RECORDS_MAX} records: ask for a name or a type, or use dump")
    return rows

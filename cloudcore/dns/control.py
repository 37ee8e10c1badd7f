"""What the running server tells of itself over its unix socket: a line of JSON in, a line of JSON out.

    {"do": "zones"}                     {"ok": {"zones": [...]}}
    {"do": "nonsense"}                  {"error": "..."}

`skerry dns` asks here. Keeps nothing.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Callable, Mapping
from typing import Final

from cloudcore.dns.explain import explain
from cloudcore.dns.names import canonical, name_of, text_of
from cloudcore.dns.zone import Zone, warnings
from cloudcore.dns.zonefile import rdata_text, type_of, type_text, write_zone
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
            return explain(control.zones(), name, kind, _client(str_at(question, "from")))
        case "stats":
            counts: dict[str, Json] = dict(control.counts())
            return {"counts": counts, "processes": control.processes, "up_s": round(control.up_s, 1)}
        case "reload":
            return {"changed": list(control.reload()), "problems": list(control.problems())}
        case other:
            raise InvalidError(f"{other!r} is nothing that can be asked for")


def _client(text: str) -> bytes | None:
    try:
        return ipaddress.ip_address(text).packed if text else None
    except ValueError as error:
        raise InvalidError(f"--from: {error}") from None


def _sorted(zones: Mapping[bytes, Zone]) -> list[tuple[bytes, Zone]]:
    return sorted(zones.items(), key=lambda item: canonical(item[0]))


def _zone_row(zone: Zone) -> JsonObject:
    return {
        "zone": text_of(zone.origin),
        "serial": zone.serial,
        "records": zone.records,
        "names": len(zone.nodes),
        "delegations": len(zone.cuts),
    }


def _zone(text: str, zones: Mapping[bytes, Zone]) -> Zone:
    name = name_of(text).lower()
    found = zones.get(name)
    if found is None:
        raise NotFoundError(f"no zone {text_of(name)} here")
    return found


def _records(question: JsonObject, zones: Mapping[bytes, Zone]) -> list[Json]:
    zone = _zone(str_at(question, "zone"), zones)
    only_name = name_of(str_at(question, "name")).lower() if str_at(question, "name") else None
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

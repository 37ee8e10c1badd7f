"""What a gateway knows of a device's health, all of it in one document: the evidence of `skerry device doctor`.

Whoever asks judges; here nothing is. It is told from memory, and asks no device. Files that the device's
configuration names are looked at where the agent would open them, and nowhere else: who may write Devices is to learn
nothing of the gateway's other files. Keeps nothing.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from devices.manifests import KnownDevice
from devices.protocols import EXTERNAL, PROTOCOLS
from edgecore.store.backlog import Now, backlog_of
from edgecore.store.port import PushQueue
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.explained import PropertySight, explained
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject
from skerry.objects.meta import Key
from skerry.objects.times import micro_time_text, time_text
from skerry.ports import Clock

PORT: Final = "serialPort"
NO_PORT: Final = "it is no serial port"
LOOK_S_MAX: Final = 3.0
FILES_MAX: Final = 200
"""Of one device; a property may name five."""
_BY_ID: Final = Path("/dev/serial/by-id")
_LEFT_OUT: Final = ("kind", "apiVersion", "metadata", "node", "time", "device", "raw", "steps", "write")
"""Of an explanation: said once for all properties, or more than a check-up needs."""


class PushSight(Protocol):
    """See `edgecore.push.shell.QueueSight`."""

    @property
    def device(self) -> Key: ...
    @property
    def prop(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def queue(self) -> PushQueue: ...
    @property
    def reason(self) -> str: ...


def _nothing() -> Sequence[PushSight]:
    return ()


class Beside(Frozen):
    """What other rooms know."""

    pushes: Callable[[], Sequence[PushSight]] = _nothing
    trusted: Callable[[], bool] = lambda: True
    """Whether the gateway's clock is known to be right."""
    credentials: Path | None = None
    """Where the files are that devices may name; None: anywhere."""
    room: Callable[[], tuple[int, int]] | None = None
    """Bytes free and in all, of the disk with the agent's data."""


class DeviceSight(Frozen):
    """One device."""

    device: Key
    known: KnownDevice | None
    """None: the agent has not looked at it yet."""
    state: str
    reason: str
    last_online_ms: int
    held_until_ms: int | None
    properties: Sequence[PropertySight]
    line: JsonObject | None


def checkup(
    sight: DeviceSight,
    beside: Beside,
    store: AsyncEdgeStore,
    clock: Clock,
    *,
    node: str,
    files: Sequence[JsonObject] = (),
) -> JsonObject:
    """`DeviceCheckup`: what is not known is left out. `files`: see `files_shown`."""
    now_ms = clock.wall_ms()
    out: JsonObject = {
        "kind": "DeviceCheckup",
        "apiVersion": "skerry.dev/v1",
        "metadata": {"namespace": sight.device.namespace, "name": sight.device.name},
        "node": node,
        "time": micro_time_text(now_ms),
        "device": _device(sight),
        "properties": [_property(each, node=node, now_ms=now_ms) for each in sight.properties],
        "files": [*files],
        "pushes": [
            {
                "property": each.prop,
                "place": each.place,
                "waiting": each.queue.waiting,
                "dropped": each.queue.dropped,
                "reason": each.reason,
            }
            for each in beside.pushes()
            if each.device == sight.device
        ],
        "gateway": _gateway(beside, store, clock),
    }
    if sight.line is not None:
        out["line"] = sight.line
    return out


def _device(sight: DeviceSight) -> JsonObject:
    out: JsonObject = {"state": sight.state}
    out |= {"reason": sight.reason} if sight.reason else {}
    out |= {"lastOnline": micro_time_text(sight.last_online_ms)} if sight.last_online_ms else {}
    out |= {"heldUntil": time_text(sight.held_until_ms)} if sight.held_until_ms is not None else {}
    known = sight.known
    if known is None:
        return out
    out |= {"invalid": known.reason} if known.reason else {}
    out |= {"note": known.note} if known.note else {}
    if known.config is not None:
        protocol = known.config.protocol
        by = "mapper" if protocol == EXTERNAL else "agent" if protocol in PROTOCOLS.values() else "added driver"
        out |= {"protocol": known.config.named, "servedBy": by}
    return out


def _property(sight: PropertySight, *, node: str, now_ms: int) -> JsonObject:
    told = explained(sight, node=node, now_ms=now_ms)
    out = {name: value for name, value in told.items() if name not in _LEFT_OUT}
    if sight.config is not None and sight.config.twin.tolerance:
        out["tolerance"] = sight.config.twin.tolerance
    return out


def _gateway(beside: Beside, store: AsyncEdgeStore, clock: Clock) -> JsonObject:
    now_ms = clock.wall_ms()
    now = Now(wall_ms=now_ms, monotonic_ms=round(clock.monotonic_s() * 1000))
    waits = backlog_of(store.stats(), store.boots(), now)
    out: JsonObject = {
        "clockTrusted": beside.trusted(),
        "outbox": {
            "reports": waits.reports,
            "oldestMs": max(0, now_ms - waits.since_ms) if waits.reports else 0,
            "dropped": waits.dropped,
        },
    }
    if beside.room is not None:
        free, whole = beside.room()
        out["disk"] = {"freeBytes": free, "bytes": whole}
    return out


# --- files ------------------------------------------------------------------------------------------------


def files_of(known: KnownDevice | None) -> Sequence[tuple[str, str]]:
    """Field and path of each file on the gateway that the device's configuration names."""
    if known is None or known.config is None or known.config.protocol == EXTERNAL:
        return ()
    from devices.credentials import FILES, files_in  # only who is asked of a device pays

    found = dict.fromkeys(files_in(known.config.protocol_config, "spec.protocol.configData", (PORT, *FILES)))
    for prop, targets in known.pushes.items():
        where = f"spec.properties[{prop}].visitors.configData.push"
        found |= dict.fromkeys((f"{where}.{target.method}", path) for target in targets for path in target.files)
    return tuple(found)


async def files_shown(named: Sequence[tuple[str, str]], directory: Path | None) -> Sequence[JsonObject]:
    """All of them, looked at in a thread: a disk that does not answer keeps nobody."""
    try:
        async with asyncio.timeout(LOOK_S_MAX):
            return await asyncio.to_thread(lambda: [file_shown(*each, directory) for each in named[:FILES_MAX]])
    except TimeoutError:
        return [
            {"field": field, "path": path, "problem": f"the gateway's disk did not answer within {LOOK_S_MAX:g} s"}
            for field, path in named[:FILES_MAX]
        ]


def file_shown(field: str, path: str, directory: Path | None = None) -> JsonObject:
    """What stands in the way of opening it, and for a serial port the name that stays the same. `directory` has the
    files that devices may name; None: anywhere."""
    from devices.credentials import refuse_elsewhere

    out: dict[str, Json] = {"field": field, "path": path}
    is_port = field.endswith(PORT)
    try:
        if not is_port:
            refuse_elsewhere(path, directory, field)
        mode = Path(path).stat().st_mode
    except InvalidError as error:
        return {**out, "problem": str(error).removeprefix(f"{field}: ")}
    except (OSError, ValueError) as error:
        # Of files that are no ports nothing is told: not even whether they are there.
        said = getattr(error, "strerror", "") or str(error)
        return {**out, "problem": said if not is_port or path.startswith("/dev/") else NO_PORT}
    if is_port and not stat.S_ISCHR(mode):
        return {**out, "problem": NO_PORT}
    if not os.access(path, os.R_OK | (os.W_OK if is_port else 0)):
        out["problem"] = "the agent's user may not open it"
    if is_port and (steady := _steady(path)):
        out["steadyPath"] = steady
    return out


def _steady(path: str) -> str:
    """The name of a USB port that stays the same whatever is plugged in where; "" where it is one, or has none."""
    if not path.startswith(("/dev/ttyUSB", "/dev/ttyACM")):
        return ""
    try:
        return next((str(each) for each in sorted(_BY_ID.iterdir()) if each.resolve() == Path(path)), "")
    except OSError:
        return ""

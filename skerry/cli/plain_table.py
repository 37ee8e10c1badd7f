"""Tables for a server that computes none: the agent of a gateway, which keeps no printers in its memory.

Pure. The columns are those that kubectl shows of the same kinds, as far as the gateway knows them.
"""

from __future__ import annotations

from collections.abc import Sequence

from skerry.objects.commands import action_of, described, phase_of
from skerry.objects.json import Json, JsonObject, bool_at, int_at, map_at, maps_at, str_at
from skerry.objects.meta import name_of
from skerry.objects.times import human_duration, ms_at


def plain_table(objects: Sequence[JsonObject], kind: str, now_ms: int) -> JsonObject:
    """A `meta.k8s.io/v1` Table of these objects."""
    match kind:
        case "Pod":
            titles, cells = ["Name", "Ready", "Status", "Restarts", "Age"], _pod
        case "Device":
            titles, cells = ["Name", "Node", "Model", "Protocol", "Age"], _device
        case "Command":
            titles, cells = ["Name", "Node", "Action", "Target", "Phase", "Reason", "Age"], _command
        case "DeviceStatus":
            titles, cells = ["Name", "Status", "Last Seen", "Age"], _device_status
        case _:
            titles, cells = ["Name", "Age"], _any
    return {
        "kind": "Table",
        "columnDefinitions": [{"name": title} for title in titles],
        "rows": [{"cells": [name_of(obj), *cells(obj, now_ms), _age(obj, now_ms)], "object": obj} for obj in objects],
    }


def _any(obj: JsonObject, now_ms: int) -> list[Json]:
    return []


def _pod(obj: JsonObject, now_ms: int) -> list[Json]:
    statuses = maps_at(obj, "status", "containerStatuses")
    ready = sum(bool_at(status, "ready") for status in statuses)
    restarts = sum(int_at(status, "restartCount") for status in statuses)
    return [f"{ready}/{len(maps_at(obj, 'spec', 'containers'))}", _pod_word(obj, statuses), str(restarts)]


def _pod_word(obj: JsonObject, statuses: Sequence[JsonObject]) -> str:
    """The last reason that says more than the phase."""
    if str_at(obj, "metadata", "deletionTimestamp"):
        return "Terminating"
    reasons = [
        str_at(status, "state", "waiting", "reason") or str_at(status, "state", "terminated", "reason")
        for status in statuses
    ]
    told = [reason for reason in reasons if reason]
    return told[-1] if told else str_at(obj, "status", "reason") or str_at(obj, "status", "phase", default="Pending")


def _device(obj: JsonObject, now_ms: int) -> list[Json]:
    return [
        str_at(obj, "spec", "nodeName") or "<none>",
        str_at(obj, "spec", "deviceModelRef", "name") or "<none>",
        str_at(obj, "spec", "protocol", "protocolName") or "<none>",
    ]


def _command(obj: JsonObject, now_ms: int) -> list[Json]:
    kind, target = described(action_of(map_at(obj, "spec", "action")))
    node = str_at(obj, "spec", "nodeName") or "<none>"
    return [node, kind, target or "<none>", phase_of(obj), str_at(obj, "status", "reason")]


def _device_status(obj: JsonObject, now_ms: int) -> list[Json]:
    seen = str_at(obj, "status", "lastOnlineTime")
    ago = f"{human_duration((now_ms - ms_at(seen)) / 1000)} ago" if seen else "<never>"
    return [str_at(obj, "status", "state", default="unknown"), ago]


def _age(obj: JsonObject, now_ms: int) -> str:
    created = str_at(obj, "metadata", "creationTimestamp")
    return human_duration((now_ms - ms_at(created)) / 1000) if created else "<unknown>"

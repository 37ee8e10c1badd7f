"""Which devices a node has or had: a ConfigMap for each node, so that what it still owes of them is known as its own.

A gateway comes back after weeks with readings of a device that has been moved, deleted or made again meanwhile. The
Device as it is now does not say that it was there; this record does, and tells it from a gateway that invents a
history. Written by the leader (`cloudcore.controllers.placement`), read by every hub. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import Key
from skerry.objects.names import SUBDOMAIN_LENGTH_MAX
from skerry.objects.times import time_text

NAMESPACE: Final = "kube-system"
DEVICES_MAX: Final = 1000
"""The newest that are kept of a node."""
_PREFIX: Final = "skerry-devices."


def record_key(node: str) -> Key:
    """Where a node's record is."""
    name = f"{_PREFIX}{node}"
    if len(name) > SUBDOMAIN_LENGTH_MAX:
        name = f"{_PREFIX}{sha256(node.encode()).hexdigest()}"
    return Key("configmaps", NAMESPACE, name)


def has_device(record: JsonObject | None, *, uid: str, namespace: str, name: str) -> bool:
    """Whether the device of this uid and name is or was placed on the record's node."""
    told = map_at(record, "data").get(uid)
    return isinstance(told, str) and _name_in(told) == f"{namespace}/{name}"


def has_name(record: JsonObject | None, *, namespace: str, name: str) -> bool:
    """Whether any device of this name is or was."""
    wanted = f"{namespace}/{name}"
    return any(isinstance(told, str) and _name_in(told) == wanted for told in map_at(record, "data").values())


def with_devices(
    record: JsonObject, node: JsonObject, *, placed: Mapping[str, str], left: Mapping[str, str], now_ms: int
) -> JsonObject:
    """The record with the devices (uid -> namespace/name) that are placed on the node now, and those that just left
    it; itself where that is no news. `record` is {} where there is none. A Node that was made anew begins anew."""
    ours = any(str_at(owner, "uid") == str_at(node, "metadata", "uid") for owner in _owners(record))
    held = map_at(record, "data") if ours else {}
    when = time_text(now_ms)
    data: JsonObject = dict(held)
    for uid, device in placed.items():
        data.setdefault(uid, f"{when} {device}")
    for uid, device in left.items():
        data[uid] = f"{when} {device}"
    if len(data) > DEVICES_MAX:
        newest = sorted(data.items(), key=lambda entry: str(entry[1]))[-DEVICES_MAX:]
        data = dict(newest)
    if data == held:
        return record
    owner: JsonObject = {
        "apiVersion": "v1",
        "kind": "Node",
        "name": str_at(node, "metadata", "name"),
        "uid": str_at(node, "metadata", "uid"),
    }
    owners: list[Json] = [owner]
    key = record_key(str_at(node, "metadata", "name"))
    metadata: JsonObject = {**map_at(record, "metadata"), "name": key.name, "namespace": key.namespace}
    return {**record, "metadata": {**metadata, "ownerReferences": owners}, "data": data}


def _owners(record: JsonObject) -> list[JsonObject]:
    return list(maps_at(record, "metadata", "ownerReferences"))


def _name_in(told: str) -> str:
    return told.partition(" ")[2]

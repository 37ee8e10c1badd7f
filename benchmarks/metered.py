"""Bytes on a metered link: what one frame of each kind costs, and a reconnect after 100 changed ConfigMaps.

Frames as they leave the session, before TLS; each with and without the dictionary that both sides share.
"""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from random import Random
from typing import Final
from uuid import UUID

from cloudcore.hub.views import Views
from cloudcore.store.port import Stored
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key, Revision
from skerry.objects.reports import PodStatusReport
from skerry.objects.twins import DeviceName, Telemetry, encode_telemetry
from skerry.sync.batches import next_contents, object_frames, stamp_frames
from skerry.sync.hashes import BUCKETS
from skerry.sync.ports import SyncSettings
from skerry.sync.queue import PushQueue
from skerry.wire.codec import encode, plain
from skerry.wire.frames import Fetch, Frame, Report, Reports

CONFIGS: Final = 100
TARGET_BYTES: Final = 25_000
_UID: Final = "{:08x}-51c3-4e0a-9d77-0f5b1c2d3e4f"


def _report(seq: int, kind: str, key: str, body: bytes) -> Report:
    return Report(seq=seq, kind=kind, key=key, body=body, wall_ms=1_795_000_123_456 + seq, age_ms=37)


def telemetry(count: int) -> Reports:
    """Readings of one pump."""
    device = DeviceName(namespace="plant", name="pump-17", uid=_UID.format(99))
    rows = [
        Telemetry(
            device=device,
            prop="pressure",
            seq=90_000 + number,
            value=f"{4 + number / 100:.2f}",
            type="DOUBLE",
            quality="good",
            reason="",
            source_ms=1_795_000_123_000 + 1000 * number,
        )
        for number in range(count)
    ]
    reports = [
        _report(number, "telemetry", "plant/pump-17/pressure", encode_telemetry(row))
        for number, row in enumerate(rows)
    ]
    return Reports(reports=tuple(reports))


def pod_status() -> Reports:
    """A pod with two containers came up."""
    conditions: list[JsonObject] = [
        {"type": kind, "status": "True", "lastTransitionTime": "2026-11-28T01:02:03Z"}
        for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")
    ]
    containers: list[JsonObject] = [
        {
            "name": name,
            "image": f"registry.plant/{name}:2.4",
            "imageID": f"process:{name}",
            "containerID": f"process://{_UID.format(7)}.{name}.0",
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": "2026-11-28T01:02:03Z"}},
            "lastState": {},
        }
        for name in ("collector", "proxy")
    ]
    status: JsonObject = {
        "phase": "Running",
        "hostIP": "192.168.7.4",
        "podIP": "192.168.7.4",
        "podIPs": [{"ip": "192.168.7.4"}],
        "startTime": "2026-11-28T01:02:00Z",
        "qosClass": "BestEffort",
        "conditions": [*conditions],
        "containerStatuses": [*containers],
    }
    body = PodStatusReport(namespace="plant", name="collector-6b9f", uid=_UID.format(7), status=status).encode()
    return Reports(reports=(_report(5, "pod_status", _UID.format(7), body),))


def reconnect() -> list[Frame]:
    """What travels when 100 ConfigMaps of 100 bytes changed while the link was down."""
    stored: list[Stored] = []
    volumes: list[JsonObject] = []
    chance = Random(7)
    for number in range(CONFIGS):
        key = Key("configmaps", "plant", f"settings-{number}")
        uid = str(UUID(int=chance.getrandbits(128), version=4))
        obj: JsonObject = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": key.name,
                "namespace": "plant",
                "uid": uid,
                "creationTimestamp": "2026-11-28T01:02:03Z",
            },
            "data": {"text": "".join(chance.choices(string.ascii_letters, k=100))},
        }
        revision = Revision(100_000 + number)
        stored.append(Stored(key=key, uid=uid, revision=revision, body=encode_object(obj)))
        volumes.append({"name": f"v{number}", "configMap": {"name": key.name}})
    pod: JsonObject = {
        "metadata": {"namespace": "plant", "name": "p"},
        "spec": {"nodeName": "n", "volumes": [*volumes]},
    }
    stored.append(
        Stored(key=Key("pods", "plant", "p"), uid=_UID.format(200), revision=Revision(1), body=encode_object(pod))
    )
    views = Views(json.loads)
    views.load(stored, Revision(200_000))
    view, settings = views.view("n"), SyncSettings()
    frames: list[Frame] = [*stamp_frames(view, tuple(range(BUCKETS)), settings.part_bytes)]
    keys = [entry.key for entry in stored[:CONFIGS]]
    for at in range(0, CONFIGS, settings.fetch_keys):
        frames.append(Fetch(keys=tuple(keys[at : at + settings.fetch_keys])))
        queue = PushQueue()
        queue.add(keys[at : at + settings.fetch_keys], prompt=lambda _key: False)
        while len(queue):
            frames += object_frames(
                1,
                view.revision,
                next_contents(queue, view, settings, batch_bytes=settings.batch_bytes),
                settings.part_bytes,
                view.secret,
            )
    return frames


def main() -> Sequence[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for what, frames in (
        ("a reading", [telemetry(1)]),
        ("ten readings", [telemetry(10)]),
        ("a pod's status", [pod_status()]),
        (f"reconnect, {CONFIGS} ConfigMaps of 100 B changed", reconnect()),
    ):
        whole = sum(len(plain(frame)) for frame in frames)
        without = sum(len(encode(frame)) for frame in frames)
        packed = sum(len(encode(frame, dictionary=1)) for frame in frames)
        rows.append((what, f"{whole} B plain, {without} B deflated, {packed} B with the dictionary"))
    rows.append(("target of the reconnect", f"{TARGET_BYTES} B"))
    return rows

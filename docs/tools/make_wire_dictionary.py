"""Make `skerry/wire/dictionary-N.zlib` from objects and reports of our own: what travels between clouds and gateways.

    python docs/tools/make_wire_dictionary.py N

It creates one of each kind of object that a gateway is sent, through the cloud's own registry (defaults, tokens and
all), and one of each report that a gateway makes, with the codes that make the real ones; it turns them into frames,
and writes the frames one after the other, what is sent most often last, because deflate reaches the nearest bytes
most cheaply. Clocks and ids are fixed, so the same code makes the same bytes.

A released dictionary never changes: give a new one the next number, add it to `NUMBERS` in
`skerry/wire/dictionary.py`, and keep the old ones for gateways that know no other.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cloudcore.registry.admission import STEPS  # noqa: E402 - the repository is on the path only now
from cloudcore.registry.commands import IssuedCommands  # noqa: E402
from edgecore.pods.events import Happening, event_object  # noqa: E402
from edgecore.pods.node import Machine, NodeIdentity, node_report  # noqa: E402
from edgecore.pods.status import Picture, pod_status  # noqa: E402
from edgecore.store.backlog import Backlog  # noqa: E402
from skerry.objects.commands import INCARNATION, CommandReport  # noqa: E402
from skerry.objects.desired import Desired, Hlc, Vector  # noqa: E402
from skerry.objects.json import JsonObject, encode_object  # noqa: E402
from skerry.objects.meta import Key, Revision, Stamp  # noqa: E402
from skerry.objects.reports import NodeStatusReport, PodStatusReport  # noqa: E402
from skerry.objects.twins import (  # noqa: E402
    Ack,
    DeviceName,
    DeviceState,
    Reported,
    Telemetry,
    TwinDesired,
    TwinReported,
    encode_device_state,
    encode_telemetry,
    encode_twin_desired,
    encode_twin_reported,
)
from skerry.wire.codec import plain  # noqa: E402
from skerry.wire.frames import Objects, ObjectState, Report, Reports, Stamped, Stamps  # noqa: E402
from tests.cloudcore.worlds import World, make_world  # noqa: E402
from tests.edgecore.pods.pods_of import state  # noqa: E402

SIZE_MAX = 12 * 1024
NOW_MS = 1_790_000_000_000
UID = "3f1c2a5e-8d47-4b60-9e1f-2a6b7c8d9e0f"
DEVICE = DeviceName(namespace="default", name="boiler-1", uid=UID)


def pod() -> JsonObject:
    container: JsonObject = {
        "name": "app",
        "image": "registry.example/app:1.0",
        "env": [{"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}}],
        "ports": [{"containerPort": 8080, "name": "http"}],
        "resources": {"limits": {"cpu": "500m", "memory": "128Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}},
        "volumeMounts": [{"name": "settings", "mountPath": "/etc/settings", "readOnly": True}],
    }
    owner: JsonObject = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "web-5d4f8c7b9",
        "uid": UID,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "metadata": {
            "name": "web-5d4f8c7b9-x2x4z",
            "labels": {"app": "web", "pod-template-hash": "5d4f8c7b9"},
            "generateName": "web-5d4f8c7b9-",
            "ownerReferences": [owner],
        },
        "spec": {
            "nodeName": "edge-1",
            "containers": [container],
            "volumes": [{"name": "settings", "configMap": {"name": "settings"}}],
        },
    }


def device_model() -> JsonObject:
    visitors: JsonObject = {"protocolName": "modbus", "configData": {"address": "hr:0", "dataType": "float32"}}
    readable: JsonObject = {"name": "temperature", "type": "FLOAT", "accessMode": "ReadOnly", "unit": "C"}
    writable: JsonObject = {"name": "setpoint", "type": "INT", "accessMode": "ReadWrite", "minimum": "0"}
    return {
        "metadata": {"name": "boiler"},
        "spec": {
            "protocol": "modbus",
            "properties": [{**readable, "visitors": visitors}, {**writable, "maximum": "90"}],
        },
    }


def device() -> JsonObject:
    return {
        "metadata": {"name": "boiler-1"},
        "spec": {
            "deviceModelRef": {"name": "boiler"},
            "nodeName": "edge-1",
            "protocol": {
                "protocolName": "modbus",
                "configData": {"tcp": {"ip": "10.0.0.7", "port": 502}, "slaveID": 1, "timeoutMs": 1000},
            },
            "methods": [{"name": "reset", "propertyNames": ["setpoint"]}],
            "properties": [
                {"name": "temperature", "collectCycle": 1000, "reportCycle": 60000},
                {"name": "setpoint", "collectCycle": 1000, "desired": {"value": "21.5"}},
            ],
        },
    }


async def objects() -> list[ObjectState]:
    """As the store keeps them."""
    wanted: list[tuple[str, Any]] = [
        ("services", {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
        (
            "endpointslices.discovery.k8s.io",
            {
                "metadata": {"name": "web-x2x4z", "labels": {"kubernetes.io/service-name": "web"}},
                "addressType": "IPv4",
                "endpoints": [
                    {
                        "addresses": ["10.244.1.7"],
                        "nodeName": "edge-1",
                        "conditions": {"ready": True, "serving": True, "terminating": False},
                        "targetRef": {"kind": "Pod", "name": "web-x2x4z", "namespace": "default", "uid": UID},
                    }
                ],
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            },
        ),
        ("secrets", {"metadata": {"name": "key"}, "type": "Opaque", "data": {"password": "c2VjcmV0"}}),
        ("devicemodels.devices.kubeedge.io", device_model()),
        ("devices.devices.kubeedge.io", device()),
        ("pods", pod()),
        (
            "commands.skerry.dev",
            {
                "metadata": {"name": "boiler-1-x2x4z", "generateName": "boiler-1-"},
                "spec": {
                    "action": {
                        "deviceMethod": {"device": "boiler-1", "method": "reset", "parameters": {"setpoint": "20"}}
                    }
                },
            },
        ),
        ("configmaps", {"metadata": {"name": "settings", "namespace": "default"}, "data": {"text": "value"}}),
    ]
    async with make_world(*STEPS, IssuedCommands("epoch"), real_rules=True) as world:
        await _ground(world)
        made: list[ObjectState] = []
        for resource, obj in wanted:
            created = await world.create(resource, obj, "default")
            key = Key(resource, "default", created["metadata"]["name"])
            stored = world.objects.read(key)
            assert stored is not None, "it was just created"
            made.append(ObjectState(key=key, stamp=Stamp(stored.uid, Revision(1000)), body=stored.body))
        return made


async def _ground(world: World) -> None:
    await world.create("namespaces", {"metadata": {"name": "default"}})
    await world.create("serviceaccounts", {"metadata": {"name": "default"}}, "default")
    await world.create("nodes", {"metadata": {"name": "edge-1", "annotations": {INCARNATION: "7f3a9c0e"}}})


def reports() -> list[Report]:
    """As a gateway makes them, what is rare first."""
    named = pod()
    named["metadata"] = {"namespace": "default", "name": "web-5d4f8c7b9-x2x4z", "uid": UID}
    happened = Happening(reason="Started", message="Started container app", container="app")
    event = event_object(named, happened, node="edge-1", suffix="17f0c2d9a1b3e4f5", now_ms=NOW_MS)
    told = [
        ("node_status", "", _node_status()),
        ("event", "", encode_object(event)),
        ("command", UID, _command()),
        ("pod_status", UID, _pod_status(named)),
        *_twins(),
    ]
    return [
        Report(seq=number, kind=kind, key=key, body=body, wall_ms=NOW_MS, age_ms=100)
        for number, (kind, key, body) in enumerate(told, 1000)
    ]


def _node_status() -> bytes:
    identity = NodeIdentity(
        name="edge-1", labels={}, agent_version="v1.36.0+skerry-0.1.0", runtime_version="process://1"
    )
    machine = Machine(
        hostname="edge-1",
        addresses=("10.0.0.7",),
        architecture="arm64",
        kernel="6.1.0",
        os_image="Debian GNU/Linux 12 (bookworm)",
        machine_id=UID.replace("-", ""),
        system_uuid=UID,
        boot_id=UID,
        cpus=4,
        memory_bytes=4 << 30,
        memory_free_bytes=2 << 30,
        disk_bytes=32 << 30,
        disk_free_bytes=16 << 30,
        pids_max=32768,
        pids_used=120,
    )
    node = node_report(identity, machine, {}, Backlog(reports=0, since_ms=0, dropped=0), now_ms=NOW_MS)
    return NodeStatusReport(labels=node.labels, status=node.status).encode()


def _pod_status(named: JsonObject) -> bytes:
    picture = Picture(
        pod=named,
        containers=[state()],
        waiting={},
        before={},
        runtime="process",
        address="10.0.0.7",
        start_ms=NOW_MS,
        now_ms=NOW_MS,
        terminating=False,
        unsupported="",
    )
    return PodStatusReport(
        namespace="default", name="web-5d4f8c7b9-x2x4z", uid=UID, status=pod_status(picture), gone=False
    ).encode()


def _command() -> bytes:
    return CommandReport(
        namespace="default",
        name="boiler-1-x2x4z",
        uid=UID,
        incarnation="7f3a9c0e",
        phase="Succeeded",
        reason="",
        message="",
        result={"properties": {"setpoint": {"state": "verified", "written": "20", "value": "20"}}},
        delivered_ago_ms=12,
        started_ago_ms=11,
        finished_ago_ms=0,
    ).encode()


def _twins() -> list[tuple[str, str, bytes]]:
    """(kind, key, body) of what is told of a device."""
    desired = Desired(
        value="21.5",
        ver=Vector(cloud=1, edge=0),
        hlc=Hlc(wall_ms=NOW_MS, counter=0),
        origin="kubernetes-admin",
        side="cloud",
    )
    reported = Reported(
        value="21.5",
        type="FLOAT",
        unit="C",
        quality="good",
        reason="",
        source_ms=NOW_MS,
        gateway_ms=NOW_MS,
        synced=True,
    )
    ack = Ack(state="verified", code=200, reason="", for_ver=Vector(cloud=1, edge=0), at_ms=NOW_MS)
    reading = Telemetry(
        device=DEVICE,
        prop="temperature",
        seq=1000,
        value="21.5",
        type="FLOAT",
        quality="good",
        reason="",
        source_ms=NOW_MS,
        source_seq=None,
    )
    online = DeviceState(device=DEVICE, state="online", reason="", last_online_ms=NOW_MS)
    wanted = TwinDesired(device=DEVICE, prop="setpoint", desired=desired, policy="newest")
    shown = TwinReported(device=DEVICE, prop="setpoint", reported=reported, observed=desired, ack=ack)
    return [
        ("device_state", "default/boiler-1", encode_device_state(online)),
        ("twin_desired", "default/boiler-1/setpoint", encode_twin_desired(wanted)),
        ("twin_reported", "default/boiler-1/setpoint", encode_twin_reported(shown)),
        ("telemetry", "default/boiler-1/temperature", encode_telemetry(reading)),
    ]


async def text() -> bytes:
    """The dictionary."""
    puts = await objects()
    entries = tuple(Stamped(key=put.key, stamp=put.stamp) for put in puts)
    parts = [plain(Stamps(revision=Revision(1000), buckets=(1,), entries=entries, more=False))]
    parts += [
        plain(Objects(batch=1, revision=Revision(1000), puts=(put,), deletes=(), more=False)) for put in puts[:-1]
    ]
    made = reports()
    parts += [plain(Reports(reports=(report,))) for report in made[:4]]
    parts += [plain(Objects(batch=1, revision=Revision(1000), puts=(puts[-1],), deletes=(), more=False))]
    parts += [plain(Reports(reports=(report,))) for report in made[4:]]
    whole = b"".join(parts)
    assert len(whole) <= SIZE_MAX, f"{len(whole)} bytes"
    return whole


def main() -> None:
    (number,) = sys.argv[1:]
    path = ROOT / f"skerry/wire/dictionary-{int(number)}.zlib"
    path.write_bytes(zlib.compress(asyncio.run(text()), 9))


if __name__ == "__main__":
    main()

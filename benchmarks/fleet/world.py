"""A data directory of `cloudcore` with thousands of nodes in it, written straight into its store, and their keys.

Each node has a Node, a pod, and ConfigMaps of its own and shared ones. One key serves all nodes; each has a
certificate of its own, because the hub checks whose it is. Writing objects through the API would measure that.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloudcore.pki.directory import Pki, open_pki
from cloudcore.store.port import Batch, Put
from cloudcore.store.sql import open_sql_store
from skerry.clocks import SystemIds
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.times import time_text

NAMESPACE = "fleet"
SHARED = "shared"
"""The ConfigMap that every node's pod uses."""
SERVICE = "everywhere"


def node_name(number: int) -> str:
    return f"gw-{number:05d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What was made."""

    data: Path
    nodes: int
    own_configs: int
    pki: Pki

    def certificate(self, number: int) -> Path:
        return self.data / "gateways" / f"{number}.pem"

    def keys(self, number: int) -> list[Key]:
        """What a node's view holds, in the order in which it arrives."""
        own = [Key("configmaps", NAMESPACE, f"c-{number:05d}-{place}") for place in range(self.own_configs)]
        return [
            Key("nodes", "", node_name(number)),
            Key("serviceaccounts", NAMESPACE, "default"),
            *own,
            Key("configmaps", NAMESPACE, SHARED),
            Key("services", NAMESPACE, SERVICE),
            Key("pods", NAMESPACE, f"web-{number:05d}"),
        ]


def uid_of(key: Key) -> str:
    """Uids that can be told from keys, so that nothing need be remembered of them."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(f"{key.resource}/{key.namespace}/{key.name}".encode())
    text = digest.finalize().hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:32]}"


def make_world(data: Path, *, nodes: int, own_configs: int) -> World:
    """Write keys and objects into an empty directory."""
    data.mkdir(parents=True)
    now = datetime.now(UTC).replace(microsecond=0)
    world = World(data=data, nodes=nodes, own_configs=own_configs, pki=open_pki(data, now=now))
    _certificates(world, now)
    asyncio.run(_objects(world, time_text(round(now.timestamp() * 1000))))
    return world


def _certificates(world: World, now: datetime) -> None:
    (world.data / "gateways").mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    authority = world.pki.authority
    for number in range(world.nodes):
        names = [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node_name(number)}"),
        ]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(names))
            .issuer_name(authority.certificate.subject)
            .public_key(key.public_key())
            .serial_number(number + 1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(authority.key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        world.certificate(number).write_text(pem + key_pem)


async def _objects(world: World, created: str) -> None:
    store = await open_sql_store(world.data / "cloud.db", ids=SystemIds())

    async def put(objects: list[tuple[Key, str, str, JsonObject]]) -> None:
        puts = [
            Put(
                key=key,
                uid=uid_of(key),
                body=_body(key, {"apiVersion": version, "kind": kind, **rest}, created),
                expected=None,
            )
            for key, version, kind, rest in objects
        ]
        await store.commit(Batch(writes=tuple(puts)))

    shared: list[tuple[Key, str, str, JsonObject]] = [
        (Key("namespaces", "", NAMESPACE), "v1", "Namespace", {"spec": {"finalizers": ["kubernetes"]}}),
        (Key("serviceaccounts", NAMESPACE, "default"), "v1", "ServiceAccount", {}),
        (Key("configmaps", NAMESPACE, SHARED), "v1", "ConfigMap", {"data": {"value": "0"}}),
        (Key("services", NAMESPACE, SERVICE), "v1", "Service", _service()),
    ]
    await put(shared)
    try:
        for first in range(0, world.nodes, 50):
            batch: list[tuple[Key, str, str, JsonObject]] = []
            for number in range(first, min(first + 50, world.nodes)):
                batch += _node(world, number)
            await put(batch)
    finally:
        await store.close()


def _node(world: World, number: int) -> list[tuple[Key, str, str, JsonObject]]:
    name = node_name(number)
    keys = world.keys(number)
    own = [key for key in keys if key.resource == "configmaps"]
    ready: JsonObject = {
        "type": "Ready",
        "status": "Unknown",
        "reason": "NodeStatusUnknown",
        "message": "Skerry: the gateway is silent",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    told: JsonObject = {**ready, "type": "GatewayReady", "status": "True", "reason": "EdgeReady", "message": ""}
    spec: JsonObject = {
        "nodeName": name,
        "serviceAccountName": "default",
        "containers": [{"name": "c", "image": "x"}],
        "volumes": [{"name": f"v{place}", "configMap": {"name": key.name}} for place, key in enumerate(own)],
        "tolerations": [{"operator": "Exists"}],
    }
    return [
        (keys[0], "v1", "Node", {"spec": {}, "status": {"conditions": [ready, told]}}),
        *((key, "v1", "ConfigMap", {"data": {"value": "x" * 100}}) for key in own if key.name != SHARED),
        (keys[-1], "v1", "Pod", {"spec": spec, "status": {"phase": "Running"}}),
    ]


def _service() -> JsonObject:
    return {"spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 80, "protocol": "TCP"}], "type": "ClusterIP"}}


def _body(key: Key, rest: JsonObject, created: str) -> bytes:
    metadata: JsonObject = {"name": key.name, "uid": uid_of(key), "creationTimestamp": created}
    if key.namespace:
        metadata["namespace"] = key.namespace
    body: JsonObject = {"metadata": metadata, **rest}
    return json.dumps(body, separators=(",", ":")).encode()

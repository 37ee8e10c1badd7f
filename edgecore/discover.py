"""`edgecore discover`: devices on the gateway's broker that announce themselves to Home Assistant, as manifests.

A gateway has no right to make objects in the cloud, and gets none for this: who may, applies what this writes
(docs/decisions/0252-who-makes-objects-of-found-devices.md). Keeps nothing, and leaves no session at the broker.
"""

from __future__ import annotations

import yaml

from devices.mqtt.client import collect
from devices.mqtt.config import Broker
from devices.mqtt.discovery import Place, filters
from devices.mqtt.discovery import discover as objects_of
from edgecore.config import DiscoverSettings, broker_of
from edgecore.link.membership import load_membership
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject


class Manifests(Frozen):
    """What was found."""

    text: str
    """YAML documents, models before their devices; "" for none."""
    skipped: tuple[str, ...]


def discover(settings: DiscoverSettings) -> Manifests:
    """Listen, and write down what was heard. Raises `InvalidError`, `NotFoundError` (not joined, and no node named),
    `UnavailableError`."""
    broker = broker_of(settings)
    if broker is None:
        raise InvalidError("--mqtt-broker is required: mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")
    node = settings.node or load_membership(settings.data).node
    prefix = settings.homeassistant_prefix if settings.homeassistant_prefix not in ("", "none") else "homeassistant"
    documents = collect(broker, filters(prefix), client_id=f"skerry-{node}-discover", seconds=settings.seconds)
    found = objects_of(
        documents, prefix, Place(node=node, namespace=settings.namespace, protocol=protocol_of(broker))
    )
    text = yaml.safe_dump_all(found.objects, sort_keys=False, allow_unicode=True) if found.objects else ""
    return Manifests(text=text, skipped=found.skipped)


def protocol_of(broker: Broker) -> JsonObject:
    """The broker as a Device names it."""
    said: JsonObject = {"host": broker.host, "port": broker.port}
    if broker.username:
        said["username"] = broker.username
    if broker.password_file:
        said["passwordFile"] = broker.password_file
    if broker.tls:
        files = {"caFile": broker.ca_file, "certFile": broker.cert_file, "keyFile": broker.key_file}
        said["tls"] = {name: path for name, path in files.items() if path}
    return said

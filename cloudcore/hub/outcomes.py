"""What the reports of nodes touch in the cloud, and what one comes to. Keeps no data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, cast

from cloudcore.hub.bounds import Refusal
from cloudcore.registry.port import Effect
from cloudcore.store.port import Record
from skerry.frozen import Frozen
from skerry.objects.commands import GROUP as COMMAND_GROUP
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.rules import GROUP as RULE_GROUP
from skerry.objects.scheme import Kind, Scheme

Lookup: TypeAlias = "Callable[[Key], JsonObject | None]"
"""An object as the cloud has it now; not to be changed."""


class Kinds(Frozen):
    """The kinds that reports touch."""

    node: Kind
    pod: Kind
    event: Kind
    device: Kind
    device_status: Kind
    command: Kind
    rule: Kind
    message: Kind
    device_rule: Kind
    lease: Kind
    ingress: Kind
    volume: Kind


def kinds_in(scheme: Scheme) -> Kinds:
    """Found by name; they are built in."""
    devices = "devices.kubeedge.io"
    found = {
        "node": scheme.named("", "v1", "Node"),
        "pod": scheme.named("", "v1", "Pod"),
        "event": scheme.named("", "v1", "Event"),
        "device": scheme.named(devices, "v1beta1", "Device"),
        "device_status": scheme.named(devices, "v1beta1", "DeviceStatus"),
        "command": scheme.named(COMMAND_GROUP, "v1", "Command"),
        "rule": scheme.named(RULE_GROUP, "v1", "Rule"),
        "message": scheme.named(COMMAND_GROUP, "v1", "RuleMessage"),
        "device_rule": scheme.named(COMMAND_GROUP, "v1", "DeviceRule"),
        "ingress": scheme.named("networking.k8s.io", "v1", "Ingress"),
        "lease": scheme.named("coordination.k8s.io", "v1", "Lease"),
        "volume": scheme.named("", "v1", "PersistentVolume"),
    }
    assert all(found.values()), "built-in kinds are served"
    return Kinds(**cast("dict[str, Kind]", found))


class Outcome(Frozen):
    """What one report comes to."""

    effects: tuple[Effect, ...] = ()
    records: tuple[Record, ...] = ()
    refused: Refusal | None = None
    """Why it comes to nothing, where that is to be counted."""
    event: Key | None = None
    """The Event that it makes or changes: there is a bound to them (`cloudcore.hub.bounds`)."""
    message_bytes: int | None = None
    """Size of the message that it makes, which has a bound as well; None: it makes none."""
    without_room: tuple[Effect, ...] = ()
    """What it comes to where there is no room for it."""

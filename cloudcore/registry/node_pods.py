"""What a gateway may do to pods through the API: make mirrors of its own static pods, and delete its own. Pure.

Rules and texts are those of Kubernetes' admission plugin NodeRestriction (`plugin/pkg/admission/noderestriction`).
"""

from __future__ import annotations

import json
from typing import Literal, Protocol

from cloudcore.store.port import Stored
from skerry.authz.attributes import Actor
from skerry.objects.enrolment import node_of_user
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import Key, annotations_of, owners_of, uid_of
from skerry.objects.mirror_pods import CONFIG_MIRROR, api_references


class Nodes(Protocol):
    """Objects as cached."""

    def read(self, key: Key) -> Stored | None: ...

    def obj(self, stored: Stored) -> JsonObject: ...


class Asked(Protocol):
    """See `cloudcore.registry.admission.Request`."""

    @property
    def operation(self) -> Literal["CREATE", "UPDATE", "DELETE"]: ...
    @property
    def obj(self) -> JsonObject: ...
    @property
    def actor(self) -> Actor: ...


def node_pod_refusal(request: Asked, nodes: Nodes) -> str:
    """Why a node may not do it; "" where it may."""
    name = node_of_user(request.actor.name)
    quoted = json.dumps(name)
    match request.operation:
        case "CREATE":
            return _not_a_mirror(request.obj, name, nodes)
        case "DELETE":
            own = str_at(request.obj, "spec", "nodeName") == name
            return "" if own else f"node {quoted} can only delete pods with spec.nodeName set to itself"
        case operation:
            said = json.dumps(operation)
            return f"unexpected operation {said}, node {quoted} can only create and delete mirror pods"


def _not_a_mirror(pod: JsonObject, name: str, nodes: Nodes) -> str:
    quoted = json.dumps(name)
    if CONFIG_MIRROR not in annotations_of(pod):
        return f'pod does not have "{CONFIG_MIRROR}" annotation, node {quoted} can only create mirror pods'
    if str_at(pod, "spec", "nodeName") != name:
        return f"node {quoted} can only create pods with spec.nodeName set to itself"
    owners = owners_of(pod)
    if len(owners) != 1:
        count = "a single" if owners else "an"
        return f"node {quoted} can only create pods with {count} owner reference set to itself"
    (owner,) = owners
    if (owner.api_version, owner.kind, owner.name) != ("v1", "Node", name):
        return f"node {quoted} can only create pods with an owner reference set to itself"
    if not owner.controller:
        return f"node {quoted} can only create pods with a controller owner reference set to itself"
    if owner.block_owner_deletion:
        return f"node {quoted} must not set blockOwnerDeletion on an owner reference"
    stored = nodes.read(Key("nodes", "", name))
    held = "" if stored is None else uid_of(nodes.obj(stored))
    if owner.uid != held:
        return f"node {quoted} UID mismatch: expected {json.dumps(held)} got {json.dumps(owner.uid)}"
    for _, noun in api_references(pod):
        return f"node {quoted} can not create pods that reference {noun}"
    return ""

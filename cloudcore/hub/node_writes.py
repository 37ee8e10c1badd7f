"""What a gateway's word makes of its Node and its pods: labels, annotations, status. Pure; keeps no data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from skerry.objects.commands import CAPABILITIES, CAPABILITY, INCARNATION
from skerry.objects.conditions import find_condition
from skerry.objects.ingresses import CAN_SERVE
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at
from skerry.objects.logs import LOGS
from skerry.objects.meta import with_annotations
from skerry.objects.names import node_may_label
from skerry.objects.rules import LOCAL_RULES, NO_BROKER

GATEWAY_READY: Final = "GatewayReady"
"""Node condition: what the gateway last said of itself. `Ready` is that, for as long as it is heard."""
_ASKED_FOR: Final = frozenset({CAPABILITY, LOGS, LOCAL_RULES, NO_BROKER, CAN_SERVE})
"""Of what agents say that they can, what the cloud may ask them for; what else they say is not kept."""
_WHILE_IT_LASTS: Final = frozenset({"PodResizePending", "PodResizeInProgress"})


def with_pod_status(pod: JsonObject, *, node: str, status: JsonObject, gone: bool = False) -> JsonObject:
    """The whole status as told, with the conditions that only the cloud writes (PodScheduled) kept. Those of a resize
    are there only while it lasts. Where nothing of a pod is left it is over: one that was deleted before it began has
    failed, as a kubelet tells it; who keeps it until it has ended (a Job, by a finalizer) would keep it for ever."""
    if str_at(pod, "spec", "nodeName") != node:
        return pod
    if gone and str_at(status, "phase") not in ("Succeeded", "Failed"):
        status = {**status, "phase": "Failed"}
    told = maps_at(status, "conditions")
    kept = [
        old
        for old in maps_at(pod, "status", "conditions")
        if find_condition(told, str_at(old, "type")) is None and str_at(old, "type") not in _WHILE_IT_LASTS
    ]
    return {**pod, "status": {**status, "conditions": [*kept, *told]}}


def with_labels(node: JsonObject, *, name: str, labels: JsonObject, said: Mapping[str, str]) -> JsonObject:
    """The labels as told, but for those that only the cloud gives: they decide which pods, and with them which
    Secrets, come to a node."""
    labels = {key: value for key, value in labels.items() if node_may_label(key)}
    if not node:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    held = map_at(node, "metadata", "labels")
    if not labels.items() <= held.items():
        node = {**node, "metadata": {**map_at(node, "metadata"), "labels": {**held, **labels}}}
    return with_annotations(node, said)


def gateway_annotations(incarnation: str, capabilities: Iterable[str]) -> Mapping[str, str]:
    """What commands are decided by: the life of the gateway's store, and what its agent can of what is asked for."""
    if not incarnation:
        return {}
    return {INCARNATION: incarnation, CAPABILITIES: ",".join(sorted(_ASKED_FOR & {*capabilities}))}


def with_node_status(node: JsonObject, *, status: JsonObject) -> JsonObject:
    """The whole status as told; what the gateway says of its readiness is also kept beside `Ready`."""
    conditions = maps_at(status, "conditions")
    ready = find_condition(conditions, "Ready")
    told: list[Json] = [*conditions]
    if ready is not None:
        told.append({**ready, "type": GATEWAY_READY})
    return {**node, "status": {**map_at(node, "status"), **status, "conditions": told}}

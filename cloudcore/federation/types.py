"""The kind that federates a type: what a FederatedTypeConfig asks for, as a CustomResourceDefinition.

Its shape is that which `kubefedctl enable` makes (v0.10): the template is the target without its name, and not
looked into, as members may be of another age. Fields of ours are in the status alone. Pure.
"""

from __future__ import annotations

from typing import Final

from skerry.objects.federation import FEDERATED_TYPE
from skerry.objects.json import Json, JsonObject, map_at, str_at
from skerry.objects.meta import name_of

_REPLICATED: Final = frozenset({"Deployment", "ReplicaSet", "StatefulSet", "ReplicationController"})
_ANYTHING: Final = "x-kubernetes-preserve-unknown-fields"

_STRING: Final[JsonObject] = {"type": "string"}
_TIME: Final[JsonObject] = {"type": "string", "format": "date-time"}
_INTEGER: Final[JsonObject] = {"type": "integer", "format": "int64"}


def definition_of(config: JsonObject) -> JsonObject:
    """Of a FederatedTypeConfig; the same one for the same config."""
    federated = map_at(config, "spec", "federatedType")
    plural, group, kind = (str_at(federated, field) for field in ("pluralName", "group", "kind"))
    columns: list[Json] = [
        _column("Propagated", "string", ".status.conditions[0].status"),
        _column("Members", "integer", ".status.counts.members"),
        _column("Current", "integer", ".status.counts.current"),
        _column("Unknown", "integer", ".status.counts.unknown"),
        _column("Rollout", "string", ".status.rollout.phase"),
        _column("Age", "date", ".metadata.creationTimestamp"),
    ]
    version: JsonObject = {
        "name": str_at(federated, "version"),
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": _schema(str_at(config, "spec", "targetType", "kind"))},
        "additionalPrinterColumns": columns,
    }
    names: JsonObject = {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": kind.lower(),
        "shortNames": _short_names(config),
        "categories": ["federated"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "labels": {FEDERATED_TYPE: name_of(config)[:63]}},
        "spec": {
            "group": group,
            "scope": str_at(federated, "scope"),
            "names": names,
            "versions": [version],
        },
    }


def _short_names(config: JsonObject) -> list[Json]:
    """As the chart of KubeFed gives them to the common ones."""
    short = {"deployments.apps": "fdeploy", "configmaps": "fcm", "services": "fsvc", "namespaces": "fns"}
    found = short.get(name_of(config))
    return [found] if found else []


def _column(name: str, type_: str, path: str) -> JsonObject:
    return {"name": name, "type": type_, "jsonPath": path}


def _schema(target_kind: str) -> JsonObject:
    spec: JsonObject = {
        "placement": _placement(),
        "overrides": _list(_overrides()),
        "template": {"type": "object", _ANYTHING: True},
    }
    if target_kind in _REPLICATED:
        spec["retainReplicas"] = {"type": "boolean"}
    return _needing(_object(spec=_object(**spec), status=_status()), "spec")


def _placement() -> JsonObject:
    expression = _needing(_object(key=_STRING, operator=_STRING, values=_list(_STRING)), "key", "operator")
    selector = _object(
        matchExpressions=_list(expression),
        matchLabels={"type": "object", "additionalProperties": {"type": "string"}},
    )
    named = _needing(_object(name=_STRING), "name")
    return _object(clusters=_list(named), clusterSelector=selector)


def _overrides() -> JsonObject:
    step: JsonObject = _object(
        op={"type": "string", "pattern": "^(add|remove|replace)?$"},
        path=_STRING,
        value={_ANYTHING: True},
    )
    return _object(clusterName=_STRING, clusterOverrides=_list(_needing(step, "path")))


def _status() -> JsonObject:
    condition = _object(type=_STRING, status=_STRING, reason=_STRING, lastUpdateTime=_TIME, lastTransitionTime=_TIME)
    cluster = _object(
        name=_STRING,
        status=_STRING,
        generation=_INTEGER,
        remoteStatus={"type": "object", _ANYTHING: True},
        observedAt=_TIME,
        message=_STRING,
        drift=_list({"type": "object", _ANYTHING: True}),
    )
    counts = _object(members=_INTEGER, current=_INTEGER, unknown=_INTEGER, failing=_INTEGER, cleanup=_INTEGER)
    rollout = _object(
        policy=_STRING,
        revision=_INTEGER,
        phase=_STRING,
        wave=_STRING,
        message=_STRING,
        members=_INTEGER,
        updated=_INTEGER,
    )
    return _object(
        conditions=_list(_needing(condition, "type", "status")),
        clusters=_list(_needing(cluster, "name")),
        observedGeneration=_INTEGER,
        counts=counts,
        rollout=rollout,
        message=_STRING,
    )


def _object(**properties: Json) -> JsonObject:
    return {"type": "object", "properties": {**properties}}


def _list(items: JsonObject) -> JsonObject:
    return {"type": "array", "items": items}


def _needing(schema: JsonObject, *fields: str) -> JsonObject:
    return {**schema, "required": [*fields]}

"""A Gslb of k8gb's older group that is to move to the newer one, by the label with which k8gb does it. Pure.

The newer one has its name, refers to what was embedded, and has its DNSEndpoint; the older stays as a record that
nothing is made of, and takes nothing along when it is deleted. Who has moved is labelled.
"""

from __future__ import annotations

from typing import Final

from cloudcore.controllers.gslb.exposed import owner_of
from skerry.objects.gslb import GSLBS, K8GB, embedded_ingress
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import Key, annotations_of, labels_of, name_of, namespace_of, uid_of

REQUESTED: Final = "k8gb.io/migration-requested"
MIGRATED: Final = "k8gb.io/migrated-to-k8gb-io"
_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


def is_asked(key: Key, gslb: JsonObject) -> bool:
    return key.resource == GSLBS[1] and labels_of(gslb).get(REQUESTED) == "true"


def has_moved(key: Key, gslb: JsonObject) -> bool:
    """Nothing is made of it any more."""
    return key.resource == GSLBS[1] and labels_of(gslb).get(MIGRATED) == "true"


def successor_of(gslb: JsonObject) -> JsonObject:
    """The one of the newer group."""
    labels: JsonObject = {name: value for name, value in labels_of(gslb).items() if name not in (REQUESTED, MIGRATED)}
    annotations: JsonObject = {name: value for name, value in annotations_of(gslb).items() if name != _APPLIED}
    meta: JsonObject = {"name": name_of(gslb), "namespace": namespace_of(gslb)}
    meta |= {name: value for name, value in (("labels", labels), ("annotations", annotations)) if value}
    spec = {name: value for name, value in map_at(gslb, "spec").items() if name != "ingress"}
    if map_at(gslb, "spec", "ingress"):
        spec["resourceRef"] = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": name_of(gslb)}
    return {"apiVersion": f"{K8GB}/v1beta1", "kind": "Gslb", "metadata": meta, "spec": spec}


def ingress_left_by(gslb: JsonObject) -> JsonObject | None:
    """What was embedded, as nobody's; None where nothing was."""
    return embedded_ingress(gslb) if map_at(gslb, "spec", "ingress") else None


def labelled(gslb: JsonObject) -> JsonObject:
    meta = map_at(gslb, "metadata")
    labels: JsonObject = {**labels_of(gslb), MIGRATED: "true"}
    return gslb if has_moved(Key(GSLBS[1], "", ""), gslb) else {**gslb, "metadata": {**meta, "labels": labels}}


def given_up(obj: JsonObject, before: JsonObject, after: JsonObject | None) -> JsonObject:
    """What the older one owned, as the newer's, or as nobody's; the same object where it was not the older's."""
    meta = map_at(obj, "metadata")
    owners: list[Json] = [each for each in maps_at(meta, "ownerReferences") if str_at(each, "uid") != uid_of(before)]
    if len(owners) == len(maps_at(meta, "ownerReferences")):
        return obj
    if after is not None:
        owners.append(owner_of(after))
    kept = {name: value for name, value in meta.items() if name != "ownerReferences"}
    return {**obj, "metadata": {**kept, "ownerReferences": owners} if owners else kept}

"""A Gslb of an Ingress, or of a Service of type LoadBalancer, that is annotated `k8gb.io/strategy`: k8gb makes one,
and so do we. Pure.

It has the name of what is annotated, refers to it and goes with it. Weights are no annotation: who has written some
into it keeps them. One of that name that is not its own is somebody's, and is let be.
"""

from __future__ import annotations

from typing import Final

from skerry.errors import InvalidError
from skerry.objects.gslb import EXPOSED, HOSTNAME, PROBE, STRATEGIES, TTL_DEFAULT_S
from skerry.objects.ingresses import INGRESSES
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import Key, annotations_of, name_of, namespace_of, uid_of

STRATEGY: Final = "k8gb.io/strategy"
PRIMARY: Final = "k8gb.io/primary-geotag"
TTL: Final = "k8gb.io/dns-ttl-seconds"
ANNOTATED: Final = {INGRESSES: "networking.k8s.io/v1 Ingress", "services": "v1 Service"}
"""By resource: version and kind of what may be annotated."""
KEPT: Final = (*EXPOSED, PROBE, *HOSTNAME)
"""Annotations that go along."""
ANNOTATIONS: Final = (STRATEGY, PRIMARY, TTL, *KEPT)
TTL_MAX_S: Final = 604_800
_DIGITS_MAX: Final = 20
"""Python refuses to read numbers of thousands of them."""


def asks(key: Key, obj: JsonObject) -> bool:
    """Whether there is to be a Gslb of it: annotated, and not itself made for one."""
    made = any(str_at(each, "kind") == "Gslb" for each in maps_at(obj, "metadata", "ownerReferences"))
    reached = key.resource == INGRESSES or str_at(obj, "spec", "type") == "LoadBalancer"
    return STRATEGY in annotations_of(obj) and reached and not made


def is_of(gslb: JsonObject, annotated: JsonObject) -> bool:
    return any(str_at(each, "uid") == uid_of(annotated) for each in maps_at(gslb, "metadata", "ownerReferences"))


def gslb_of(key: Key, annotated: JsonObject, before: JsonObject | None) -> JsonObject:
    """`before` is the one that there is. Raises `InvalidError` that names the annotation."""
    said = annotations_of(annotated)
    version, _, word = ANNOTATED[key.resource].partition(" ")
    if key.resource != INGRESSES and not any(said.get(name) for name in HOSTNAME):
        raise InvalidError(
            f"annotation {HOSTNAME[0]}: the name that DNS answers for is wanted, as a Service has none"
        )
    kind, primary, ttl = said[STRATEGY], said.get(PRIMARY, ""), said.get(TTL, str(TTL_DEFAULT_S))
    if kind not in STRATEGIES:
        raise InvalidError(f"annotation {STRATEGY}: {kind!r} is not one of {', '.join(STRATEGIES)}")
    if kind == "failover" and not primary:
        raise InvalidError(f"annotation {PRIMARY}: the region that failover begins with is wanted")
    if not ttl.isascii() or not ttl.isdigit() or len(ttl) > _DIGITS_MAX or int(ttl) > TTL_MAX_S:
        shown = ttl if len(ttl) <= _DIGITS_MAX else f"{ttl[:_DIGITS_MAX]}…"
        raise InvalidError(f"annotation {TTL}: {shown!r} is no number of seconds up to {TTL_MAX_S}")
    strategy: JsonObject = {"type": kind, "dnsTtlSeconds": int(ttl)}
    if primary:
        strategy["primaryGeoTag"] = primary
    if weights := map_at(before, "spec", "strategy", "weight") if before is not None else {}:
        strategy["weight"] = weights
    owner: JsonObject = {
        "apiVersion": version,
        "kind": word,
        "name": name_of(annotated),
        "uid": uid_of(annotated),
        "controller": True,
        "blockOwnerDeletion": True,
    }
    meta: JsonObject = {"name": name_of(annotated), "namespace": namespace_of(annotated), "ownerReferences": [owner]}
    if kept := {name: said[name] for name in KEPT if name in said}:
        meta["annotations"] = {**kept}
    reference: JsonObject = {"apiVersion": version, "kind": word, "name": name_of(annotated)}
    spec: JsonObject = {"resourceRef": reference, "strategy": strategy}
    return {"apiVersion": "k8gb.io/v1beta1", "kind": "Gslb", "metadata": meta, "spec": spec}


def brought(current: JsonObject, wanted: JsonObject) -> JsonObject:
    """What there is, with what is wanted; the same object where nothing is another."""
    meta, new = map_at(current, "metadata"), map_at(wanted, "metadata")
    others = {name: value for name, value in annotations_of(current).items() if name not in KEPT}
    annotations: JsonObject = {**others, **map_at(new, "annotations")}
    health = map_at(current, "spec").get("serviceHealthPolicy")
    spec: JsonObject = {**map_at(wanted, "spec"), **({"serviceHealthPolicy": health} if health else {})}
    if map_at(current, "spec") == spec and map_at(meta, "annotations") == annotations:
        return current
    return {**current, "metadata": {**meta, "annotations": annotations}, "spec": spec}

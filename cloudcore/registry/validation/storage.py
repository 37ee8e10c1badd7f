"""What volumes, claims and storage classes may say (`pkg/apis/{core,storage}/validation`). Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from skerry.errors import BadRequestError, Cause
from skerry.objects.json import Json, JsonObject, list_at, map_at, maps_at, str_at, strs_at
from skerry.objects.names import label_key_faults, qualified_name_faults, subdomain_faults
from skerry.objects.select import node_selector
from skerry.objects.volumes import LOCAL, waits_for_consumer
from skerry.validation.claims import VOLUME_MODES, access_modes, positive, quantity_of, validate_claim_spec
from skerry.validation.faults import forbidden, immutable, invalid, named, one_of, required, unsupported

_RECLAIM: Final = ("Delete", "Recycle", "Retain")
_CLASS_RECLAIM: Final = ("Delete", "Retain")
_BINDING: Final = ("Immediate", "WaitForFirstConsumer")
_SOURCES: Final = frozenset(
    (
        "awsElasticBlockStore",
        "azureDisk",
        "azureFile",
        "cephfs",
        "cinder",
        "csi",
        "fc",
        "flexVolume",
        "flocker",
        "gcePersistentDisk",
        "glusterfs",
        "hostPath",
        "iscsi",
        "local",
        "nfs",
        "photonPersistentDisk",
        "portworxVolume",
        "quobyte",
        "rbd",
        "scaleIO",
        "storageos",
        "vsphereVolume",
    )
)
_CLAIM_FIXED: Final = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


# --- volumes -----------------------------------------------------------------------------------------------------


def validate_volume(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    """The faults of a PersistentVolume."""
    spec = map_at(obj, "spec")
    yield from _capacity(map_at(spec, "capacity"))
    yield from access_modes("spec.accessModes", spec, needed="")
    policy = str_at(spec, "persistentVolumeReclaimPolicy")
    yield from one_of("spec.persistentVolumeReclaimPolicy", policy, _RECLAIM, needed=False)
    yield from _affinity(map_at(spec, "nodeAffinity"))
    sources = sorted(_SOURCES & spec.keys())
    if not sources:
        yield required("spec", "must specify a volume type")
    for extra in sources[1:]:
        yield forbidden(f"spec.{extra}", "may not specify more than 1 volume type")
    for source in sources[:1]:
        yield from _source(source, map_at(spec, source), spec)
    yield from named("spec.storageClassName", str_at(spec, "storageClassName"), subdomain_faults, needed=False)
    yield from one_of("spec.volumeMode", str_at(spec, "volumeMode"), VOLUME_MODES, needed=False)
    if old is not None:
        yield from _volume_stays(spec, map_at(old, "spec"))


def _capacity(capacity: JsonObject) -> Iterator[Cause]:
    if not capacity:
        yield required("spec.capacity")
    elif capacity.keys() != {"storage"}:
        yield unsupported("spec.capacity", capacity, ("storage",))
    else:
        yield from positive("spec.capacity[storage]", capacity["storage"])


def _source(kind: str, source: JsonObject, spec: JsonObject) -> Iterator[Cause]:
    field = f"spec.{kind}"
    if kind in ("hostPath", "local"):
        path = str_at(source, "path")
        if not path:
            yield required(f"{field}.path")
        if ".." in path.split("/"):
            yield invalid(f"{field}.path", path, "must not contain '..'")
    if kind == "local" and not map_at(spec, "nodeAffinity", "required"):
        yield required("spec.nodeAffinity", "Local volume requires node affinity")
    if kind == "csi":
        yield from named(f"{field}.driver", str_at(source, "driver"), qualified_name_faults)
        if not str_at(source, "volumeHandle"):
            yield required(f"{field}.volumeHandle")
    recycled = str_at(spec, "persistentVolumeReclaimPolicy") == "Recycle"
    if kind == "hostPath" and recycled and not str_at(source, "path").strip("/"):
        yield forbidden("spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'")


def _affinity(affinity: JsonObject) -> Iterator[Cause]:
    if not affinity:
        return
    field = "spec.nodeAffinity.required"
    if not map_at(affinity, "required"):
        yield required(field, "must specify required node constraints")
        return
    terms = f"{field}.nodeSelectorTerms"
    if not maps_at(affinity, "required", "nodeSelectorTerms"):
        yield required(terms, "must have at least one node selector term")
    try:
        node_selector(map_at(affinity, "required"))
    except BadRequestError as error:
        yield invalid(terms, list_at(affinity, "required", "nodeSelectorTerms"), str(error))


def _volume_stays(spec: JsonObject, before: JsonObject) -> Iterator[Cause]:
    sources = {name: spec.get(name) for name in _SOURCES & (spec.keys() | before.keys())}
    if any(value != before.get(name) for name, value in sources.items()):
        yield forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
    yield from immutable("spec.volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    if before.get("nodeAffinity"):
        yield from immutable("spec.nodeAffinity", spec.get("nodeAffinity"), before.get("nodeAffinity"))


# --- claims ------------------------------------------------------------------------------------------------------


def validate_claim(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    """The faults of a PersistentVolumeClaim."""
    yield from validate_claim_spec("spec", map_at(obj, "spec"))
    if old is not None:
        yield from _claim_stays(obj, old)


def _claim_stays(obj: JsonObject, old: JsonObject) -> Iterator[Cause]:
    spec, before = map_at(obj, "spec"), map_at(old, "spec")
    free = {"volumeAttributesClassName"}
    if not str_at(before, "volumeName"):
        free.add("volumeName")  # said once
        if "storageClassName" not in before:
            free.add("storageClassName")
    bound = str_at(old, "status", "phase") == "Bound"
    if _fixed(spec, free, size_free=bound) != _fixed(before, free, size_free=bound):
        yield forbidden("spec", _CLAIM_FIXED)
    size, floor = quantity_of(_size(spec)), quantity_of(map_at(old, "status", "capacity").get("storage"))
    if bound and size is not None and floor is not None and size < floor:
        yield forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")


def _size(spec: JsonObject) -> Json:
    return map_at(spec, "resources", "requests").get("storage")


def _fixed(spec: JsonObject, free: set[str], *, size_free: bool) -> str:
    """What of a claim may not change, to compare."""
    rest = {name: value for name, value in spec.items() if name not in free}
    if size_free:
        resources = dict(map_at(rest, "resources"))
        resources["requests"] = {k: v for k, v in map_at(resources, "requests").items() if k != "storage"}
        rest["resources"] = resources
    return json.dumps(rest, sort_keys=True)


# --- classes -----------------------------------------------------------------------------------------------------


def validate_storage_class(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    """The faults of a StorageClass."""
    provisioner = str_at(obj, "provisioner")
    yield from named("provisioner", provisioner.lower(), qualified_name_faults)
    yield from one_of("reclaimPolicy", str_at(obj, "reclaimPolicy"), _CLASS_RECLAIM, needed=False)
    binding = str_at(obj, "volumeBindingMode")
    yield from one_of("volumeBindingMode", binding, _BINDING, needed=False)
    if provisioner == LOCAL and binding in _BINDING and not waits_for_consumer(obj):
        why = f"must be WaitForFirstConsumer for {LOCAL}: which gateway has the directory follows from the pod"
        yield invalid("volumeBindingMode", binding, why)
    for index, term in enumerate(maps_at(obj, "allowedTopologies")):
        for number, asked in enumerate(maps_at(term, "matchLabelExpressions")):
            here = f"allowedTopologies[{index}].matchLabelExpressions[{number}]"
            yield from named(f"{here}.key", str_at(asked, "key"), label_key_faults)
            if not strs_at(asked, "values"):
                yield required(f"{here}.values")
    if old is not None:
        for name in ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"):
            if obj.get(name) != old.get(name):
                yield forbidden(name, f"updates to {name} are forbidden.")

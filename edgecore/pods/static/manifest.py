"""A static pod from what its file says: read, completed, checked, and named after the gateway. Pure.

As a kubelet does it (`pkg/kubelet/config/{file,common}.go`): the name ends in the node's, the uid is a hash of the
content, so that another content is another pod; it tolerates whatever would evict it. It names nothing of the API
(no ServiceAccount, Secret, ConfigMap or claim): a pod that has to start without the cloud can't wait for these.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

from edgecore.pods.static.shape import Structs, Walk
from skerry.errors import BadRequestError, Cause, InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, clone, ensure_map, list_at, map_at, maps_at, read_json, str_at
from skerry.objects.meta import Key, name_of, namespace_of
from skerry.objects.mirror_pods import CONFIG_HASH, CONFIG_MIRROR, CONFIG_SEEN, CONFIG_SOURCE, FILE, api_references
from skerry.objects.pod_defaults import default_pod
from skerry.objects.pod_leases import MARKS
from skerry.objects.scheme import Kind
from skerry.objects.times import time_text

PODS: Final = "pods"
POD: Final = Kind(group="", version="v1", kind="Pod", plural=PODS, namespaced=True)
FILE_BYTES_MAX: Final = 1 << 20
_KEPT: Final = ("name", "namespace", "labels", "annotations")
"""Of its metadata; a uid of its own would hide that the content has changed."""
_UID_LENGTH: Final = 32
_FAULTS_MAX: Final = 5
_TOLERATED: Final[JsonObject] = {"operator": "Exists", "effect": "NoExecute"}


class Place(Frozen):
    """Where a file is."""

    node: str
    path: str
    """Of the file, as people know it."""
    seen_ms: int


class StaticPod(Frozen):
    """One that is to run."""

    file: str
    """Its name in the directory."""
    key: Key
    uid: str
    pod: JsonObject
    """Not to be changed."""
    unknown: tuple[str, ...] = ()
    """Fields of the file that are not known, and count for nothing."""


def read_static_pod(file: str, data: bytes, place: Place, known: Structs) -> StaticPod:
    """Raises `InvalidError` that names the field, without the file."""
    walk = Walk(known)
    said = _document(data)
    for field, wanted in (("apiVersion", "v1"), ("kind", "Pod")):
        if said.get(field) != wanted:
            raise InvalidError(f"{field}: {json.dumps(said.get(field))} is there, and a static pod has {wanted}")
    pod = walk.pod(said)
    uid = _hash(pod, place)
    name = f"{str_at(pod, 'metadata', 'name')}-{place.node}".lower()
    if name.startswith("-"):
        raise InvalidError("metadata.name: Required value")
    pod = _named(pod, name, uid, place)
    default_pod(pod)
    _tolerate_all(map_at(pod, "spec"))
    _check(pod)
    key = Key(PODS, namespace_of(pod), name_of(pod))
    marks = [name for name in map_at(said, "metadata", "annotations") if name in MARKS]
    left_out = [f"metadata.annotations[{name}] (nobody lends static pods)" for name in sorted(marks)]
    return StaticPod(file=file, key=key, uid=uid, pod=pod, unknown=(*walk.unknown, *left_out))


def _document(data: bytes) -> JsonObject:
    """The one document of the file."""
    from skerry.objects.yaml_reader import read_documents  # a heavy import for those who have static pods

    if len(data) > FILE_BYTES_MAX:
        raise InvalidError(f"the file has {len(data)} bytes, and at most {FILE_BYTES_MAX} are read")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidError("the file is not UTF-8 text") from error
    if text.lstrip().startswith("{"):
        documents = [read_json(text, "the file")]
    else:
        try:
            documents = [each for each in read_documents(text) if each is not None]
        except BadRequestError as error:
            raise InvalidError(" ".join(str(error).split())) from error
    if not documents:
        raise InvalidError("the file is empty: write one Pod")
    if len(documents) > 1:
        raise InvalidError(f"the file has {len(documents)} documents: write one Pod a file")
    if not isinstance(documents[0], dict):
        raise InvalidError("the file is no object: write one Pod")
    return documents[0]


def _hash(pod: JsonObject, place: Place) -> str:
    """Of what it says and where, before anything is filled in: an agent with other defaults restarts nothing."""
    text = json.dumps(pod, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{text}\nhost:{place.node}\nfile:{place.path}".encode()).hexdigest()[:_UID_LENGTH]


def _named(pod: JsonObject, name: str, uid: str, place: Place) -> JsonObject:
    metadata: JsonObject = {field: each for field, each in map_at(pod, "metadata").items() if field in _KEPT}
    not_its = {CONFIG_MIRROR, *MARKS}
    annotations = {each: text for each, text in map_at(metadata, "annotations").items() if each not in not_its}
    annotations |= {CONFIG_HASH: uid, CONFIG_SOURCE: FILE, CONFIG_SEEN: time_text(place.seen_ms)}
    metadata |= {
        "name": name,
        "namespace": str_at(metadata, "namespace") or "default",
        "uid": uid,
        "creationTimestamp": time_text(place.seen_ms),
        "annotations": annotations,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {**clone(map_at(pod, "spec")), "nodeName": place.node},
    }


def _tolerate_all(spec: JsonObject) -> None:
    held: list[Json] = list_at(spec, "tolerations")
    if _TOLERATED not in held:
        spec["tolerations"] = [*held, dict(_TOLERATED)]


def _check(pod: JsonObject) -> None:
    from skerry.validation.metadata import validate_metadata  # for those who have static pods
    from skerry.validation.pods import validate_pod

    causes = [*validate_metadata(POD, pod, None), *validate_pod(pod, new=False)]
    causes += [
        Cause(field=field, reason="FieldValueForbidden", message=f"Forbidden: a static pod may not name {noun}")
        for field, noun in api_references(pod)
    ]
    if maps_at(pod, "spec", "ephemeralContainers"):
        text = "Forbidden: a static pod has none"
        causes.append(Cause(field="spec.ephemeralContainers", reason="FieldValueForbidden", message=text))
    if causes:
        told = [f"{cause.field}: {cause.message}" for cause in causes[:_FAULTS_MAX]]
        if len(causes) > _FAULTS_MAX:
            told.append(f"and {len(causes) - _FAULTS_MAX} more")
        raise InvalidError("; ".join(told), causes)


def encode_kept(pods: list[StaticPod]) -> JsonObject:
    """As they are remembered, by file."""
    rows: list[Json] = [{"file": each.file, "pod": each.pod, "unknown": [*each.unknown]} for each in pods]
    return {"pods": rows}


def decode_kept(kept: JsonObject, node: str) -> dict[str, StaticPod]:
    """By file; none of another node."""
    found: dict[str, StaticPod] = {}
    for row in maps_at(kept, "pods"):
        pod = ensure_map(row, "pod")
        if str_at(pod, "spec", "nodeName") == node and str_at(pod, "metadata", "uid"):
            file = str_at(row, "file")
            found[file] = StaticPod(
                file=file,
                key=Key(PODS, namespace_of(pod), name_of(pod)),
                uid=str_at(pod, "metadata", "uid"),
                pod=pod,
                unknown=tuple(each for each in list_at(row, "unknown") if isinstance(each, str)),
            )
    return found

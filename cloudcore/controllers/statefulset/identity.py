"""Who the pod of an ordinal is: its name, labels, host name, and the claims that are its own. Pure.

Names are those of Kubernetes (`pkg/controller/statefulset/stateful_set_utils.go`): clients, Services and volumes rely
on them. Keeps nothing.
"""

from __future__ import annotations

from typing import Final

from cloudcore.controllers.history.revisions import HASH
from cloudcore.controllers.pod_templates import templated_pod
from skerry.objects.json import Json, JsonObject, list_at, map_at, maps_at, str_at, str_map_at
from skerry.objects.meta import labels_of, name_of, namespace_of

POD_NAME: Final = "statefulset.kubernetes.io/pod-name"
POD_INDEX: Final = "apps.kubernetes.io/pod-index"
_DIGITS_MAX: Final = 10


def pod_name(owner: JsonObject, ordinal: int) -> str:
    return f"{name_of(owner)}-{ordinal}"


def ordinal_of(owner: JsonObject, name: str) -> int | None:
    """The ordinal of a pod of that name, if the name is one of the owner's."""
    parent, dash, digits = name.rpartition("-")
    if not dash or parent != name_of(owner) or not digits.isascii() or not digits.isdecimal():
        return None
    if len(digits) > _DIGITS_MAX or digits != str(int(digits)):
        # `db-00` is no name of the set's: taken for its first, it would stand in that one's way.
        return None
    return int(digits)


def new_pod(owner: JsonObject, ordinal: int, *, template: JsonObject, revision: str) -> JsonObject:
    """The pod of an ordinal, of the template of that revision, as sent to the API."""
    pod = templated_pod(owner, template)
    metadata: JsonObject = {**map_at(pod, "metadata"), "name": pod_name(owner, ordinal)}
    metadata.pop("generateName")
    metadata["labels"] = {**labels_of(pod), **identity_labels(owner, ordinal), HASH: revision}
    spec: JsonObject = {**map_at(pod, "spec"), "hostname": pod_name(owner, ordinal)}
    service = str_at(owner, "spec", "serviceName")
    if service:
        spec["subdomain"] = service
    volumes = _volumes(owner, ordinal, list_at(spec, "volumes"))
    if volumes:
        spec["volumes"] = volumes
    return {**pod, "metadata": metadata, "spec": spec}


def identity_labels(owner: JsonObject, ordinal: int) -> dict[str, str]:
    return {POD_NAME: pod_name(owner, ordinal), POD_INDEX: str(ordinal)}


def _volumes(owner: JsonObject, ordinal: int, volumes: list[Json]) -> list[Json]:
    """A volume for each claim; it takes the place of one of the template's that has its name."""
    claims: list[Json] = [
        {"name": template, "persistentVolumeClaim": {"claimName": claim, "readOnly": False}}
        for template, claim in claim_names(owner, ordinal).items()
    ]
    named = claim_names(owner, ordinal)
    return [*claims, *(each for each in volumes if str_at(each, "name") not in named)]


def claim_names(owner: JsonObject, ordinal: int) -> dict[str, str]:
    """The claims of an ordinal, by the names of their templates."""
    templates = [name_of(each) for each in maps_at(owner, "spec", "volumeClaimTemplates")]
    return {template: f"{template}-{pod_name(owner, ordinal)}" for template in templates}


def new_claims(owner: JsonObject, ordinal: int) -> list[JsonObject]:
    """The claims of an ordinal, as sent to the API."""
    names = claim_names(owner, ordinal)
    chosen = str_map_at(owner, "spec", "selector", "matchLabels")
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                **map_at(template, "metadata"),
                "name": names[name_of(template)],
                "namespace": namespace_of(owner),
                "labels": {**labels_of(template), **chosen},
            },
            "spec": map_at(template, "spec"),
        }
        for template in maps_at(owner, "spec", "volumeClaimTemplates")
    ]

"""Identity of objects: what every part of Skerry means by "this object, in this state"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NewType

from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, int_at, map_at, maps_at, str_at, str_map_at

NodeName = NewType("NodeName", str)
Revision = NewType("Revision", int)
"""A position in the cloud's log. The API's opaque `resourceVersion` string is its decimal form."""


class Key(Frozen, kw_only=False, order=True):
    """Which object. `resource` is Kubernetes' group-resource form: `pods`, `deployments.apps`.

    `namespace` is "" for cluster-scoped kinds.
    """

    resource: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """For people and logs; never parsed."""
        place = f"{self.namespace}/" if self.namespace else ""
        return f"{self.resource} {place}{self.name}"


class Stamp(Frozen, kw_only=False, order=True):
    """Which state of which life of an object: a re-created object has another uid."""

    uid: str
    revision: Revision


class OwnerReference(Frozen):
    """metav1.OwnerReference, parsed."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool
    block_owner_deletion: bool


def name_of(obj: JsonObject) -> str:
    return str_at(obj, "metadata", "name")


def namespace_of(obj: JsonObject) -> str:
    return str_at(obj, "metadata", "namespace")


def uid_of(obj: JsonObject) -> str:
    return str_at(obj, "metadata", "uid")


def labels_of(obj: JsonObject) -> dict[str, str]:
    return str_map_at(obj, "metadata", "labels")


def annotations_of(obj: JsonObject) -> dict[str, str]:
    return str_map_at(obj, "metadata", "annotations")


def generation_of(obj: JsonObject) -> int:
    return int_at(obj, "metadata", "generation")


def revision_of(obj: JsonObject) -> Revision:
    """The object's revision; 0 for an object that was never stored."""
    text = str_at(obj, "metadata", "resourceVersion")
    return Revision(int(text)) if text.isdecimal() else Revision(0)


def being_deleted(obj: JsonObject) -> bool:
    return bool(str_at(obj, "metadata", "deletionTimestamp"))


def owners_of(obj: JsonObject) -> list[OwnerReference]:
    return [
        OwnerReference(
            api_version=str_at(ref, "apiVersion"),
            kind=str_at(ref, "kind"),
            name=str_at(ref, "name"),
            uid=str_at(ref, "uid"),
            controller=ref.get("controller") is True,
            block_owner_deletion=ref.get("blockOwnerDeletion") is True,
        )
        for ref in maps_at(obj, "metadata", "ownerReferences")
    ]


def controller_of(obj: JsonObject) -> OwnerReference | None:
    """The one owner that manages this object, if any."""
    return next((owner for owner in owners_of(obj) if owner.controller), None)


def with_annotations(obj: JsonObject, said: Mapping[str, str]) -> JsonObject:
    """The object with these annotations; itself where they are no news."""
    held = map_at(obj, "metadata", "annotations")
    if said.items() <= held.items():
        return obj
    return {**obj, "metadata": {**map_at(obj, "metadata"), "annotations": {**held, **said}}}

"""Who manages what: owner references, and claiming by selector as every Kubernetes workload controller does. Pure.

An owner keeps what it controls as long as its selector matches, lets go of the rest, and adopts matching objects
that nobody controls. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, dig, list_at, map_at, maps_at, str_at, str_map_at
from skerry.objects.meta import being_deleted, controller_of, name_of, uid_of
from skerry.objects.select import LabelSelector, label_selector, map_selector


def selector_of(owner: JsonObject) -> LabelSelector:
    """By what a workload knows its own: a LabelSelector, or a ReplicationController's map of labels.

    Raises `BadRequestError` where there is none, or none that can be read, as in what was stored before anybody
    checked it: such an owner can neither take nor make nor let go of anything.
    """
    selector = dig(owner, "spec", "selector")
    if not isinstance(selector, dict):
        raise BadRequestError("spec.selector: Required value")
    if str_at(owner, "kind") != "ReplicationController":
        return label_selector(selector)
    labels = str_map_at(owner, "spec", "selector")
    if not labels:
        raise BadRequestError("spec.selector: Required value")
    return map_selector(labels)


def selects(owner: JsonObject, obj: JsonObject) -> bool:
    """Whether the object is one that the owner might take, by its labels; of one without a selector none is."""
    try:
        return selector_of(owner).selects(obj)
    except BadRequestError:
        return False


class Claims(Frozen):
    """The outcome of claiming. `mine` are those already controlled; adopted ones become it by a write."""

    mine: tuple[JsonObject, ...]
    adopt: tuple[JsonObject, ...]
    release: tuple[JsonObject, ...]


Fits = Callable[[JsonObject], bool]
"""Whether an object is one that the owner could have made, by more than its labels."""


def claim(
    owner: JsonObject, selector: LabelSelector, candidates: Iterable[JsonObject], fits: Fits | None = None
) -> Claims:
    """Sort out which of the candidates belong to the owner. An owner that is being deleted adopts nothing."""

    def is_own(candidate: JsonObject) -> bool:
        return selector.selects(candidate) and (fits is None or fits(candidate))

    mine: list[JsonObject] = []
    adopt: list[JsonObject] = []
    release: list[JsonObject] = []
    leaving = being_deleted(owner)
    for candidate in candidates:
        controller = controller_of(candidate)
        if controller is not None:
            if controller.uid != uid_of(owner):
                continue
            if is_own(candidate):
                mine.append(candidate)
            elif not leaving:
                release.append(candidate)
        elif not leaving and not being_deleted(candidate) and is_own(candidate):
            adopt.append(candidate)
    return Claims(mine=tuple(mine), adopt=tuple(adopt), release=tuple(release))


def controller_reference(owner: JsonObject) -> JsonObject:
    """metav1.OwnerReference by which `owner` manages an object, and is kept while that exists (foreground)."""
    return {
        "apiVersion": str_at(owner, "apiVersion"),
        "kind": str_at(owner, "kind"),
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def adopted_by(owner: JsonObject, uid: str, *, finalizer: str = "") -> Callable[[JsonObject], JsonObject]:
    """A transform that makes `owner` the controller of the object `uid`, if it is still that and still free, and
    gives it the finalizer."""

    def transform(obj: JsonObject) -> JsonObject:
        if uid_of(obj) != uid or controller_of(obj) is not None or being_deleted(obj):
            return obj
        references: list[Json] = [*maps_at(obj, "metadata", "ownerReferences"), controller_reference(owner)]
        adopted = with_metadata(obj, ownerReferences=references)
        return with_finalizer(adopted, finalizer) if finalizer else adopted

    return transform


def released_by(owner: JsonObject, *, finalizer: str = "") -> Callable[[JsonObject], JsonObject]:
    """A transform that takes `owner` out of an object's owners, and the finalizer away."""

    def transform(obj: JsonObject) -> JsonObject:
        references: list[Json] = [
            found for found in maps_at(obj, "metadata", "ownerReferences") if str_at(found, "uid") != uid_of(owner)
        ]
        finalizers = [found for found in list_at(obj, "metadata", "finalizers") if found != finalizer]
        return with_metadata(obj, ownerReferences=references, finalizers=finalizers)

    return transform


def with_finalizer(obj: JsonObject, finalizer: str) -> JsonObject:
    """The object kept by the finalizer; itself where it is, or is going, to which none may be added."""
    finalizers = list_at(obj, "metadata", "finalizers")
    if finalizer in finalizers or being_deleted(obj):
        return obj
    return with_metadata(obj, finalizers=[*finalizers, finalizer])


def with_metadata(obj: JsonObject, **fields: Json) -> JsonObject:
    """The object with these metadata fields; an empty list or map removes the field."""
    metadata: JsonObject = dict(map_at(obj, "metadata"))
    for name, value in fields.items():
        if value in ([], {}, None):
            metadata.pop(name, None)
        else:
            metadata[name] = value
    return {**obj, "metadata": metadata}

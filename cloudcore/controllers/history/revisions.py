"""Which revision the present template of a DaemonSet or StatefulSet is, and which old ones may go. Pure.

A revision's data is the patch that makes the template what it was: what `kubectl rollout undo` sends back, byte for
byte (keys sorted, as Go writes maps). Rules are those of Kubernetes (`pkg/controller/history`,
`pkg/controller/daemon/update.go`). Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from cloudcore.controllers.ownership import controller_reference
from cloudcore.controllers.pod_templates import template_hash
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, int_at, map_at, str_at
from skerry.objects.meta import annotations_of, labels_of, name_of, namespace_of, uid_of
from skerry.objects.times import ms_at

HASH: Final = "controller-revision-hash"
"""Label of pods: the revision that they are of."""
REVISION_HASH: Final = "controller.kubernetes.io/hash"
"""Label of the revisions of StatefulSets."""
_NAME_LENGTH_MAX: Final = 223


class Revision(Frozen):
    """One ControllerRevision."""

    name: str
    uid: str
    number: int
    """Counts up; the greatest is the newest."""
    created_ms: int
    labels: tuple[tuple[str, str], ...]
    data: JsonObject
    obj: JsonObject

    @property
    def hash(self) -> str:
        """As pods of a DaemonSet carry it."""
        return dict(self.labels).get(HASH, "")

    @property
    def age(self) -> tuple[int, int, str]:
        """Sorts oldest first."""
        return (self.number, self.created_ms, self.name)


def revision(obj: JsonObject) -> Revision:
    return Revision(
        name=name_of(obj),
        uid=uid_of(obj),
        number=int_at(obj, "revision"),
        created_ms=ms_at(str_at(obj, "metadata", "creationTimestamp")),
        labels=tuple(labels_of(obj).items()),
        data=map_at(obj, "data"),
        obj=obj,
    )


def template_patch(template: JsonObject) -> JsonObject:
    """The data of the template's revision."""
    return {"spec": {"template": _sorted({**template, "$patch": "replace"})}}


def patched_template(data: JsonObject) -> JsonObject:
    """The template of a revision's data."""
    return {name: value for name, value in map_at(data, "spec", "template").items() if name != "$patch"}


def _sorted(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list) else value


class Found(Frozen):
    """What there is of the present template."""

    present: Revision | None
    """None: it has no revision yet."""
    number: int
    """That the present one has to have."""
    twins: tuple[Revision, ...]
    """Others of the same template, made by hand or by a restored backup."""
    older: tuple[Revision, ...]
    """Of other templates, oldest first."""


def find(template: JsonObject, revisions: Sequence[Revision]) -> Found:
    """A template that came back is the newest revision again: the old one under a new number."""
    data = template_patch(template)
    ranked = sorted(revisions, key=lambda each: each.age)
    same = [each for each in ranked if _plain(each.data) == _plain(data)]
    older = tuple(each for each in ranked if each not in same)
    present = same[-1] if same else None
    newest = max((each.number for each in older), default=0)
    number = newest + 1 if present is None else max(present.number, newest + 1)
    return Found(present=present, number=number, twins=tuple(same[:-1]), older=older)


def _plain(value: Json) -> Json:
    """Without what Go's zero values add or leave out, by version: it says nothing."""
    if isinstance(value, dict):
        plain = {name: _plain(each) for name, each in value.items()}
        return {name: each for name, each in plain.items() if each not in (None, {}, [])}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def expired(older: Sequence[Revision], live: Collection[str], *, limit: int) -> tuple[Revision, ...]:
    """Those beyond the limit, oldest first. `live` are the names or hashes of revisions that pods are of: these
    count, and stay."""
    too_many = max(len(older) - limit, 0)
    return tuple(each for each in older if each.name not in live and each.hash not in live)[:too_many]


def new_revision(owner: JsonObject, *, number: int, collisions: int, label: str) -> JsonObject:
    """The revision of the owner's present template, as sent to the API. `label` is where its hash goes."""
    template = map_at(owner, "spec", "template")
    code = template_hash(template, collisions)
    labels = {**labels_of(template), label: code}
    metadata: JsonObject = {
        "name": f"{name_of(owner)[:_NAME_LENGTH_MAX]}-{code}",
        "namespace": namespace_of(owner),
        "labels": dict(labels),
        "annotations": dict(annotations_of(owner)),
        "ownerReferences": [controller_reference(owner)],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {name: value for name, value in metadata.items() if value},
        "data": template_patch(template),
        "revision": number,
    }

"""What a federated object may say, and who may say it: a step of admission. Pure.

Placement and overrides are read as the planner reads them, so that a fault is named to who writes it and not in a
status later. And nobody makes by a federated object what he may not make himself: members carry it out with all
rights. So whoever writes one must be allowed to create, update and delete its target, in its namespace, and to give
rights away where it does; whoever deletes one, to delete its target. That holds while its FederatedTypeConfig is gone
as well: once it is back, what was written meanwhile is carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from cloudcore.federation.overrides import read_overrides
from cloudcore.federation.placement import read_placement
from cloudcore.registry.admission import Reader, Request, Step
from cloudcore.registry.custom import RESOURCE as DEFINITIONS
from cloudcore.registry.port import SYSTEM
from cloudcore.registry.refusals import forbidden, invalid
from skerry.authz.attributes import Attributes, Decision
from skerry.authz.delegation import needed
from skerry.errors import Cause, InvalidError
from skerry.frozen import Frozen, replace
from skerry.objects.federation import (
    DRIFT,
    DRIFTS,
    FEDERATED_TYPE,
    IMMUTABLE,
    IMMUTABLES,
    NAMESPACE,
    REVISIONS,
    TYPES,
    TYPES_GROUP,
    deletion_of,
    federated_type,
    orphans,
)
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import Key, annotations_of, labels_of, name_of, namespace_of
from skerry.objects.scheme import Kind, split_api_version
from skerry.validation.faults import invalid as faulty
from skerry.validation.faults import unsupported

_LABEL_LENGTH_MAX: Final = 63
_OWN: Final = ("metadata.name", "metadata.namespace", "metadata.generateName")
"""Of a template: the federated object's own count."""

Decide: TypeAlias = "Callable[[Attributes], Decision]"


class _Guarded(Frozen):
    """What a federated object brings about in members."""

    group: str
    """`*`: not known, so all."""
    plural: str
    kind: str
    api_version: str
    """"" where it is not known."""
    namespaced: bool


def federated_step(decide: Decide) -> Step:
    """`decide`: whether somebody may do something."""

    def step(request: Request, reader: Reader) -> JsonObject:
        if request.kind.resource == REVISIONS and not request.subresource:
            _check_revision(request)
            return request.obj
        if not request.kind.custom or request.subresource:
            return request.obj
        if request.operation != "DELETE" and not _brings_about(request):
            return request.obj
        of = _guarded(request.kind, reader)
        if of is None:
            return request.obj
        if request.operation == "DELETE":
            if not orphans(request.obj):
                _check_rights(request, of, (("delete", of.plural),), decide)
            return request.obj
        causes = _faults(request.obj, of)
        if causes:
            raise invalid(request.kind, name_of(request.obj), causes)
        _check_rights(request, of, needed(of.group, of.plural), decide)
        return request.obj

    return step


def _check_revision(request: Request) -> None:
    """What is in a version reaches members when all go back to it: only the cloud itself writes one down. Whose it
    is counts as well: given to another object, it would be rolled out under that one's name."""
    old = {} if request.old is None else map_at(request.old, "spec")
    new = map_at(request.obj, "spec")
    theirs = (
        request.operation == "UPDATE"
        and all(old.get(field) == new.get(field) for field in ("source", "data", "sealed", "revision"))
        and maps_at(request.old, "metadata", "ownerReferences") == maps_at(request.obj, "metadata", "ownerReferences")
    )
    if request.operation == "DELETE" or theirs or request.actor == SYSTEM:
        return
    raise forbidden(
        request.kind,
        name_of(request.obj),
        "versions are written down by the cloud, of what the federated object declares",
    )


def _brings_about(request: Request) -> bool:
    """Whether members may do something else after it."""
    old, new = request.old, request.obj
    return old is None or map_at(old, "spec") != map_at(new, "spec") or annotations_of(old) != annotations_of(new)


def _guarded(kind: Kind, reader: Reader) -> _Guarded | None:
    """None for a kind that federates nothing."""
    for stored in reader.select(TYPES, namespace=NAMESPACE):
        found = federated_type(reader.obj(stored))
        if found.resource == kind.resource:
            return _Guarded(
                group=split_api_version(found.target_api_version)[0],
                plural=found.name.partition(".")[0],
                kind=found.target_kind,
                api_version=found.target_api_version,
                namespaced=found.target_namespaced,
            )
    return _unconfigured(kind, reader)


def _unconfigured(kind: Kind, reader: Reader) -> _Guarded | None:
    """Without its FederatedTypeConfig: by the mark of its definition, else by KubeFed's way to name them."""
    definition = reader.read(Key(DEFINITIONS, "", kind.resource))
    marked = "" if definition is None else labels_of(reader.obj(definition)).get(FEDERATED_TYPE, "")
    if not marked and not (kind.group == TYPES_GROUP and kind.kind.startswith("Federated")):
        return None
    plural, _, group = marked.partition(".")
    if not marked or len(marked) == _LABEL_LENGTH_MAX:  # the mark is cut there
        plural, group = kind.plural.removeprefix("federated"), "*"
    namespaced = kind.namespaced and plural != "namespaces"
    return _Guarded(
        group=group, plural=plural, kind=kind.kind.removeprefix("Federated"), api_version="", namespaced=namespaced
    )


def _faults(obj: JsonObject, of: _Guarded) -> list[Cause]:
    causes: list[Cause] = []
    for read in (read_placement, read_overrides, deletion_of):
        try:
            read(obj)
        except InvalidError as error:
            field, _, message = str(error).partition(": ")
            causes.append(Cause(field=field, reason="FieldValueInvalid", message=message))
    template = map_at(obj, "spec", "template")
    for path in _OWN:
        said = str_at(template, *path.split("."))
        meant = {"metadata.name": name_of(obj), "metadata.namespace": namespace_of(obj)}.get(path, "")
        if said and said != meant:
            causes.append(faulty(f"spec.template.{path}", said, "is the federated object's own, or not given"))
    for field, meant in (("kind", of.kind), ("apiVersion", of.api_version)):
        said = str_at(template, field)
        if said and meant and said != meant:
            causes.append(faulty(f"spec.template.{field}", said, f"is {meant}, or not given"))
    policy = annotations_of(obj).get(DRIFT, "")
    if policy and policy not in DRIFTS:
        causes.append(unsupported(f"metadata.annotations[{DRIFT}]", policy, DRIFTS))
    anew = annotations_of(obj).get(IMMUTABLE, "")
    if anew and anew not in IMMUTABLES:
        causes.append(unsupported(f"metadata.annotations[{IMMUTABLE}]", anew, IMMUTABLES))
    return causes


def _check_rights(request: Request, of: _Guarded, acts: Iterable[tuple[str, str]], decide: Decide) -> None:
    asked = Attributes(
        actor=request.actor,
        verb="",
        group=of.group,
        resource="",
        namespace=namespace_of(request.obj) if of.namespaced else "",
    )
    for verb, resource in acts:
        if not decide(replace(asked, verb=verb, resource=resource)).allowed:
            place = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
            raise forbidden(
                request.kind,
                name_of(request.obj),
                f'user "{request.actor.name}" cannot {verb} resource "{resource}" in API group "{of.group}" {place}, '
                "which members would do for him",
            )

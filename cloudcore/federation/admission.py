"""What a federated object may say, and who may say it: a step of admission. Pure.

Placement and overrides are read as the planner reads them, so that a fault is named to who writes it and not in a
status later. And nobody makes by a federated object what he may not make himself: members carry it out with all
rights. So whoever writes one must be allowed to create, update and delete its target, in its namespace, and to give
rights away where it does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from cloudcore.federation.overrides import read_overrides
from cloudcore.federation.placement import read_placement
from cloudcore.registry.admission import Reader, Request, Step
from cloudcore.registry.refusals import forbidden, invalid
from skerry.authz.attributes import Attributes, Decision
from skerry.authz.delegation import needed
from skerry.errors import Cause, InvalidError
from skerry.frozen import replace
from skerry.objects.federation import DRIFT, DRIFTS, NAMESPACE, TYPES, FederatedType, federated_type
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.meta import annotations_of, name_of, namespace_of
from skerry.objects.scheme import split_api_version
from skerry.validation.faults import invalid as faulty
from skerry.validation.faults import unsupported

_OWN: Final = ("metadata.name", "metadata.namespace", "metadata.generateName")
"""Of a template: the federated object's own count."""

Decide: TypeAlias = "Callable[[Attributes], Decision]"


def federated_step(decide: Decide) -> Step:
    """`decide`: whether somebody may do something."""

    def step(request: Request, reader: Reader) -> JsonObject:
        if not request.kind.custom or request.operation == "DELETE" or request.subresource:
            return request.obj
        of = _type_of(request, reader)
        if of is None:
            return request.obj
        spec, old = map_at(request.obj, "spec"), request.old
        if old is not None and map_at(old, "spec") == spec and annotations_of(old) == annotations_of(request.obj):
            return request.obj
        causes = _faults(request.obj, of)
        if causes:
            raise invalid(request.kind, name_of(request.obj), causes)
        _check_rights(request, of, decide)
        return request.obj

    return step


def _type_of(request: Request, reader: Reader) -> FederatedType | None:
    """What its kind federates; None for any other kind."""
    for stored in reader.select(TYPES, namespace=NAMESPACE):
        found = federated_type(reader.obj(stored))
        if found.resource == request.kind.resource:
            return found
    return None


def _faults(obj: JsonObject, of: FederatedType) -> list[Cause]:
    causes: list[Cause] = []
    for read in (read_placement, read_overrides):
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
    for field, meant in (("kind", of.target_kind), ("apiVersion", of.target_api_version)):
        said = str_at(template, field)
        if said and said != meant:
            causes.append(faulty(f"spec.template.{field}", said, f"is {meant}, or not given"))
    policy = annotations_of(obj).get(DRIFT, "")
    if policy and policy not in DRIFTS:
        causes.append(unsupported(f"metadata.annotations[{DRIFT}]", policy, DRIFTS))
    return causes


def _check_rights(request: Request, of: FederatedType, decide: Decide) -> None:
    group, _ = split_api_version(of.target_api_version)
    plural = of.name.partition(".")[0]
    asked = Attributes(
        actor=request.actor,
        verb="",
        group=group,
        resource="",
        namespace=namespace_of(request.obj) if of.target_namespaced else "",
    )
    for verb, resource in needed(group, plural):
        if not decide(replace(asked, verb=verb, resource=resource)).allowed:
            place = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
            raise forbidden(
                request.kind,
                name_of(request.obj),
                f'user "{request.actor.name}" cannot {verb} resource "{resource}" in API group "{group}" {place}, '
                "which members would do for him",
            )

"""Nobody makes by an EdgeApplication what he may not make himself: the check on writes of its manifests. Pure.

The controller that carries them out may write anything. So whoever writes an application must be allowed to create,
update and delete each kind of object that it has, in its namespace, and to give rights away where it does.
"""

from __future__ import annotations

from collections.abc import Callable

from cloudcore.api.authz.authorizer import Authorizer
from cloudcore.registry.admission import Reader, Request, Step
from skerry.authz.attributes import Attributes
from skerry.authz.delegation import needed
from skerry.errors import ForbiddenError
from skerry.objects.edge_applications import EDGE_APPLICATIONS, manifests_of
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.scheme import Kind, split_api_version


def manifests_step(authorizer: Authorizer, kind_named: Callable[[str, str, str], Kind | None]) -> Step:
    """The check as a step of admission. `kind_named`: by group, version and kind."""

    def step(request: Request, _reader: Reader) -> JsonObject:
        obj = request.obj
        if request.kind.resource != EDGE_APPLICATIONS or request.operation == "DELETE":
            return obj
        if request.old is not None and map_at(request.old, "spec") == map_at(obj, "spec"):
            return obj
        for ordinal, manifest in manifests_of(obj):
            kind = kind_named(*split_api_version(str_at(manifest, "apiVersion")), str_at(manifest, "kind"))
            if kind is not None:
                _check(authorizer, request, ordinal, kind)
        return obj

    return step


def _check(authorizer: Authorizer, request: Request, ordinal: int, kind: Kind) -> None:
    for verb, resource in needed(kind.group, kind.plural):
        asked = Attributes(
            actor=request.actor,
            verb=verb,
            group=kind.group,
            resource=resource,
            namespace=namespace_of(request.obj),
        )
        if not authorizer.decide(asked).allowed:
            raise ForbiddenError(
                f'{EDGE_APPLICATIONS} "{name_of(request.obj)}" is forbidden: '
                f"spec.workloadTemplate.manifests[{ordinal}]: "
                f'user "{request.actor.name}" cannot {verb} resource "{resource}" in API group "{kind.group}" '
                f'in the namespace "{namespace_of(request.obj)}"'
            )

"""Which operations the API has, for its OpenAPI documents: one list, from which both versions are written. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.scheme import Kind

META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
JSON_TYPES: Final = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_PATCHES: Final = ("application/json-patch+json", "application/merge-patch+json")
_STRATEGIC: Final = "application/strategic-merge-patch+json"


class Parameter(Frozen, kw_only=False):
    """A query parameter."""

    name: str
    type: str
    description: str


class Operation(Frozen):
    """One method of one path."""

    method: str
    action: str
    """Kubernetes' word: get, list, post, put, patch, delete, deletecollection."""
    id: str
    description: str
    body: str
    """Definition of the body; "" for none."""
    consumes: tuple[str, ...]
    answer: str
    """Definition of a good answer."""
    codes: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    group: str
    version: str
    kind: str

    @property
    def gvk(self) -> JsonObject:
        return {"group": self.group, "kind": self.kind, "version": self.version}


class PathItem(Frozen):
    """One path and what can be done there."""

    path: str
    named: tuple[str, ...]
    """Path parameters, in order."""
    operations: tuple[Operation, ...]


_DRY_RUN: Final = Parameter("dryRun", "string", "All: do everything but store the outcome.")
_MANAGER: Final = Parameter("fieldManager", "string", "A name for whoever makes the change.")
_VALIDATION: Final = Parameter(
    "fieldValidation", "string", "What to do about unknown or duplicate fields: Ignore, Warn or Strict."
)
_WRITE: Final = (_DRY_RUN, _MANAGER, _VALIDATION)
_LIST: Final = (
    Parameter("allowWatchBookmarks", "boolean", "Send bookmarks in a watch."),
    Parameter("continue", "string", "The token of the page before."),
    Parameter("fieldSelector", "string", "Only objects whose fields match."),
    Parameter("labelSelector", "string", "Only objects whose labels match."),
    Parameter("limit", "integer", "How many objects at most."),
    Parameter("resourceVersion", "string", "How new the answer must be."),
    Parameter("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
    Parameter("sendInitialEvents", "boolean", "Begin a watch with what is there."),
    Parameter("timeoutSeconds", "integer", "How long the call may take."),
    Parameter("watch", "boolean", "Stream changes instead of a list."),
)
_DELETE: Final = (
    _DRY_RUN,
    Parameter("gracePeriodSeconds", "integer", "How long the object may take to go."),
    Parameter("orphanDependents", "boolean", "Older form of propagationPolicy."),
    Parameter("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
)


def root_of(kind: Kind) -> str:
    """`/api/v1` or `/apis/apps/v1`."""
    return f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"


def paths_of(kind: Kind, definition: str) -> Iterator[PathItem]:
    """The paths of a kind whose definition has this name."""
    root = root_of(kind)
    scoped = f"{root}/namespaces/{{namespace}}" if kind.namespaced else root
    place = ("namespace",) if kind.namespaced else ()
    collection = (*_listing(kind, definition), *_creating(kind, definition))
    if collection:
        yield PathItem(path=f"{scoped}/{kind.plural}", named=place, operations=collection)
    if kind.namespaced and "list" in kind.verbs:
        everywhere = tuple(op for op in _listing(kind, definition, everywhere=True) if op.action == "list")
        yield PathItem(path=f"{root}/{kind.plural}", named=(), operations=everywhere)
    single = tuple(_single(kind, definition))
    if single:
        yield PathItem(path=f"{scoped}/{kind.plural}/{{name}}", named=("name", *place), operations=single)
    for name in sorted(kind.subresources & {"status", "scale"}):
        below = definition if name == "status" else "io.k8s.api.autoscaling.v1.Scale"
        operations = tuple(op for op in _single(kind, below, suffix=name.capitalize()) if op.action != "delete")
        yield PathItem(path=f"{scoped}/{kind.plural}/{{name}}/{name}", named=("name", *place), operations=operations)


def _listing(kind: Kind, definition: str, *, everywhere: bool = False) -> Iterator[Operation]:
    if "list" in kind.verbs:
        yield _made(
            kind,
            _Plan(
                method="get",
                action="list",
                name=f"list{_where(kind)}{kind.kind}{'ForAllNamespaces' if everywhere else ''}",
                description=f"list or watch objects of kind {kind.kind}",
                answer=f"{definition}List",
                parameters=_LIST,
            ),
        )
    if "deletecollection" in kind.verbs:
        yield _made(
            kind,
            _Plan(
                method="delete",
                action="deletecollection",
                name=f"deleteCollection{_where(kind)}{kind.kind}",
                description=f"delete collection of {kind.kind}",
                answer=f"{META}Status",
                body=f"{META}DeleteOptions",
                parameters=(*_LIST[1:-1], *_DELETE),
            ),
        )


def _creating(kind: Kind, definition: str) -> Iterator[Operation]:
    if "create" in kind.verbs:
        yield _made(
            kind,
            _Plan(
                method="post",
                action="post",
                name=f"create{_where(kind)}{kind.kind}",
                description=f"create a {kind.kind}",
                answer=definition,
                body=definition,
                codes=("200", "201", "202"),
                parameters=_WRITE,
            ),
        )


def _single(kind: Kind, definition: str, *, suffix: str = "") -> Iterator[Operation]:
    what = f"{_where(kind)}{kind.kind}{suffix}"
    if "get" in kind.verbs:
        yield _made(
            kind,
            _Plan(
                method="get",
                action="get",
                name=f"read{what}",
                description=f"read the specified {kind.kind}",
                answer=definition,
            ),
        )
    if "update" in kind.verbs:
        yield _made(
            kind,
            _Plan(
                method="put",
                action="put",
                name=f"replace{what}",
                description=f"replace the specified {kind.kind}",
                answer=definition,
                body=definition,
                codes=("200", "201"),
                parameters=_WRITE,
            ),
        )
    if "patch" in kind.verbs:
        yield _made(
            kind,
            _Plan(
                method="patch",
                action="patch",
                name=f"patch{what}",
                description=f"partially update the specified {kind.kind}",
                answer=definition,
                body=f"{META}Patch",
                consumes=(*_PATCHES, _STRATEGIC) if kind.strategic_patch else _PATCHES,
                codes=("200", "201"),
                parameters=(*_WRITE, Parameter("force", "boolean", "Take fields over in an apply.")),
            ),
        )
    if "delete" in kind.verbs:
        yield _made(
            kind,
            _Plan(
                method="delete",
                action="delete",
                name=f"delete{what}",
                description=f"delete a {kind.kind}",
                answer=f"{META}Status",
                body=f"{META}DeleteOptions",
                codes=("200", "202"),
                parameters=_DELETE,
            ),
        )


def _where(kind: Kind) -> str:
    group = "".join(part.capitalize() for part in (kind.group or "core").removesuffix(".k8s.io").split("."))
    return f"{group}{kind.version.capitalize()}{'Namespaced' if kind.namespaced else ''}"


class _Plan(Frozen):
    """What differs between operations."""

    method: str
    action: str
    name: str
    description: str
    answer: str
    body: str = ""
    consumes: tuple[str, ...] = JSON_TYPES
    codes: tuple[str, ...] = ("200",)
    parameters: tuple[Parameter, ...] = ()


def _made(kind: Kind, plan: _Plan) -> Operation:
    return Operation(
        method=plan.method,
        action=plan.action,
        id=plan.name,
        description=plan.description,
        body=plan.body,
        consumes=plan.consumes,
        answer=plan.answer,
        codes=plan.codes,
        parameters=plan.parameters,
        group=kind.group,
        version=kind.version,
        kind=kind.kind,
    )

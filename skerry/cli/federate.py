"""`skerry federate`: federated objects made of what is there, or of what a file says, for all members."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import click

from skerry.cli import kinds
from skerry.cli.apply import read_manifests
from skerry.cli.client import Client, Server, path_of
from skerry.cli.output import print_data, say
from skerry.cli.region_types import config_of, enable, ensure_namespace
from skerry.cli.target import Target, with_target
from skerry.cli.waiting import wait_until
from skerry.errors import AlreadyExistsError, BadRequestError, CallerError, NotFoundError, UnavailableError
from skerry.objects.federation import TYPES_GROUP
from skerry.objects.json import Json, JsonObject, bool_at, clone, map_at, maps_at, str_at, str_map_at
from skerry.objects.meta import annotations_of, controller_of, name_of, namespace_of
from skerry.objects.scheme import Kind, split_api_version

_OURS: Final = ("metadata", "apiVersion", "kind", "status")
_SERVICE_FIELDS: Final = ("clusterIP", "clusterIPs", "healthCheckNodePort", "ipFamilies", "ipFamilyPolicy")
_OF_JOBS: Final = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")
_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
MADE_BY_CONTROLLERS: Final = (
    "endpoints",
    "endpointslices",
    "events",
    "leases",
    "controllerrevisions",
    "metrics.k8s.io",
)
"""Words for kinds that are never meant when all of a namespace is federated."""


@click.command("federate")
@click.argument("kind_word", metavar="TYPE", required=False)
@click.argument("name", required=False)
@click.option("-n", "--namespace", default="default", show_default=True, help="Where it is.")
@click.option("-t", "--enable-type", is_flag=True, help="Enable the types first that are not.")
@click.option("-c", "--contents", is_flag=True, help="Of a namespace: all that is in it as well.")
@click.option(
    "-s",
    "--skip-api-resources",
    "skipped",
    default="",
    help="With --contents: kinds or groups to leave out, comma-separated.",
)
@click.option("-f", "--filename", default="", help="Of a file (- for standard input); print, write nothing.")
@click.option(
    "-o", "--output", "form", type=click.Choice(["", "yaml", "json"]), default="", help="Print, write nothing."
)
@with_target
def federate(
    target: Target,
    kind_word: str | None,
    name: str | None,
    namespace: str,
    *,
    enable_type: bool,
    contents: bool,
    skipped: str,
    filename: str,
    form: str,
) -> None:
    """Make a federated object of the object NAME of TYPE, placed in all members (as `kubefedctl federate`)."""
    if filename:
        if kind_word:
            raise BadRequestError(f"--filename takes no arguments, and {kind_word} is one")
        _print([federated_object(obj, _guessed(obj)) for _, obj in read_manifests(filename)], form or "yaml")
        return
    if not kind_word or not name:
        raise BadRequestError("which TYPE, and which NAME of it? Or a file with --filename")
    if enable_type and form:
        raise BadRequestError("--enable-type writes, and --output does not: give one of them")
    client = target.client()
    served = kinds.discover(client)
    kind = kinds.named(served, kind_word)
    if kind.group.endswith("kubefed.io"):
        raise BadRequestError(f"{kind.kind} is of the federation itself")
    if contents and kind.kind != "Namespace":
        raise BadRequestError(f"--contents is of namespaces, and {kind.kind} {name} has none")
    objs = [(kind, client.request("GET", path_of(kind, namespace if kind.namespaced else "", name)).obj)]
    if contents:
        objs += contained(client, served, name, [word for word in skipped.split(",") if word])
    federated = [(each, federated_object(obj, each)) for each, obj in objs]
    if form:
        _print([obj for _, obj in federated], form)
        return
    for each, obj in objs:
        if left := sorted(annotations_of(obj).keys() - {_APPLIED}):
            say(f"{each.kind} {name_of(obj)}: its annotations are not in the template: {', '.join(left)}", err=True)
    _create(client, federated, _federated_kinds(client, served, objs, enable_type=enable_type), alone=not contents)


def _create(
    client: Client, federated: Sequence[tuple[Kind, JsonObject]], known: dict[str, Kind], *, alone: bool
) -> None:
    for kind, made in federated:
        to = known[_type_of(kind)]
        body = {**made, "apiVersion": to.api_version, "kind": to.kind}
        try:
            client.request("POST", path_of(to, namespace_of(body)), body=body)
        except AlreadyExistsError:
            if alone:
                raise
            say(f"{to.plural}.{to.group}/{name_of(body)} is there already, and left as it is")
        else:
            say(f"{to.plural}.{to.group}/{name_of(body)} created, placed in all members")


def contained(
    client: Server, served: Sequence[Kind], namespace: str, skipped: Sequence[str]
) -> Iterator[tuple[Kind, JsonObject]]:
    """All that somebody made in a namespace: not what controllers made of it, nor what each namespace has."""
    seen: set[str] = set()
    for kind in served:
        if not kind.namespaced or kind.group.endswith("kubefed.io") or _type_of(kind) in seen:
            continue
        seen.add(_type_of(kind))
        if any(kinds.means(kind, word) or word == kind.group for word in (*MADE_BY_CONTROLLERS, *skipped)):
            continue
        try:
            listed = maps_at(client.request("GET", path_of(kind, namespace)).obj, "items")
        except NotFoundError:
            continue  # a kind that is asked and never listed
        except CallerError as error:
            say(f"{kind.plural} are left out: {error}", err=True)
            continue
        for obj in listed:
            if controller_of(obj) is None and not _is_everywhere(kind, obj):
                yield kind, obj


def _is_everywhere(kind: Kind, obj: JsonObject) -> bool:
    """What each namespace has by itself."""
    named = (kind.kind, name_of(obj))
    own = named in (("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt"))
    return own or str_at(obj, "type") == "kubernetes.io/service-account-token"


def _print(made: Sequence[JsonObject], form: str) -> None:
    for number, each in enumerate(made):
        if number:
            say("---") if form == "yaml" else None
        print_data(each, form)


def _guessed(obj: JsonObject) -> Kind:
    """Of an object in a file, without anybody to ask: what it says of itself."""
    group, version = split_api_version(str_at(obj, "apiVersion"))
    kind = str_at(obj, "kind")
    return Kind(group=group, version=version, kind=kind, plural=kind.lower(), namespaced=bool(namespace_of(obj)))


def federated_object(obj: JsonObject, kind: Kind) -> JsonObject:
    """Of an object as it is: without what the cluster that has it made of it."""
    template: JsonObject = {field: value for field, value in clone(obj).items() if field not in _OURS}
    labels = map_at(obj, "metadata", "labels")
    if labels:
        template["metadata"] = {"labels": labels}
    _forget(kind.kind, template)
    metadata: JsonObject = {"name": name_of(obj)}
    if kind.kind == "Namespace" and not kind.group:
        metadata["namespace"] = name_of(obj)
    elif kind.namespaced:
        metadata["namespace"] = namespace_of(obj)
    return {
        "apiVersion": f"{TYPES_GROUP}/v1beta1",
        "kind": f"Federated{kind.kind}",
        "metadata": metadata,
        "spec": {"placement": {"clusterSelector": {"matchLabels": {}}}, "template": template},
    }


def _forget(kind: str, template: JsonObject) -> None:
    """What controllers of one cluster wrote, and no other can have."""
    spec = map_at(template, "spec")
    match kind:
        case "Namespace":
            template.pop("spec", None)
        case "ServiceAccount":
            template.pop("secrets", None)
        case "Service":
            headless = str_at(spec, "clusterIP") == "None"
            for field in _SERVICE_FIELDS:
                spec.pop(field, None)
            if headless:
                spec["clusterIP"] = "None"
            for port in maps_at(spec, "ports"):
                port.pop("nodePort", None)
        case "Job" if not bool_at(spec, "manualSelector"):
            spec.pop("selector", None)
            made: JsonObject = map_at(spec, "template", "metadata")
            kept: dict[str, Json] = {
                name: value for name, value in str_map_at(made, "labels").items() if name not in _OF_JOBS
            }
            if "labels" in made:
                made["labels"] = kept
        case "PersistentVolumeClaim":
            spec.pop("volumeName", None)
        case _:
            return


def _type_of(kind: Kind) -> str:
    return f"{kind.plural}.{kind.group}"


def _federated_kinds(
    client: Client, served: Sequence[Kind], objs: Sequence[tuple[Kind, JsonObject]], *, enable_type: bool
) -> dict[str, Kind]:
    """Before anything is written: what each is federated as."""
    wanted = {_type_of(kind): kind for kind, _ in objs}
    missing = [kind for kind in wanted.values() if _of(served, kind) is None]
    if missing and not enable_type:
        said = ", ".join(sorted({kind.kind for kind in missing}))
        more = "" if len(wanted) == 1 else ", or --skip-api-resources"
        raise NotFoundError(f"not federated: {said}: add --enable-type{more}, or `skerry region init`")
    if missing:
        ensure_namespace(client)
        for kind in missing:
            enable(client, config_of(kind))

    def found() -> dict[str, Kind] | None:
        now = kinds.discover(client) if missing else served
        known = {name: of for name, kind in wanted.items() if (of := _of(now, kind)) is not None}
        return known if len(known) == len(wanted) else None

    known = wait_until(found)
    if known is None:
        raise UnavailableError("the federated types are not served yet: `kubectl get ftc -A -o wide` says why")
    return known


def _of(served: Sequence[Kind], kind: Kind) -> Kind | None:
    name = f"Federated{kind.kind}"
    return next((each for each in served if each.kind == name and each.group == TYPES_GROUP), None)

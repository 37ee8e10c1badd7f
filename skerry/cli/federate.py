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
from skerry.objects.federation import MANAGED, ROW, TYPES_GROUP
from skerry.objects.json import Json, JsonObject, bool_at, clone, map_at, maps_at, str_at, str_map_at
from skerry.objects.meta import annotations_of, controller_of, name_of, namespace_of
from skerry.objects.pod_defaults import TOKEN_VOLUME
from skerry.objects.scheme import Kind, split_api_version

_OURS: Final = ("metadata", "apiVersion", "kind", "status")
_SERVICE_FIELDS: Final = ("clusterIP", "clusterIPs", "healthCheckNodePort", "ipFamilies", "ipFamilyPolicy")
_OF_JOBS: Final = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")
_CONTAINERS: Final = ("initContainers", "containers", "ephemeralContainers")
_BY_CONTROLLERS: Final = {
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
    ROW,
}
"""Annotations that nobody misses: each cluster writes its own."""
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
@click.option("--dry-run", is_flag=True, help="Say what would be made, and have the cloud try it; write nothing.")
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
    dry_run: bool,
) -> None:
    """Make a federated object of the object NAME of TYPE, placed in all members (as `kubefedctl federate`)."""
    if filename:
        if kind_word:
            raise BadRequestError(f"--filename takes no arguments, and {kind_word} is one")
        _print(of_manifests(filename), form or "yaml")
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
        if left := sorted(annotations_of(obj).keys() - _BY_CONTROLLERS):
            say(f"{each.kind} {name_of(obj)}: its annotations are not in the template: {', '.join(left)}", err=True)
    missing = _missing(served, objs, enable_type=enable_type)
    if dry_run:
        for each in missing:
            say(f"federated type {name_of(config_of(each))} would be enabled (dry run)")
    else:
        served = _with_enabled(client, served, missing)
    _create(client, federated, served, alone=not contents, dry_run=dry_run)


def _create(
    client: Client,
    federated: Sequence[tuple[Kind, JsonObject]],
    served: Sequence[Kind],
    *,
    alone: bool,
    dry_run: bool,
) -> None:
    query = {"dryRun": "All"} if dry_run else {}
    done = "would be created (dry run)" if dry_run else "created, placed in all members"
    for kind, made in federated:
        to = _of(served, kind)
        if to is None:
            say(f"{made['kind']} {name_of(made)} {done}")
            continue
        body = {**made, "apiVersion": to.api_version, "kind": to.kind}
        try:
            client.request("POST", path_of(to, namespace_of(body)), query=query, body=body)
        except AlreadyExistsError:
            if alone:
                raise
            say(f"{to.plural}.{to.group}/{name_of(body)} is there already, and left as it is")
        else:
            say(f"{to.plural}.{to.group}/{name_of(body)} {done}")


def contained(
    client: Server, served: Sequence[Kind], namespace: str, skipped: Sequence[str]
) -> Iterator[tuple[Kind, JsonObject]]:
    """All that somebody made in a namespace: not what controllers made of it, nor what each namespace has."""
    seen: set[str] = set()
    for kind in served:
        if not kind.namespaced or kind.group.endswith("kubefed.io") or _type_of(kind) in seen:
            continue
        if kind.verbs and "list" not in kind.verbs:
            continue  # one that is asked, and never kept
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


def of_manifests(filename: str) -> list[JsonObject]:
    """Federated objects of those in a file. Raises `BadRequestError` that says which of them can't be federated."""
    made: list[JsonObject] = []
    for number, (_, obj) in enumerate(read_manifests(filename), start=1):
        kind = _guessed(obj)
        lacking = [field for field in ("apiVersion", "kind") if not str_at(obj, field)]
        if not name_of(obj):
            lacking.append("metadata.name")
        if lacking:
            raise BadRequestError(f"{filename}: object {number} has no {', no '.join(lacking)}")
        if kind.group.endswith("kubefed.io"):
            raise BadRequestError(
                f"{filename}: object {number}, {kind.kind} {name_of(obj)}, is of the federation itself"
            )
        made.append(federated_object(obj, kind))
    if not made:
        raise BadRequestError(f"{filename} has no objects")
    return made


def _guessed(obj: JsonObject) -> Kind:
    """Of an object in a file, without anybody to ask: what it says of itself."""
    group, version = split_api_version(str_at(obj, "apiVersion"))
    kind = str_at(obj, "kind")
    return Kind(group=group, version=version, kind=kind, plural=kind.lower(), namespaced=bool(namespace_of(obj)))


def federated_object(obj: JsonObject, kind: Kind) -> JsonObject:
    """Of an object as it is: without what the cluster that has it made of it."""
    template: JsonObject = {field: value for field, value in clone(obj).items() if field not in _OURS}
    labels: JsonObject = {name: value for name, value in map_at(obj, "metadata", "labels").items() if name != MANAGED}
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
        case "Pod":
            spec.pop("nodeName", None)
            _forget_token(spec)
        case _:
            return


def _forget_token(pod: JsonObject) -> None:
    """The volume that each cluster gives a pod by itself, under another name each time."""
    tokens = {
        name
        for each in maps_at(pod, "volumes")
        if "projected" in each and (name := str_at(each, "name")).startswith(TOKEN_VOLUME)
    }
    if not tokens:
        return
    _drop(pod, "volumes", tokens)
    for field in _CONTAINERS:
        for container in maps_at(pod, field):
            _drop(container, "volumeMounts", tokens)


def _drop(holder: JsonObject, field: str, names: set[str]) -> None:
    kept: list[Json] = [each for each in maps_at(holder, field) if str_at(each, "name") not in names]
    holder[field] = kept
    if not kept:
        del holder[field]


def _type_of(kind: Kind) -> str:
    return f"{kind.plural}.{kind.group}"


def _missing(served: Sequence[Kind], objs: Sequence[tuple[Kind, JsonObject]], *, enable_type: bool) -> Sequence[Kind]:
    """Before anything is written: of what is federated, the kinds that are to be enabled first."""
    wanted = {_type_of(kind): kind for kind, _ in objs}
    missing = [kind for kind in wanted.values() if _of(served, kind) is None]
    if missing and not enable_type:
        said = ", ".join(sorted({kind.kind for kind in missing}))
        more = "" if len(wanted) == 1 else ", or --skip-api-resources"
        raise NotFoundError(f"not federated: {said}: add --enable-type{more}, or `skerry region init`")
    return missing


def _with_enabled(client: Client, served: Sequence[Kind], missing: Sequence[Kind]) -> Sequence[Kind]:
    """What is served once these kinds are federated."""
    if not missing:
        return served
    ensure_namespace(client)
    for kind in missing:
        enable(client, config_of(kind))

    def found() -> Sequence[Kind] | None:
        now = kinds.discover(client)
        return now if all(_of(now, kind) is not None for kind in missing) else None

    known = wait_until(found)
    if known is None:
        raise UnavailableError("the federated types are not served yet: `kubectl get ftc -A -o wide` says why")
    return known


def _of(served: Sequence[Kind], kind: Kind) -> Kind | None:
    name = f"Federated{kind.kind}"
    return next((each for each in served if each.kind == name and each.group == TYPES_GROUP), None)

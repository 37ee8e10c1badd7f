"""`skerry region enable|disable|orphaning`: which types are federated, and what stays in members when an object goes
(`kubefedctl enable`, `disable`, `orphaning-deletion`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from skerry.cli import kinds
from skerry.cli.apply import read_manifests
from skerry.cli.client import Client, Server, path_of
from skerry.cli.output import print_data, say
from skerry.cli.target import Target, with_target
from skerry.cli.waiting import wait_until
from skerry.errors import AlreadyExistsError, BadRequestError, NotFoundError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.federation import CORE_GROUP, NAMESPACE, ORPHAN, TYPES_GROUP, orphans
from skerry.objects.federation_config import ENABLED, GATES
from skerry.objects.federation_config import NAME as CONFIG
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import generation_of, name_of
from skerry.objects.scheme import Kind, split_api_version

_NAMESPACES: Final = Kind(group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False)
TYPES: Final = Kind(
    group=CORE_GROUP, version="v1beta1", kind="FederatedTypeConfig", plural="federatedtypeconfigs", namespaced=True
)
_CONFIGS: Final = Kind(
    group=CORE_GROUP, version="v1beta1", kind="KubeFedConfig", plural="kubefedconfigs", namespaced=True
)
_DEFINITIONS: Final = Kind(
    group="apiextensions.k8s.io",
    version="v1",
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    namespaced=False,
)
_MERGE: Final = "application/merge-patch+json"


def ensure_namespace(client: Server) -> None:
    """That of the federation."""
    body: JsonObject = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    try:
        client.request("POST", path_of(_NAMESPACES), body=body)
    except AlreadyExistsError:
        return


def ensure_config(client: Server) -> str:
    """The settings of the federation, without which KubeFed's tools take it for none; in a word what came of that."""
    gates: list[Json] = [{"name": name, "configuration": ENABLED} for name in GATES]
    body: JsonObject = {
        "apiVersion": f"{CORE_GROUP}/v1beta1",
        "kind": "KubeFedConfig",
        "metadata": {"name": CONFIG, "namespace": NAMESPACE},
        "spec": {"scope": "Cluster", "featureGates": gates},
    }
    try:
        client.request("POST", path_of(_CONFIGS, NAMESPACE), body=body)
    except AlreadyExistsError:
        return "are there already"
    return "made"


def type_config(group: str, version: str, kind: str, plural: str, scope: str) -> JsonObject:
    """As `kubefedctl enable` makes it."""
    target: JsonObject = {"kind": kind, "pluralName": plural, "scope": scope, "version": version}
    if group:
        target["group"] = group
    federated: JsonObject = {
        "group": TYPES_GROUP,
        "kind": f"Federated{kind}",
        "pluralName": f"federated{plural}",
        "scope": "Namespaced" if plural == "namespaces" else scope,
        "version": "v1beta1",
    }
    spec: JsonObject = {
        "targetType": target,
        "federatedType": federated,
        "propagation": "Enabled",
        "statusCollection": "Enabled",
    }
    return {
        "apiVersion": f"{CORE_GROUP}/v1beta1",
        "kind": "FederatedTypeConfig",
        "metadata": {"name": f"{plural}.{group}" if group else plural, "namespace": NAMESPACE},
        "spec": spec,
    }


def enable(client: Server, config: JsonObject) -> str:
    """Make it; in a word what came of that."""
    try:
        client.request("POST", path_of(TYPES, NAMESPACE), body=config)
    except AlreadyExistsError:
        return "is enabled already"
    return "enabled"


def config_of(kind: Kind) -> JsonObject:
    scope = "Namespaced" if kind.namespaced else "Cluster"
    return type_config(kind.group, kind.version, kind.kind, kind.plural, scope)


class Asked(Frozen):
    """A type that is to be federated."""

    word: str
    version: str = ""
    """Of the target; "" for the one that the cloud prefers."""
    group: str = TYPES_GROUP
    """Of the federated kind."""
    federated_version: str = "v1beta1"


def directives(filename: str) -> list[Asked]:
    """Of a file with EnableTypeDirectives, which `kubefedctl enable -f` takes. Raises `BadRequestError`."""
    found: list[Asked] = []
    for number, (_, obj) in enumerate(read_manifests(filename), start=1):
        group, _ = split_api_version(str_at(obj, "apiVersion"))
        if (group, str_at(obj, "kind")) != (CORE_GROUP, "EnableTypeDirective"):
            raise BadRequestError(f"{filename}: object {number} is no EnableTypeDirective of {CORE_GROUP}")
        if not name_of(obj):
            raise BadRequestError(f"{filename}: object {number} has no metadata.name, which is the type's")
        spec = map_at(obj, "spec")
        found.append(
            Asked(
                word=name_of(obj),
                version=str_at(spec, "targetVersion"),
                group=str_at(spec, "federatedGroup", default=TYPES_GROUP),
                federated_version=str_at(spec, "federatedVersion", default="v1beta1"),
            )
        )
    if not found:
        raise BadRequestError(f"{filename} has no objects")
    return found


def config_asked(served: Sequence[Kind], asked: Asked) -> JsonObject:
    """Its FederatedTypeConfig. Raises `CallerError` for what can't be federated."""
    kind = kinds.named(served, asked.word)
    if kind.group.endswith("kubefed.io"):
        raise BadRequestError(f"{kind.kind} is of the federation itself")
    if asked.version:
        of_type = [each for each in served if (each.group, each.plural) == (kind.group, kind.plural)]
        found = next((each for each in of_type if each.version == asked.version), None)
        if found is None:
            versions = ", ".join(each.version for each in of_type)
            raise NotFoundError(f"{kind.plural} are not served in version {asked.version}: there is {versions}")
        kind = found
    config = config_of(kind)
    map_at(config, "spec", "federatedType").update(group=asked.group, version=asked.federated_version)
    return config


@click.command("enable")
@click.argument("kind_word", metavar="TYPE", required=False)
@click.option("--version", default="", help="Of TYPE, for members; without it the one that this cloud prefers.")
@click.option("-f", "--filename", default="", help="Types that EnableTypeDirectives in a file name (- for stdin).")
@click.option(
    "-o", "--output", "form", type=click.Choice(["", "yaml", "json"]), default="", help="Print, write nothing."
)
@click.option("--dry-run", is_flag=True, help="Say what would be enabled; write nothing.")
@with_target
def enable_type(
    target: Target, kind_word: str | None, version: str, filename: str, form: str, *, dry_run: bool
) -> None:
    """Let objects of TYPE be federated: any type that this cloud serves. One that was disabled goes on."""
    if bool(filename) == bool(kind_word) or (filename and version):
        raise BadRequestError("which TYPE (and --version)? Or a file with --filename, which says both")
    asked = directives(filename) if filename else [Asked(word=kind_word or "", version=version)]
    client = target.client()
    served = kinds.discover(client)
    configs = [(config_asked(served, each), bool(each.version)) for each in asked]
    for number, (config, moves) in enumerate(configs):
        if form:
            say("---") if number and form == "yaml" else None
            print_data(config, form)
        elif dry_run:
            say(f"federated type {name_of(config)} would be enabled (dry run)")
        else:
            say(f"federated type {name_of(config)} {_enabled(client, config, moves=moves)}")


def _enabled(client: Client, config: JsonObject, *, moves: bool) -> str:
    """In a word what came of it. `moves`: one that is enabled already goes on in this version."""
    ensure_namespace(client)
    said = enable(client, config)
    if said != "enabled":
        spec: JsonObject = {"propagation": "Enabled"}
        if moves:
            spec["targetType"] = {"version": str_at(config, "spec", "targetType", "version")}
        _merge(client, name_of(config), spec)
    _settled(client, name_of(config), "Running")
    return said


@click.command("disable")
@click.argument("kind_word", metavar="TYPE")
@click.option("--delete-crd", is_flag=True, help="Its Federated kind goes as well; there must be no objects of it.")
@with_target
def disable_type(target: Target, kind_word: str, *, delete_crd: bool) -> None:
    """Carry out nothing more of TYPE. Federated objects stay, and so does what members have of them."""
    client = target.client()
    name = _config_name(client, kind_word)
    config = client.request("GET", path_of(TYPES, NAMESPACE, name)).obj
    if delete_crd:
        _check_none_left(client, config)
    _merge(client, name, {"propagation": "Disabled"})
    _settled(client, name, "NotRunning")
    # First: the cloud makes the definition again while the type is there.
    client.request("DELETE", path_of(TYPES, NAMESPACE, name))
    if delete_crd:
        said = ("spec", "federatedType")
        definition = f"{str_at(config, *said, 'pluralName')}.{str_at(config, *said, 'group')}"
        client.request("DELETE", path_of(_DEFINITIONS, "", definition))
        say(f"definition {definition} deleted")
    say(f"federated type {name} disabled; what members have stays there")


def _config_name(client: Client, word: str) -> str:
    """Of a word with a dot it is the name as it is: its kind may not be served any more."""
    if "." in word:
        return word
    kind = kinds.resolve(client, word)
    return name_of(config_of(kind))


def _check_none_left(client: Client, config: JsonObject) -> None:
    federated = str_at(config, "spec", "federatedType", "kind")
    kind = next(
        (each for each in kinds.discover(client) if each.kind == federated and each.group == TYPES_GROUP), None
    )
    if kind is None:
        return
    left = maps_at(client.request("GET", path_of(kind, ""), query={"limit": "1"}).obj, "items")
    if left:
        raise BadRequestError(f"there is a {federated} {name_of(left[0])} yet: delete it, or leave out --delete-crd")


def _merge(client: Client, name: str, spec: JsonObject) -> None:
    body: JsonObject = {"spec": spec}
    client.request("PATCH", path_of(TYPES, NAMESPACE, name), body=body, content_type=_MERGE)


def _settled(client: Client, name: str, word: str) -> None:
    """Until the cloud says that it is so. Raises `UnavailableError` with why it is not."""
    last: JsonObject = {}

    def look() -> bool | None:
        nonlocal last
        last = client.request("GET", path_of(TYPES, NAMESPACE, name)).obj
        known = last.get("status")
        current = isinstance(known, dict) and known.get("observedGeneration") == generation_of(last)
        return True if current and str_at(known, "propagationController") == word else None

    if wait_until(look) is None:
        raise UnavailableError(
            f"{name} is not {word} yet: {str_at(last, 'status', 'message') or 'nothing is said why'}"
        )


@click.group("orphaning")
def orphaning() -> None:
    """Whether members keep an object when its federated object is deleted."""


def _federated(client: Client, word: str, name: str, namespace: str) -> tuple[str, JsonObject]:
    """Path of a federated object, and itself; `word` may be that of its target."""
    served = kinds.discover(client)
    kind = kinds.named(served, word)
    if kind.group != TYPES_GROUP:
        federated = f"Federated{kind.kind}"
        found = next((each for each in served if each.kind == federated and each.group == TYPES_GROUP), None)
        if found is None:
            raise NotFoundError(f"{kind.kind} is not federated")
        kind = found
    path = path_of(kind, namespace if kind.namespaced else "", name)
    return path, client.request("GET", path).obj


def _orphaning(word: str, value: str | None, said: str, about: str) -> click.Command:
    @click.command(word, help=about)
    @click.argument("kind_word", metavar="TYPE")
    @click.argument("name")
    @click.option("-n", "--namespace", default="default", show_default=True, help="Where it is.")
    @with_target
    def command(target: Target, kind_word: str, name: str, namespace: str) -> None:
        client = target.client()
        path, obj = _federated(client, kind_word, name, namespace)
        if said:
            body: JsonObject = {"metadata": {"annotations": {ORPHAN: value}}}
            client.request("PATCH", path, body=body, content_type=_MERGE)
            say(f"{str_at(obj, 'kind')} {name}: {said}")
        else:
            say("Enabled" if orphans(obj) else "Disabled")

    return command


for _command in (
    _orphaning("enable", "true", "members keep it when it is deleted", "Members keep what they have of it."),
    _orphaning("disable", None, "it goes from members when it is deleted", "What members have of it goes with it."),
    _orphaning("status", None, "", "Enabled or Disabled."),
):
    orphaning.add_command(_command)

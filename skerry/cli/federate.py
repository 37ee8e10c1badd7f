"""`skerry federate`: a federated object made of one that is there, for all members."""

from __future__ import annotations

from typing import Final

import click

from skerry.cli import kinds
from skerry.cli.client import Client, path_of
from skerry.cli.output import print_data, say
from skerry.cli.region import enable, ensure_namespace, type_config
from skerry.cli.target import Target, with_target
from skerry.cli.waiting import wait_until
from skerry.errors import BadRequestError, NotFoundError
from skerry.objects.federation import TYPES_GROUP
from skerry.objects.json import JsonObject, clone, map_at
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.scheme import Kind

_OURS: Final = ("metadata", "apiVersion", "kind", "status")
_SERVICE_FIELDS: Final = ("clusterIP", "clusterIPs", "healthCheckNodePort", "ipFamilies", "ipFamilyPolicy")


@click.command("federate")
@click.argument("kind_word", metavar="TYPE")
@click.argument("name")
@click.option("-n", "--namespace", default="default", show_default=True, help="Where it is.")
@click.option("--enable-type", is_flag=True, help="Enable the type first where it is not.")
@click.option(
    "-o", "--output", "form", type=click.Choice(["", "yaml", "json"]), default="", help="Print, write nothing."
)
@with_target
def federate(target: Target, kind_word: str, name: str, namespace: str, *, enable_type: bool, form: str) -> None:
    """Make a federated object of the object NAME of TYPE, placed in all members (as `kubefedctl federate`)."""
    client = target.client()
    served = kinds.discover(client)
    kind = kinds.named(served, kind_word)
    if kind.kind.startswith("Federated"):
        raise BadRequestError(f"{kind.kind} is federated already")
    place = namespace if kind.namespaced else ""
    obj = client.request("GET", path_of(kind, place, name)).obj
    federated = federated_object(obj, kind)
    if form:
        print_data(federated, form)
        return
    known = _federated_kind(client, served, kind, enable_type=enable_type)
    body = {**federated, "apiVersion": known.api_version, "kind": known.kind}
    client.request("POST", path_of(known, namespace_of(body)), body=body)
    say(f"{known.plural}.{known.group}/{name_of(body)} created, placed in all members")


def federated_object(obj: JsonObject, kind: Kind) -> JsonObject:
    """Of an object as it is: without what the cluster that has it made of it."""
    template: JsonObject = {field: value for field, value in clone(obj).items() if field not in _OURS}
    labels = map_at(obj, "metadata", "labels")
    if labels:
        template["metadata"] = {"labels": labels}
    if kind.kind == "Service":
        spec = map_at(template, "spec")
        for field in _SERVICE_FIELDS:
            spec.pop(field, None)
    metadata: JsonObject = {"name": name_of(obj)}
    if kind.namespaced:
        metadata["namespace"] = namespace_of(obj)
    elif kind.kind == "Namespace":
        metadata["namespace"] = name_of(obj)
        template.pop("spec", None)
    return {
        "apiVersion": f"{TYPES_GROUP}/v1beta1",
        "kind": f"Federated{kind.kind}",
        "metadata": metadata,
        "spec": {"placement": {"clusterSelector": {"matchLabels": {}}}, "template": template},
    }


def _federated_kind(client: Client, served: list[Kind], kind: Kind, *, enable_type: bool) -> Kind:
    def found(among: list[Kind]) -> Kind | None:
        return next((each for each in among if each.kind == f"Federated{kind.kind}"), None)

    known = found(served)
    if known is None and enable_type:
        ensure_namespace(client)
        scope = "Namespaced" if kind.namespaced else "Cluster"
        enable(client, type_config(kind.group, kind.version, kind.kind, kind.plural, scope))
        known = wait_until(lambda: found(kinds.discover(client)))
    if known is None:
        raise NotFoundError(f"{kind.kind} is not federated: add --enable-type, or `skerry region init`")
    return known

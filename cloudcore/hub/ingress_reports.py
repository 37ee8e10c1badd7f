"""What a gateway tells of Ingresses, held against what it was given. Pure; keeps nothing."""

from __future__ import annotations

from collections.abc import Callable

from skerry.objects.ingresses import SERVED, IngressReport
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import Key, namespace_of, uid_of, with_annotations
from skerry.objects.scheme import Kind


def with_served(
    node: JsonObject,
    *,
    told: JsonObject,
    kind: Kind,
    lookup: Callable[[Key], JsonObject | None],
    holds: Callable[[Key], bool],
) -> JsonObject:
    """The Node with what its gateway serves, of what it was given. Raises `ProtocolError`."""
    report = IngressReport.decode(told)

    def given(each: str) -> bool:
        namespace, _, rest = each.partition("/")
        name, _, uid = rest.partition("/")
        key = kind.key(namespace, name)
        held = lookup(key)
        return held is not None and uid_of(held) == uid and holds(key)

    served = tuple(each for each in report.served if given(each))
    text = IngressReport(addresses=report.addresses, served=served).encode().decode() if served else ""
    return with_annotations(node, {SERVED: text}) if node else node


def ingress_subject(about: JsonObject, kind: Kind, held: JsonObject | None) -> JsonObject | None:
    """What an Event about an Ingress is about; None where the node does not have it, or in another life of it."""
    if held is None or str_at(about, "uid") not in ("", uid_of(held)):
        return None
    return {**about, "apiVersion": kind.api_version, "namespace": namespace_of(held), "uid": uid_of(held)}

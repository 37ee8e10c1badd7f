"""What a NodeGroup and an EdgeApplication may say. Pure.

Whether a manifest is as its kind wants it is found when it is made into an object, and told in the status.
"""

from __future__ import annotations

from collections.abc import Iterator

from skerry.errors import Cause
from skerry.objects.edge_applications import manifests_of, targets_of
from skerry.objects.json import JsonObject, map_at, str_at, str_map_at, strs_at
from skerry.objects.meta import namespace_of
from skerry.objects.names import subdomain_faults
from skerry.objects.node_groups import BELONGING_TO
from skerry.validation.faults import duplicate, forbidden, invalid, named, required
from skerry.validation.metadata import validate_labels


def validate_node_group(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    names = strs_at(obj, "spec", "nodes")
    for at, name in enumerate(names):
        yield from named(f"spec.nodes[{at}]", name, subdomain_faults)
        if name in names[:at]:
            yield duplicate(f"spec.nodes[{at}]", name)
    labels = str_map_at(obj, "spec", "matchLabels")
    yield from validate_labels("spec.matchLabels", labels)
    if BELONGING_TO in labels:
        yield forbidden(f"spec.matchLabels[{BELONGING_TO}]", "is what the group itself writes")


def validate_edge_application(obj: JsonObject, _old: JsonObject | None) -> Iterator[Cause]:
    seen: set[tuple[str, str, str]] = set()
    for ordinal, manifest in manifests_of(obj):
        at = f"spec.workloadTemplate.manifests[{ordinal}]"
        metadata = map_at(manifest, "metadata")
        said = (str_at(manifest, "apiVersion"), str_at(manifest, "kind"), str_at(metadata, "name"))
        for field, text in zip(("apiVersion", "kind", "metadata.name"), said, strict=True):
            if not text:
                yield required(f"{at}.{field}")
        if said in seen and all(said):
            yield duplicate(at, f"{said[1]} {said[2]}")
        seen.add(said)
        namespace = str_at(metadata, "namespace", default=namespace_of(obj))
        if namespace != namespace_of(obj):
            words = f"is {namespace_of(obj)}, the application's, or not given"
            yield invalid(f"{at}.metadata.namespace", namespace, words)
    groups: set[str] = set()
    for target in targets_of(obj):
        if target.group:
            yield from named("spec.workloadScope.targetNodeGroups.name", target.group, subdomain_faults)
        elif not target.selector:
            yield required("spec.workloadScope.targetNodeLabels.labelSelector", "without it nobody knows which nodes")
        if target.name in groups:
            yield duplicate("spec.workloadScope", target.group or "two targets with one labelSelector")
        groups.add(target.name)

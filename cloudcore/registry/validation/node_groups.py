"""What a NodeGroup may say. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from skerry.errors import Cause
from skerry.objects.json import JsonObject, str_map_at, strs_at
from skerry.objects.names import subdomain_faults
from skerry.objects.node_groups import BELONGING_TO
from skerry.validation.faults import duplicate, forbidden, named
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

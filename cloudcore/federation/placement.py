"""Which members an object goes to, as KubeFed's `spec.placement` says it, to the letter.

A list of names counts even where it is empty, and then a selector counts for nothing; neither is nowhere; a selector
without terms is everywhere. An object of a namespace goes no further than its namespace does. KubeFed's own code
reads `matchLabels` alone, though its schema has `matchExpressions`; here both count. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from skerry.errors import BadRequestError, InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.select import LabelSelector, label_selector


class Placement(Frozen):
    """As a federated object has it."""

    clusters: tuple[str, ...] | None = None
    """None: no list."""
    selector: LabelSelector | None = None
    """None: no selector. Counts where there is no list."""


def read_placement(obj: JsonObject) -> Placement:
    """Of a federated object. Raises `InvalidError` that names the field."""
    said = map_at(obj, "spec", "placement")
    if said.get("clusters") is not None:
        names = [str_at(each, "name") for each in maps_at(said, "clusters")]
        for at, name in enumerate(names):
            if not name:
                raise InvalidError(f"spec.placement.clusters[{at}].name: Required value")
        return Placement(clusters=tuple(names))
    if said.get("clusterSelector") is None:
        return Placement()
    try:
        return Placement(selector=label_selector(said["clusterSelector"]))
    except BadRequestError as error:
        raise InvalidError(f"spec.placement.clusterSelector.{error}") from error


def placed(
    placement: Placement, members: Mapping[str, Mapping[str, str]], *, namespace: Collection[str] | None = None
) -> frozenset[str]:
    """Names out of `members`, which are labels by name. `namespace`: where the object's namespace is; None for an
    object of none."""
    if placement.clusters is not None:
        found = frozenset(placement.clusters) & members.keys()
    elif placement.selector is not None:
        found = frozenset(name for name, labels in members.items() if placement.selector.matches(labels))
    else:
        found = frozenset[str]()
    return found if namespace is None else found & frozenset(namespace)

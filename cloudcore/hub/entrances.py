"""Which gateways serve each Ingress, and what they need for it. An index, kept change by change.

A gateway serves an Ingress when its agent says that it can (`--ingress`), the Ingress's class is ours, and the
class's node selector picks it; where the class has none, when its site has an endpoint of a Service of the Ingress.
Only then it has the Ingress, its class, and its Secrets: a certificate's key is on no gateway that does not show it
(docs/decisions/0390). Pure; a crash loses it, and it is made again from the store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from cloudcore.hub.reach import Reach
from cloudcore.hub.references import INGRESS_CLASSES
from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.commands import CAPABILITIES
from skerry.objects.ingresses import (
    CAN_SERVE,
    class_name_of,
    is_ours,
    needed_by_class,
    secrets_of,
    selector_of,
    services_of,
)
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, annotations_of, labels_of
from skerry.objects.select import NOTHING, LabelSelector


class _Class(Frozen):
    selector: LabelSelector | None
    needs: tuple[Key, ...]


class _Ingress(Frozen):
    class_name: str
    services: tuple[Key, ...]
    needs: tuple[Key, ...]
    """Secrets."""


_NOTHING: Final[tuple[Key, ...]] = ()

Turns = Iterable[tuple[Key, str]]
"""Ingresses and nodes of which has to be looked whether the one serves the other."""


class Entrances:
    """The index. Its changes name what may have turned; `turn` says what came of it."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._classes: dict[str, _Class] = {}
        """Ours."""
        self._ingresses: dict[Key, _Ingress] = {}
        self._of_class: dict[str, dict[Key, None]] = defaultdict(dict)
        self._behind: dict[Key, dict[Key, None]] = defaultdict(dict)
        """By Service: the Ingresses that lead to it."""
        self._able: dict[str, Mapping[str, str]] = {}
        """The nodes that can, and their labels."""
        self._nodes_of: dict[Key, dict[str, tuple[Key, ...]]] = defaultdict(dict)
        """By Ingress: who serves it, and what that gateway was given for it."""
        self._at: dict[str, dict[Key, None]] = defaultdict(dict)
        """By node: what it serves."""

    # --- what a node holds ---

    def keys(self, node: str) -> Iterator[Key]:
        """All that it was given; some more than once."""
        for ingress in self._at.get(node, ()):
            yield from self._nodes_of[ingress][node]

    def needs(self, ingress: Key) -> tuple[Key, ...]:
        """What has to be there before the Ingress."""
        found = self._ingresses.get(ingress)
        return _NOTHING if found is None else self._given(found)

    def _given(self, ingress: _Ingress) -> tuple[Key, ...]:
        ours = self._classes[ingress.class_name]
        return tuple(
            dict.fromkeys(
                (*ours.needs, *ingress.needs, *ingress.services, Key(INGRESS_CLASSES, "", ingress.class_name))
            )
        )

    # --- what changes ---

    def ingress_changed(self, key: Key, obj: JsonObject | None) -> Turns:
        old = self._ingresses.pop(key, None)
        if old is not None:
            self._of_class[old.class_name].pop(key, None)
            for service in old.services:
                self._behind[service].pop(key, None)
        if obj is not None:
            new = _Ingress(class_name=class_name_of(obj), services=services_of(obj), needs=secrets_of(obj))
            self._ingresses[key] = new
            self._of_class[new.class_name][key] = None
            for service in new.services:
                self._behind[service][key] = None
        return [*self._turns_of(key)]

    def class_changed(self, name: str, obj: JsonObject | None) -> Turns:
        self._classes.pop(name, None)
        if obj is not None and is_ours(obj):
            try:
                selector = selector_of(obj)
            except BadRequestError:
                selector = NOTHING  # the controller says so
            self._classes[name] = _Class(selector=selector, needs=needed_by_class(obj))
        return [turn for key in self._of_class.get(name, ()) for turn in self._turns_of(key)]

    def node_changed(self, node: str, obj: JsonObject | None) -> Turns:
        """After the reach knows of it: it may have moved to another site."""
        able = obj is not None and CAN_SERVE in annotations_of(obj).get(CAPABILITIES, "").split(",")
        if not able and node not in self._able:
            return []
        if able and obj is not None:
            self._able[node] = labels_of(obj)
        else:
            del self._able[node]
        found = dict(self._at.get(node, {}))
        for name, ours in self._classes.items():
            if ours.selector is not None:
                found |= self._of_class.get(name, {})
        for service in self._reach.served_near(node):
            found |= self._behind.get(service, {})
        return [(key, node) for key in found]

    def service_turned(self, service: Key, nodes: Iterable[str]) -> Turns:
        """The first endpoint of a Service came to the site of these nodes, or the last one left it."""
        behind = self._behind.get(service, ())
        return [(key, node) for key in behind for node in nodes if node in self._able] if behind else []

    def _turns_of(self, key: Key) -> Iterator[tuple[Key, str]]:
        """All who serve an Ingress, or may."""
        nodes = dict.fromkeys(self._nodes_of.get(key, ()))
        ingress = self._ingresses.get(key)
        ours = None if ingress is None else self._classes.get(ingress.class_name)
        if ours is not None and ours.selector is not None:
            nodes |= dict.fromkeys(node for node, labels in self._able.items() if ours.selector.matches(labels))
        elif ours is not None and ingress is not None:
            for service in ingress.services:
                nodes |= dict.fromkeys(node for node in self._reach.nodes_near(service) if node in self._able)
        return ((key, node) for node in nodes)

    def turn(self, key: Key, node: str) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
        """What the node was given for the Ingress so far, and what it is given from now on."""
        old = self._nodes_of.get(key, {}).get(node, _NOTHING)
        ingress = self._ingresses.get(key)
        if ingress is not None and self._serves(ingress, node):
            new = (*self._given(ingress), key)
            self._nodes_of[key][node] = new
            self._at[node][key] = None
            return old, new
        if old:
            del self._nodes_of[key][node]
            if not self._nodes_of[key]:
                del self._nodes_of[key]
            del self._at[node][key]
            if not self._at[node]:
                del self._at[node]
        return old, _NOTHING

    def _serves(self, ingress: _Ingress, node: str) -> bool:
        ours, labels = self._classes.get(ingress.class_name), self._able.get(node)
        if ours is None or labels is None:
            return False
        if ours.selector is not None:
            return ours.selector.matches(labels)
        return any(self._reach.is_near(service, node) for service in ingress.services)

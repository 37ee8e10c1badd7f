"""Which objects each node should hold: a function of the store, kept up to date change by change.

A node's view is its Node, the pods bound to it, what those pods refer to, the devices placed on it with their
models, the commands that were offered to it and are not settled, and the Services and EndpointSlices of the
namespaces its pods live in. Everything is kept at one revision: the objects that may be in a view (sharing their
bytes with the watch cache), and an index from objects to nodes, so that a change costs what it touches. Pure: no I/O;
a crash loses it, and it is made again from the store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from cloudcore.hub.references import (
    ARRIVAL,
    COMMANDS,
    DEVICES,
    NODES,
    PODS,
    PROMPT,
    SERVICES,
    SLICES,
    node_of,
    references_of,
)
from cloudcore.store.port import Change, Stored
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, Revision, Stamp
from skerry.wire.frames import ObjectState

_ROOTS: Final = frozenset((NODES, PODS, DEVICES, COMMANDS))
_NAMESPACE_WIDE: Final = frozenset((SERVICES, SLICES))
_RANKS: Final = {resource: rank for rank, resource in enumerate(ARRIVAL)}

K = TypeVar("K", Key, str)

Parse = Callable[[bytes], JsonObject]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Root:
    """An object that is on a node by itself, and what it brings along."""

    node: str
    references: tuple[Key, ...]
    namespace: str
    """Whose Services it may resolve; "" for none."""


@dataclass(slots=True)
class _Node:
    """What one node holds, counted."""

    roots: set[Key] = field(default_factory=set[Key])
    references: dict[Key, int] = field(default_factory=dict[Key, int])
    namespaces: dict[str, int] = field(default_factory=dict[str, int])


class Views:
    """All views at one revision."""

    def __init__(self, parse: Parse) -> None:
        self._parse = parse
        self._revision = Revision(0)
        self._objects: dict[Key, Stored] = {}
        self._roots: dict[Key, _Root] = {}
        self._nodes: dict[str, _Node] = defaultdict(_Node)
        # Ordered sets (dict keys): the same changes tell the same nodes in the same order, run after run.
        self._wanted_by: dict[Key, dict[str, None]] = defaultdict(dict)
        self._nodes_in: dict[str, dict[str, None]] = defaultdict(dict)
        self._wide: dict[str, set[Key]] = defaultdict(set)

    @property
    def revision(self) -> Revision:
        return self._revision

    def load(self, objects: Iterable[Stored], revision: Revision) -> None:
        """Take in the current objects as of a revision, into empty views."""
        assert not self._objects, "loaded once"
        for stored in objects:
            self._take(stored.key, stored)
        self._revision = revision

    def apply(self, change: Change) -> dict[str, list[Key]]:
        """Take in one change; the keys that changed, by node."""
        self._revision = change.revision
        key = change.key
        if key.resource not in _RANKS:
            return {}
        stored = None
        if change.after is not None:
            stored = Stored(key=key, uid=change.uid, revision=change.revision, body=change.after)
        return {node: list(keys) for node, keys in self._take(key, stored).items()}

    def view(self, node: str) -> NodeView:
        """The live view of one node, known or not."""
        return NodeView(self, node)

    def nodes(self) -> Sequence[str]:
        """The nodes that have a Node object."""
        return [name for name, node in self._nodes.items() if Key(NODES, "", name) in node.roots]

    # --- one change ---

    def _take(self, key: Key, stored: Stored | None) -> dict[str, dict[Key, None]]:
        touched: dict[str, dict[Key, None]] = defaultdict(dict)
        if stored is None:
            self._objects.pop(key, None)
        else:
            self._objects[key] = stored
        if key.resource in _ROOTS:
            self._replace_root(key, None if stored is None else self._root(key, stored), touched)
        elif key.resource in _NAMESPACE_WIDE:
            (self._wide[key.namespace].discard if stored is None else self._wide[key.namespace].add)(key)
            for node in self._nodes_in.get(key.namespace, ()):
                touched[node][key] = None
        else:
            for node in self._wanted_by.get(key, ()):
                touched[node][key] = None
        return touched

    def _root(self, key: Key, stored: Stored) -> _Root | None:
        obj = self._parse(stored.body)
        node = node_of(key, obj)
        if not node:
            return None
        namespace = key.namespace if key.resource == PODS else ""
        return _Root(node=node, references=references_of(key, obj), namespace=namespace)

    def _replace_root(self, key: Key, new: _Root | None, touched: dict[str, dict[Key, None]]) -> None:
        old = self._roots.pop(key, None)
        if new is not None:
            self._roots[key] = new
            self._add_root(key, new, touched[new.node])
        if old is not None:
            self._drop_root(key, old, touched[old.node], stays=new is not None and new.node == old.node)

    def _add_root(self, key: Key, root: _Root, touched: dict[Key, None]) -> None:
        node = self._nodes[root.node]
        node.roots.add(key)
        for reference in root.references:
            count = node.references.get(reference, 0)
            node.references[reference] = count + 1
            self._wanted_by[reference][root.node] = None
            if count == 0:
                touched[reference] = None
        if root.namespace:
            count = node.namespaces.get(root.namespace, 0)
            node.namespaces[root.namespace] = count + 1
            self._nodes_in[root.namespace][root.node] = None
            if count == 0:
                touched.update(dict.fromkeys(sorted(self._wide.get(root.namespace, ()))))
        touched[key] = None

    def _drop_root(self, key: Key, root: _Root, touched: dict[Key, None], *, stays: bool) -> None:
        node = self._nodes[root.node]
        touched[key] = None
        if not stays:
            node.roots.discard(key)
        for reference in root.references:
            if _less(node.references, reference):
                self._wanted_by[reference].pop(root.node, None)
                if not self._wanted_by[reference]:
                    del self._wanted_by[reference]
                touched[reference] = None
        if root.namespace and _less(node.namespaces, root.namespace):
            self._nodes_in[root.namespace].pop(root.node, None)
            touched.update(dict.fromkeys(sorted(self._wide.get(root.namespace, ()))))
        if not (node.roots or node.references or node.namespaces):
            del self._nodes[root.node]

    # --- what a NodeView asks ---

    def held(self, node: str, key: Key) -> Stored | None:
        """The object, when it is in the node's view."""
        parts = self._nodes.get(node)
        if parts is None:
            return None
        if key.resource in _ROOTS:
            wanted = key in parts.roots
        elif key.resource in _NAMESPACE_WIDE:
            wanted = key.namespace in parts.namespaces
        else:
            wanted = key in parts.references
        return self._objects.get(key) if wanted else None

    def keys(self, node: str) -> Iterator[Key]:
        """Every key of the view, wanted objects that don't exist included, in no order."""
        parts = self._nodes.get(node)
        if parts is not None:
            yield from parts.roots
            yield from parts.references
            for namespace in parts.namespaces:
                yield from self._wide.get(namespace, ())

    def references(self, key: Key) -> tuple[Key, ...]:
        root = self._roots.get(key)
        return root.references if root is not None else ()


class NodeView:
    """`skerry.sync.ports.View` of one node."""

    def __init__(self, views: Views, node: str) -> None:
        self._views = views
        self._node = node

    @property
    def revision(self) -> Revision:
        return self._views.revision

    def stamps(self) -> Iterator[tuple[Key, Stamp]]:
        for key in sorted(self._views.keys(self._node), key=lambda key: (_RANKS[key.resource], key)):
            stored = self._views.held(self._node, key)
            if stored is not None:
                yield key, Stamp(stored.uid, stored.revision)

    def state(self, key: Key) -> ObjectState | None:
        stored = self._views.held(self._node, key)
        if stored is None:
            return None
        return ObjectState(key=key, stamp=Stamp(stored.uid, stored.revision), body=stored.body)

    def closure(self, key: Key) -> Sequence[Key]:
        """What an object of this view refers to; what another node's object refers to is not this node's to know."""
        return self._views.references(key) if self._views.held(self._node, key) is not None else ()

    def prompt(self, key: Key) -> bool:
        return key.resource in PROMPT


def _less(counts: dict[K, int], key: K) -> bool:
    """Count one down; True when that was the last."""
    counts[key] -= 1
    if counts[key] == 0:
        del counts[key]
        return True
    return False

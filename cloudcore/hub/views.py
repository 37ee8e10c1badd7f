"""Which objects each node should hold: a function of the store, kept up to date change by change.

A node's view is its Node, the pods bound to it, what those pods refer to (the volumes of their claims included), the
volumes that are its directories, the devices placed on it with their models, the rules whose messages come from it
with their endpoints, the device rules that it carries out, the commands that were offered to it and are not settled,
the Ingresses that it serves with their certificates (`entrances`), the Services and EndpointSlices that its pods may
reach (`reach`), and the roles of their ServiceAccounts, by which its local API decides.

Everything is kept at one revision: the objects that may be in a view (sharing their bytes with the watch cache), and
an index from objects to nodes, so that a change costs what it touches. A fleet has hundreds of thousands of these
objects, most wanted by one node alone: so the index keeps a name where a dictionary of one would do, and keys are
shared. Pure: no I/O; a crash loses it, and it is made again from the store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from sys import intern
from typing import Final

from cloudcore.hub.entrances import Entrances, Turns
from cloudcore.hub.reach import REACHED, Reach
from cloudcore.hub.references import (
    ARRIVAL,
    CLUSTER_ROLE_BINDINGS,
    COMMANDS,
    DEVICES,
    EVERYWHERE,
    INGRESS_CLASSES,
    INGRESSES,
    NODES,
    PODS,
    PROMPT,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICES,
    SLICES,
    brought_by,
    home_of,
    node_of,
    references_of,
    scopes_of,
    signers_wanted,
)
from cloudcore.store.port import Change, Stored
from skerry.frozen import Frozen
from skerry.objects.device_rule_reports import DEVICE_RULES
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.rules import MESSAGES, RULES
from skerry.objects.trust_bundles import BUNDLES
from skerry.objects.volumes import CLAIMS, VOLUMES
from skerry.wire.frames import ObjectState

_ROOTS: Final = frozenset((NODES, PODS, DEVICES, RULES, DEVICE_RULES, COMMANDS, MESSAGES))
_LINKED: Final = frozenset((CLAIMS, VOLUMES))
"""What others refer to, and that refers to something itself."""
_WIDE: Final = frozenset((ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS, BUNDLES))
"""On a node because pods of a namespace are, or such as project bundles of a signer."""
_RANKS: Final = {resource: rank for rank, resource in enumerate(ARRIVAL)}

Parse = Callable[[bytes], JsonObject]


class _Root(Frozen):
    """An object that is on a node by itself, and what it brings along."""

    node: str
    references: tuple[Key, ...]
    namespace: str
    """Whose Services it may reach; "" for none."""
    signers: tuple[str, ...] = ()
    """Scopes of the bundles that it projects."""


class _Wide(Frozen):
    """An object that is on each node with pods of these namespaces, and what it brings along."""

    scopes: frozenset[str] = frozenset()
    references: tuple[Key, ...] = ()


_NOWHERE: Final = _Wide()

_Counts = dict[str, int]
"""Nodes, and by how many of its roots each wants something. Ordered: the same changes tell the same nodes in the same
order, run after run."""


class Views:
    """All views at one revision."""

    def __init__(self, parse: Parse) -> None:
        self._parse = parse
        self._revision = Revision(0)
        self._objects: dict[Key, Stored] = {}
        self._roots: dict[Key, _Root] = {}
        self._nodes: dict[str, set[Key]] = {}
        """The roots on each."""
        self._wanted_by: dict[Key, str | _Counts] = {}
        """Who refers to an object: the node's name where that is one root of one node."""
        self._brings: dict[Key, Key] = {}
        """What comes along with an object that somebody refers to."""
        self._homes: dict[Key, str] = {}
        self._at_home: dict[str, set[Key]] = defaultdict(set)
        """By node: what it has though nothing there refers to it."""
        self._reach = Reach()
        self._entrances = Entrances(self._reach)
        self._nodes_in: dict[str, _Counts] = defaultdict(dict)
        """By namespace: the nodes with roots in it; under `EVERYWHERE` all of them."""
        self._wide: dict[str, set[Key]] = defaultdict(set)
        """By namespace: what its pods bring along."""
        self._wide_objects: dict[Key, _Wide] = {}

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
        if change.key.resource not in _RANKS:
            return {}
        key = self._shared(change.key)
        stored = None
        if change.after is not None:
            stored = Stored(key=key, uid=change.uid, revision=change.revision, body=change.after)
        return {node: list(keys) for node, keys in self._take(key, stored).items()}

    def view(self, node: str) -> NodeView:
        """The live view of one node, known or not."""
        return NodeView(self, node)

    def nodes(self) -> Sequence[str]:
        """The nodes that have a Node object."""
        return [name for name, roots in self._nodes.items() if Key(NODES, "", name) in roots]

    # --- one change ---

    def _take(self, key: Key, stored: Stored | None) -> dict[str, dict[Key, None]]:
        touched: dict[str, dict[Key, None]] = defaultdict(dict)
        if stored is None:
            self._objects.pop(key, None)
        else:
            self._objects[key] = stored
        if key.resource in _ROOTS:
            obj = None if stored is None else self._parse(stored.body)
            self._replace_root(key, None if obj is None else self._root(key, obj), touched)
            if key.resource == NODES:
                self._reach.node_changed(key.name, obj, touched[key.name])
                self._turn(self._entrances.node_changed(key.name, obj), touched)
        elif key.resource == SERVICES:
            self._reach.service_changed(key, there=stored is not None, touched=touched)
        elif key.resource == SLICES:
            self._reach.slice_changed(key, None if stored is None else self._parse(stored.body), touched)
            for service, nodes in self._reach.take_turned():
                self._turn(self._entrances.service_turned(service, nodes), touched)
        elif key.resource in _WIDE:
            self._replace_wide(key, None if stored is None else self._wide_of(key, stored), touched)
            for node in self._wanting(key):
                touched[node][key] = None
        else:
            if key.resource in _LINKED:
                self._link(key, {} if stored is None else self._parse(stored.body), touched)
            for node in self._wanting(key):
                touched[node][key] = None
            if key.resource == INGRESSES:
                obj = None if stored is None else self._parse(stored.body)
                self._turn(self._entrances.ingress_changed(key, obj), touched)
            elif key.resource == INGRESS_CLASSES:
                obj = None if stored is None else self._parse(stored.body)
                self._turn(self._entrances.class_changed(key.name, obj), touched)
        return touched

    def _turn(self, turns: Turns, touched: dict[str, dict[Key, None]]) -> None:
        """Give gateways what they serve from now on, and take from them what they don't."""
        for ingress, node in turns:
            old, new = self._entrances.turn(ingress, node)
            if old == new:
                continue
            for key in new:
                if key.resource == SERVICES:
                    self._reach.called(key, node, touched[node])
                else:
                    self._refer(self._shared(key), node, touched[node])
            for key in old:
                if key.resource == SERVICES:
                    self._reach.uncalled(key, node, touched[node])
                else:
                    self._unrefer(key, node, touched[node])

    def _wanting(self, key: Key) -> tuple[str, ...]:
        wanted = self._wanted_by.get(key, {})
        return (wanted,) if isinstance(wanted, str) else tuple(wanted)

    def _link(self, key: Key, obj: JsonObject, touched: dict[str, dict[Key, None]]) -> None:
        """The object, as it now is, refers to something else than before, or lives elsewhere."""
        old, new = self._brings.get(key), brought_by(key, obj)
        if old != new:
            self._brings.pop(key, None)
            if new is not None:
                self._brings[key] = self._shared(new)
            for node in self._wanting(key):
                if new is not None:
                    self._refer(new, node, touched[node])
                if old is not None:
                    self._unrefer(old, node, touched[node])
        home, was = home_of(key, obj), self._homes.get(key, "")
        if home != was:
            self._homes.pop(key, None)
            if home:
                self._homes[key] = intern(home)
                self._at_home[home].add(key)
                self._refer(key, intern(home), touched[home])
            if was:
                self._at_home[was].discard(key)
                self._unrefer(key, was, touched[was])

    def _refer(self, key: Key, node: str, touched: dict[Key, None]) -> None:
        if self._want(key, node):
            brought = self._brings.get(key)
            if brought is not None:
                self._refer(brought, node, touched)
            touched[key] = None

    def _unrefer(self, key: Key, node: str, touched: dict[Key, None]) -> None:
        if self._unwant(key, node):
            touched[key] = None
            brought = self._brings.get(key)
            if brought is not None:
                self._unrefer(brought, node, touched)

    def _root(self, key: Key, obj: JsonObject) -> _Root | None:
        node = node_of(key, obj)
        if not node:
            return None
        namespace = key.namespace if key.resource == PODS else ""
        references = tuple(self._shared(reference) for reference in references_of(key, obj))
        signers = signers_wanted(key, obj)
        return _Root(node=intern(node), references=references, namespace=namespace, signers=signers)

    def _wide_of(self, key: Key, stored: Stored) -> _Wide:
        if key.resource == ROLES:
            return _Wide(scopes=frozenset((key.namespace,)))
        obj = self._parse(stored.body)
        references = tuple(self._shared(reference) for reference in references_of(key, obj))
        return _Wide(scopes=scopes_of(key, obj), references=references)

    def _replace_wide(self, key: Key, new: _Wide | None, touched: dict[str, dict[Key, None]]) -> None:
        old = self._wide_objects.pop(key, _NOWHERE)
        if new is not None:
            self._wide_objects[key] = new
        new = new or _NOWHERE
        for scope in sorted(old.scopes - new.scopes):
            self._wide[scope].discard(key)
        for scope in sorted(new.scopes):
            self._wide[scope].add(key)
            for node in self._nodes_in.get(scope, ()):
                touched[node][key] = None
                for reference in new.references:
                    self._refer(reference, node, touched[node])
        for scope in sorted(old.scopes):
            for node in self._nodes_in.get(scope, ()):
                touched[node][key] = None
                for reference in old.references:
                    self._unrefer(reference, node, touched[node])

    def _enter(self, scope: str, node: str, touched: dict[Key, None]) -> None:
        """One more root with pods of this namespace is on the node."""
        if _more(self._nodes_in[scope], node):
            for key in sorted(self._wide.get(scope, ())):
                touched[key] = None
                for reference in self._wide_objects[key].references:
                    self._refer(reference, node, touched)

    def _leave(self, scope: str, node: str, touched: dict[Key, None]) -> None:
        if _less(self._nodes_in[scope], node):
            for key in sorted(self._wide.get(scope, ())):
                touched[key] = None
                for reference in self._wide_objects[key].references:
                    self._unrefer(reference, node, touched)

    def _shared(self, key: Key) -> Key:
        """The key as it is kept already, where the object is here."""
        stored = self._objects.get(key)
        return key if stored is None else stored.key

    def _replace_root(self, key: Key, new: _Root | None, touched: dict[str, dict[Key, None]]) -> None:
        old = self._roots.get(key)
        if new is not None and new == old:
            touched[new.node][key] = None  # most changes are of a status
            return
        self._roots.pop(key, None)
        if new is not None:
            self._roots[key] = new
            self._add_root(key, new, touched[new.node])
        if old is not None:
            self._drop_root(key, old, touched[old.node], stays=new is not None and new.node == old.node)

    def _add_root(self, key: Key, root: _Root, touched: dict[Key, None]) -> None:
        self._nodes.setdefault(root.node, set()).add(key)
        for reference in root.references:
            self._refer(reference, root.node, touched)
        if root.namespace:
            self._reach.pod_came(root.namespace, root.node, touched)
            self._enter(root.namespace, root.node, touched)
            self._enter(EVERYWHERE, root.node, touched)
        for scope in root.signers:
            self._enter(scope, root.node, touched)
        touched[key] = None

    def _drop_root(self, key: Key, root: _Root, touched: dict[Key, None], *, stays: bool) -> None:
        touched[key] = None
        if not stays:
            roots = self._nodes[root.node]
            roots.discard(key)
            if not roots:
                del self._nodes[root.node]
        for reference in root.references:
            self._unrefer(reference, root.node, touched)
        if root.namespace:
            self._reach.pod_went(root.namespace, root.node, touched)
            self._leave(root.namespace, root.node, touched)
            self._leave(EVERYWHERE, root.node, touched)
        for scope in root.signers:
            self._leave(scope, root.node, touched)

    def _want(self, key: Key, node: str) -> bool:
        """One more root of the node refers to this; True when it is its first."""
        wanted = self._wanted_by.get(key)
        if wanted is None:
            self._wanted_by[key] = node
            return True
        if isinstance(wanted, str):
            wanted = self._wanted_by[key] = {wanted: 1}
        return _more(wanted, node)

    def _unwant(self, key: Key, node: str) -> bool:
        """One root of the node less; True when that was its last."""
        wanted = self._wanted_by[key]
        if isinstance(wanted, str):
            del self._wanted_by[key]
            return True
        last = _less(wanted, node)
        if len(wanted) == 1 and 1 in wanted.values():
            (self._wanted_by[key],) = wanted
        return last

    # --- what a NodeView asks ---

    def held(self, node: str, key: Key) -> Stored | None:
        """The object, when it is in the node's view."""
        if key.resource in _ROOTS:
            wanted = key in self._nodes.get(node, ())
        elif key.resource in REACHED:
            wanted = self._reach.holds(node, key)
        elif key.resource in _WIDE:
            scopes = self._wide_objects.get(key, _NOWHERE).scopes
            wanted = any(node in self._nodes_in.get(scope, ()) for scope in scopes) or self._is_named(key, node)
        else:
            wanted = self._is_named(key, node)
        return self._objects.get(key) if wanted else None

    def _is_named(self, key: Key, node: str) -> bool:
        by = self._wanted_by.get(key, ())
        return by == node if isinstance(by, str) else node in by

    def keys(self, node: str) -> set[Key]:
        """Every key of the view, wanted objects that don't exist included."""
        roots = self._nodes.get(node, ())
        keys = set(roots)
        for key in roots:
            keys.update(self._with_brought(self._roots[key].references))
        keys.update(self._at_home.get(node, ()))
        keys.update(self._entrances.keys(node))
        namespaces = {key.namespace for key in roots if key.resource == PODS}
        keys.update(self._reach.keys(node, namespaces))
        signers = {scope for key in roots for scope in self._roots[key].signers}
        for scope in (*namespaces, *signers, EVERYWHERE) if namespaces else ():
            for wide in self._wide.get(scope, ()):
                keys.add(wide)
                keys.update(self._wide_objects[wide].references)
        return keys

    def references(self, key: Key) -> tuple[Key, ...]:
        if key.resource == INGRESSES:
            return self._entrances.needs(key)
        root = self._roots.get(key) or self._wide_objects.get(key, _NOWHERE)
        return self._with_brought(root.references)

    def _with_brought(self, references: tuple[Key, ...]) -> tuple[Key, ...]:
        """What they bring along, before them."""
        brought = [self._brings[key] for key in references if key in self._brings]
        return (*brought, *references) if brought else references


class NodeView:
    """`skerry.sync.ports.View` of one node."""

    def __init__(self, views: Views, node: str) -> None:
        self._views = views
        self._node = node

    @property
    def revision(self) -> Revision:
        return self._views.revision

    def stamps(self) -> Iterator[tuple[Key, Stamp]]:
        for key in sorted(self._views.keys(self._node), key=_arrival):
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

    def secret(self, key: Key) -> bool:
        return key.resource == SECRETS

    def prompt(self, key: Key) -> bool:
        return key.resource in PROMPT


def _arrival(key: Key) -> tuple[int, str, str]:
    return _RANKS[key.resource], key.namespace, key.name


def _more(counts: _Counts, node: str) -> bool:
    """Count one up; True when that is the first."""
    counts[node] = counts.get(node, 0) + 1
    return counts[node] == 1


def _less(counts: _Counts, node: str) -> bool:
    """Count one down; True when that was the last."""
    counts[node] -= 1
    if counts[node] == 0:
        del counts[node]
        return True
    return False

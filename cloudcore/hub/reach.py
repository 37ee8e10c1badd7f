"""Which Services and EndpointSlices each node holds: those its pods may reach. An index, kept change by change.

A node has the Services of the namespaces that its pods live in, whoever stands behind them, so that their names are
known; the EndpointSlices of its own site, whatever their namespace, with their Services; and in its pods' namespaces
those that are on no site: made by hand, or meant for everywhere. With any pod it has the API's as well, for which
pods of every namespace may ask. So a pod's readiness is told to its own site and to nobody else, whatever the size of
the fleet (docs/decisions/0370). Pure; a crash loses it, and it is made again from the store.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from cloudcore.hub.references import SERVICES, SLICES
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, labels_of
from skerry.objects.sites import EVERYWHERE, ZONE_LABEL, site_of, sites_of

API_SERVICE: Final = Key(SERVICES, "default", "kubernetes")
"""Its name is the one that every pod may ask for (`kubernetes.default`)."""
REACHED: Final = frozenset((SERVICES, SLICES))
_SERVICE_LABEL: Final = "kubernetes.io/service-name"

Touched = dict[str, dict[Key, None]]
"""Keys that changed for a node, by node."""


class Reach:
    """The index. What it is told it adds to `touched`."""

    def __init__(self) -> None:
        self._zones: dict[str, str] = {}
        """Of the nodes that have one."""
        self._nodes_at: dict[str, dict[str, None]] = defaultdict(dict)
        """By site, where that is a zone; any other is one node."""
        self._nodes_in: dict[str, Counter[str]] = defaultdict(Counter)
        """By namespace: the nodes with pods in it, and how many."""
        self._services: dict[str, dict[Key, None]] = defaultdict(dict)
        """By namespace."""
        self._sites: dict[Key, frozenset[str]] = {}
        """Of each slice."""
        self._service_of: dict[Key, Key] = {}
        """Of each slice that names one."""
        self._slices_at: dict[str, dict[Key, None]] = defaultdict(dict)
        """By site."""
        self._everywhere: dict[str, dict[Key, None]] = defaultdict(dict)
        """By namespace: slices on no site."""
        self._served_at: dict[Key, Counter[str]] = defaultdict(Counter)
        """By service: the sites with slices of it, and how many."""
        self._called: dict[Key, Counter[str]] = defaultdict(Counter)
        """By service: the nodes that lead others to it (`cloudcore.hub.entrances`), and for how many reasons."""
        self._calls: dict[str, dict[Key, None]] = defaultdict(dict)
        """The same by node."""
        self._turned: list[tuple[Key, tuple[str, ...]]] = []

    # --- what a node holds ---

    def holds(self, node: str, key: Key) -> bool:
        """Whether it is in the node's view, if it is there at all."""
        near = node in self._nodes_in.get(key.namespace, ())
        if key.resource == SERVICES:
            return near or node in self._called.get(key, ()) or self.is_near(key, node)
        sites, service = self._sites.get(key, frozenset()), self._service_of.get(key)
        near = near or (service is not None and node in self._called.get(service, ()))
        return (near and EVERYWHERE in sites) or self._site(node) in sites

    def keys(self, node: str, namespaces: Iterable[str]) -> Iterator[Key]:
        """All that the node holds; `namespaces` are those of its pods. Some more than once."""
        for namespace in namespaces:
            yield from self._services.get(namespace, ())
            yield from self._everywhere.get(namespace, ())
        for key in self._slices_at.get(self._site(node), ()):
            yield key
            service = self._service_of.get(key)
            if service is not None:
                yield service
        for service in self._calls.get(node, ()):
            yield service
            yield from self._everywhere_of(service)

    def _with_slices(self, service: Key) -> list[Key]:
        """A Service, where it is there, and its slices on no site."""
        there = [service] if service in self._services.get(service.namespace, ()) else []
        return [*there, *self._everywhere_of(service)]

    def _everywhere_of(self, service: Key) -> list[Key]:
        slices = self._everywhere.get(service.namespace, ())
        return [key for key in slices if self._service_of.get(key) == service]

    # --- who is near whom ---

    def is_near(self, service: Key, node: str) -> bool:
        """Whether the node's site has endpoints of the Service."""
        return self._site(node) in self._served_at.get(service, ())

    def nodes_near(self, service: Key) -> Iterator[str]:
        for site in self._served_at.get(service, ()):
            yield from self._nodes_of(site)

    def served_near(self, node: str) -> Iterator[Key]:
        """The Services with endpoints at the node's site; some more than once."""
        for key in self._slices_at.get(self._site(node), ()):
            service = self._service_of.get(key)
            if service is not None:
                yield service

    def take_turned(self) -> list[tuple[Key, tuple[str, ...]]]:
        """The Services that came to a site or left it since this was asked, and the nodes there."""
        turned, self._turned = self._turned, []
        return turned

    def _site(self, node: str) -> str:
        return site_of(node, self._zones.get(node, ""))

    def _nodes_of(self, site: str) -> Iterable[str]:
        kind, _, name = site.partition("/")
        return [name] if kind == "node" and name not in self._zones else [*self._nodes_at.get(site, ())]

    # --- what changes ---

    def pod_came(self, namespace: str, node: str, touched: dict[Key, None]) -> None:
        """One more pod of the namespace is on the node."""
        self.called(API_SERVICE, node, touched)
        counts = self._nodes_in[namespace]
        counts[node] += 1
        if counts[node] == 1:
            touched.update(dict.fromkeys(self._in(namespace)))

    def pod_went(self, namespace: str, node: str, touched: dict[Key, None]) -> None:
        self.uncalled(API_SERVICE, node, touched)
        counts = self._nodes_in[namespace]
        counts[node] -= 1
        if counts[node] == 0:
            del counts[node]
            touched.update(dict.fromkeys(self._in(namespace)))

    def called(self, service: Key, node: str, touched: dict[Key, None]) -> None:
        """One more reason for the node to lead others to a Service, wherever its own pods live."""
        counts = self._called[service]
        counts[node] += 1
        if counts[node] == 1:
            self._calls[node][service] = None
            touched.update(dict.fromkeys(self._with_slices(service)))

    def uncalled(self, service: Key, node: str, touched: dict[Key, None]) -> None:
        counts = self._called[service]
        counts[node] -= 1
        if counts[node]:
            return
        del counts[node]
        if not counts:
            del self._called[service]
        del self._calls[node][service]
        if not self._calls[node]:
            del self._calls[node]
        touched.update(dict.fromkeys(self._with_slices(service)))

    def _in(self, namespace: str) -> list[Key]:
        return sorted((*self._services.get(namespace, ()), *self._everywhere.get(namespace, ())))

    def node_changed(self, node: str, obj: JsonObject | None, touched: dict[Key, None]) -> None:
        """A Node as it is now, or None: it may have moved to another site."""
        before = self._site(node)
        zone = "" if obj is None else labels_of(obj).get(ZONE_LABEL, "")
        after = site_of(node, zone)
        if before == after:
            return
        if before in self._nodes_at:
            self._nodes_at[before].pop(node, None)
        if zone:
            self._zones[node] = zone
            self._nodes_at[after][node] = None
        else:
            del self._zones[node]
        for site in (before, after):
            for key in self._slices_at.get(site, ()):
                touched[key] = None
                service = self._service_of.get(key)
                if service is not None:
                    touched[service] = None

    def service_changed(self, key: Key, *, there: bool, touched: Touched) -> None:
        if there:
            self._services[key.namespace][key] = None
        else:
            self._services[key.namespace].pop(key, None)
        for node in (*self._nodes_in.get(key.namespace, ()), *self._called.get(key, ())):
            touched[node][key] = None
        for site in self._served_at.get(key, ()):
            for node in self._nodes_of(site):
                touched[node][key] = None

    def slice_changed(self, key: Key, obj: JsonObject | None, touched: Touched) -> None:
        """An EndpointSlice as it is now, or None."""
        before, old = self._sites.pop(key, frozenset()), self._service_of.pop(key, None)
        after, new = frozenset[str](), None
        if obj is not None:
            after = self._sites[key] = sites_of(obj)
            name = labels_of(obj).get(_SERVICE_LABEL, "")
            if name:
                new = self._service_of[key] = Key(SERVICES, key.namespace, name)
        for site in sorted(before | after):
            self._touch(key, site, touched)
        if EVERYWHERE in before | after:
            for service in {each for each in (old, new) if each is not None}:
                for node in self._called.get(service, ()):
                    touched[node][key] = None
        for site in sorted(after):
            self._place(key, site)
            if new is not None and site != EVERYWHERE:
                self._served(new, site, touched)
        for site in sorted(before):
            if site not in after:
                self._displace(key, site)
            if old is not None and site != EVERYWHERE:
                self._unserved(old, site, touched)

    def _touch(self, key: Key, site: str, touched: Touched) -> None:
        nodes = self._nodes_in.get(key.namespace, ()) if site == EVERYWHERE else self._nodes_of(site)
        for node in nodes:
            touched[node][key] = None

    def _place(self, key: Key, site: str) -> None:
        (self._everywhere[key.namespace] if site == EVERYWHERE else self._slices_at[site])[key] = None

    def _displace(self, key: Key, site: str) -> None:
        if site == EVERYWHERE:
            del self._everywhere[key.namespace][key]
            return
        del self._slices_at[site][key]
        if not self._slices_at[site]:
            del self._slices_at[site]

    def _served(self, service: Key, site: str, touched: Touched) -> None:
        self._served_at[service][site] += 1
        if self._served_at[service][site] == 1:
            nodes = self._nodes_of(site)
            self._turned.append((service, tuple(nodes)))
            for node in nodes:
                touched[node][service] = None

    def _unserved(self, service: Key, site: str, touched: Touched) -> None:
        counts = self._served_at[service]
        counts[site] -= 1
        if counts[site] == 0:
            del counts[site]
            nodes = self._nodes_of(site)
            self._turned.append((service, tuple(nodes)))
            for node in nodes:
                touched[node][service] = None
        if not counts:
            del self._served_at[service]

"""Makes zones of DnsZones and of all who have names in them, and tells Gslbs and GlobalServices what is answered.

Keeps what each wish came to, and the nodes' addresses, in memory: a controller that begins is shown every object
anew. A crash leaves the snapshots as they were, from which servers answer on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final

from cloudcore.controllers.gslb.annotated import ANNOTATED, ANNOTATIONS, STRATEGY, asks, brought, gslb_of, is_of
from cloudcore.controllers.gslb.draft import (
    Draft,
    Ground,
    NodeFacts,
    draft,
    endpoint_rows,
    gslb_status,
    node_facts,
    services_behind,
    zone_of,
)
from cloudcore.controllers.gslb.exposed import KIND, endpoint_of, ingress_of, is_exposed, local_targets, with_spec
from cloudcore.controllers.gslb.handover import (
    MIGRATED,
    given_up,
    has_moved,
    ingress_left_by,
    is_asked,
    labelled,
    successor_of,
)
from cloudcore.controllers.gslb.judging import Remembering
from cloudcore.controllers.gslb.members import is_made, sources_of
from cloudcore.controllers.gslb.plan import Composed, Judge, Listed, Unread, Wished, compose, owner_text
from cloudcore.controllers.gslb.routes import parents_of, selected_by
from cloudcore.registry.port import Transform
from cloudcore.runtime.events import Saying
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import AlreadyExistsError, InvalidError, NotFoundError
from skerry.objects.conditions import Condition, with_condition
from skerry.objects.gslb import (
    DNS_ENDPOINTS,
    DNS_SNAPSHOTS,
    DNS_ZONES,
    GATEWAYS,
    GLOBAL_SERVICES,
    GSLBS,
    ISTIO_GATEWAYS,
    LISTENER_SETS,
    REFERRED,
    WISHES,
    Wish,
    wish_of,
)
from skerry.objects.ingresses import INGRESSES
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import (
    Key,
    annotations_of,
    being_deleted,
    controller_of,
    generation_of,
    labels_of,
    name_of,
    uid_of,
)
from skerry.objects.multicluster_dns import ENDPOINTS, RECORDS, shards_of
from skerry.objects.select import LabelSelector, label_selector

LOG: Final = logging.getLogger(__name__)
_ROUTES: Final = tuple(each for each in REFERRED.values() if each not in (INGRESSES, "services"))
_CUSTOM: Final = (*_ROUTES, GATEWAYS, LISTENER_SETS, ISTIO_GATEWAYS)
SLICES: Final = "endpointslices.discovery.k8s.io"
SERVICES: Final = "services"
NODES: Final = "nodes"
LISTED: Final = (DNS_ENDPOINTS, ENDPOINTS)
_MADE: Final = ("serial", "records", "services")
_SERVICE_LABEL: Final = "kubernetes.io/service-name"


class GslbController:
    """See the module. Its keys are zones, Gslbs, GlobalServices and DNSEndpoints."""

    name = "gslb-controller"
    workers = 1

    def __init__(self, tools: Tools, judge: Judge) -> None:
        """`judge` is the servers' own build."""
        self._tools = tools
        self._judge = Remembering(judge)
        self._left_out: dict[str, dict[str, tuple[str, ...]]] = {}
        """By zone and owner: what is not in it, and why."""
        self._made: dict[Key, Draft] = {}
        self._behind: dict[Key, frozenset[Key]] = {}
        """By wish: what was looked at for it."""
        self._selecting: dict[Key, tuple[LabelSelector, ...]] = {}
        """By wish: what chooses Services of gateways, which may come later."""
        self._led: dict[Key, frozenset[Key]] = {}
        """By wish: gateways and their Services, of the routes that it refers to."""
        self._events = tools.recorder(self.name)
        self._said: dict[str, tuple[str, ...]] = {}
        """By uid of a Gslb: what was complained of last."""
        self._nodes: dict[str, NodeFacts] = {}
        self._node_at: dict[str, str] = {}

    def watches(self) -> Sequence[Keys]:
        return [
            *(Keys(resource=resource, keys=self._of_wish) for resource in WISHES),
            Keys(resource=DNS_ZONES, keys=self._of_zone),
            *(Keys(resource=resource, keys=self._of_endpoint) for resource in LISTED),
            *(Keys(resource=resource, keys=self._of_record) for resource in RECORDS),
            *(
                Keys(resource=resource, keys=lambda change: [*self._of_referred(change), *_annotated(change)])
                for resource in ANNOTATED
            ),
            *(Keys(resource=resource, keys=self._of_referred) for resource in _CUSTOM),
            Keys(resource=SLICES, keys=self._of_slice),
            Keys(resource=NODES, keys=self._of_node),
        ]

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            return None
        obj = self._tools.cache.obj(stored)
        if being_deleted(obj):
            return None
        if key.resource == DNS_ZONES:
            await self._compose(key, obj)
            return None
        if key.resource in LISTED:
            await self._observe(key, obj)
            return None
        if key.resource in ANNOTATED:
            await self._gslb_of(key, obj)
            return None
        if (is_asked(key, obj) or has_moved(key, obj)) and await self._hand_over(key, obj):
            return None
        return await self._tell(key, obj)

    # --- what wakes it ---

    def _of_wish(self, change: Seen) -> Iterable[Key]:
        """The wish where it is another; its status is written here."""
        before, after = change.before, change.after
        if before is not None and after is not None and _asked(before) == _asked(after):
            return ()
        if after is None:
            self._behind.pop(change.key, None)
            self._led.pop(change.key, None)
            self._selecting.pop(change.key, None)
            self._said.pop(uid_of(before) if before is not None else "", None)
        keys = [*self._touched([change.key])]
        # Who takes away the Gslb of what is annotated has it made anew; who changes it, put right.
        for resource in ANNOTATED if change.key.resource in GSLBS else ():
            annotated = Key(resource, change.key.namespace, change.key.name)
            stored = self._tools.cache.read(annotated)
            if stored is not None and asks(annotated, self._tools.cache.obj(stored)):
                keys.append(annotated)
        return keys

    def _of_zone(self, change: Seen) -> Iterable[Key]:
        before, after = change.before, change.after
        if before is not None and after is not None and generation_of(before) == generation_of(after):
            return ()
        # A zone that comes takes names from a wider one, and one that goes gives them back.
        keys = [change.key] if before is not None and after is not None else self._zones()
        return [*keys, *self._touched(key for key, _ in self._wishes())]

    def _of_endpoint(self, change: Seen) -> Iterable[Key]:
        before, after = change.before, change.after
        # Who is handed it by another Gslb has it as it was for the other.
        if before is not None and after is not None and _owned(before) == _owned(after):
            return ()
        if after is None:
            self._said.pop(uid_of(change.last), None)
        # Who changes or takes away what a Gslb has made of itself, finds it put right.
        owner = controller_of(change.last) if change.key.resource == DNS_ENDPOINTS else None
        makers = GSLBS if owner is not None and owner.kind == KIND else ()
        gslbs = [Key(resource, change.key.namespace, owner.name) for resource in makers if owner is not None]
        return [*self._zones(), change.key, *gslbs]

    def _of_record(self, change: Seen) -> Iterable[Key]:
        """Where what it comes to may be another: it has no status but what members have."""
        before, after = change.before, change.after
        if before is not None and after is not None and _said(before) == _said(after):
            return ()
        return self._zones()

    def _of_referred(self, change: Seen) -> Iterable[Key]:
        found: list[Key] = []
        for key, obj in self._wishes():
            reference = wish_of(key, obj).reference
            sides = [side for side in (change.before, change.after) if side is not None]
            refers = reference is not None and any(reference.refers_to(side, change.key) for side in sides)
            selecting = self._selecting.get(key, ()) if change.key.resource == SERVICES else ()
            chosen = any(selector.selects(side) for selector in selecting for side in sides)
            if refers or chosen or change.key in self._behind.get(key, ()):
                found.append(key)
        return self._touched(found)

    def _of_slice(self, change: Seen) -> Iterable[Key]:
        sides = [side for side in (change.before, change.after) if side is not None]
        names = {labels_of(side).get(_SERVICE_LABEL, "") for side in sides}
        services = {Key(SERVICES, change.key.namespace, name) for name in names}
        return self._touched([key for key, behind in self._behind.items() if services & behind])

    def _of_node(self, change: Seen) -> Iterable[Key]:
        name, after = change.key.name, change.after
        old = self._nodes.get(name)
        new = node_facts(after) if after is not None else None
        if old == new:
            return ()
        for address in old.addresses if old is not None else ():
            if self._node_at.get(address) == name:
                del self._node_at[address]
        if new is None:
            self._nodes.pop(name, None)
        else:
            self._nodes[name] = new
            self._node_at.update(dict.fromkeys(new.addresses, name))
        addresses = {*(old.addresses if old is not None else ()), *(new.addresses if new is not None else ())}
        return self._touched(
            [key for key, made in self._made.items() if addresses & made.addresses or name in made.nodes]
        )

    def _touched(self, wishes: Iterable[Key]) -> Iterable[Key]:
        """Wishes that are to be looked at, and the zones that have them."""
        touched = [*wishes]
        for key in touched:
            self._made.pop(key, None)
        return [*self._zones(), *touched] if touched else ()

    def _zones(self) -> list[Key]:
        return [stored.key for stored in self._tools.cache.select(DNS_ZONES)]

    def _wishes(self) -> Iterable[tuple[Key, JsonObject]]:
        for resource in WISHES:
            for stored in self._tools.cache.select(resource):
                yield stored.key, self._tools.cache.obj(stored)

    # --- wishes ---

    def _draft(self, wish: Wish) -> Draft:
        made = self._made.get(wish.key)
        now_ms = self._tools.clock.wall_ms()
        if made is not None and not 0 < made.next_ms <= now_ms:
            return made
        ground = self._ground(wish)
        self._behind[wish.key] = frozenset(
            (*ground.slices, *(key for key, _ in ground.referred), *self._led.get(wish.key, ()))
        )
        made = self._made[wish.key] = draft(wish, ground, now_ms)
        return made

    def _ground(self, wish: Wish) -> Ground:
        cache = self._tools.cache
        referred: list[tuple[Key, JsonObject]] = []
        if wish.reference is not None and wish.reference.resource:
            for stored in cache.select(wish.reference.resource, namespace=wish.reference.namespace):
                obj = cache.obj(stored)
                if wish.reference.refers_to(obj, stored.key):
                    referred.append((stored.key, obj))
        parents = {key: self._parents(key, obj) for key, obj in referred if key.resource in _CUSTOM}
        self._led[wish.key] = frozenset(key for led in parents.values() for key, _ in led)
        ways = [obj for led in parents.values() for key, obj in led if key.resource == ISTIO_GATEWAYS]
        self._selecting[wish.key] = tuple(_selector_of(each) for each in ways if selected_by(each))
        services = services_behind(wish, referred)
        slices: dict[Key, tuple[JsonObject, ...]] = dict.fromkeys(services, ())
        for namespace in {key.namespace for key in services}:
            for stored in cache.select(SLICES, namespace=namespace):
                obj = cache.obj(stored)
                key = Key(SERVICES, namespace, labels_of(obj).get(_SERVICE_LABEL, ""))
                if key in slices:
                    slices[key] = (*slices[key], obj)
        return Ground(
            referred=tuple(referred),
            services=frozenset(key for key in services if cache.read(key) is not None),
            slices=slices,
            nodes=self._nodes,
            node_at=self._node_at,
            parents={key: tuple(obj for _, obj in led) for key, led in parents.items()},
            zones={stored.key.name: map_at(cache.obj(stored), "spec") for stored in cache.select(DNS_ZONES)},
        )

    def _parents(self, route: Key, obj: JsonObject) -> list[tuple[Key, JsonObject]]:
        """What a route is reached at, with the gateways themselves, which may come later."""
        cache = self._tools.cache
        found: list[tuple[Key, JsonObject]] = []
        for key in parents_of(route, obj):
            stored = cache.read(key)
            gateway = cache.obj(stored) if stored is not None else {}
            found.append((key, gateway))
            if key.resource == LISTENER_SETS and stored is not None:
                found += self._parents(key, gateway)
            if key.resource == ISTIO_GATEWAYS and selected_by(gateway):
                selector = _selector_of(gateway)
                services = [(each.key, cache.obj(each)) for each in cache.select(SERVICES)]
                found += [(service, obj) for service, obj in services if selector.selects(obj)]
        return found

    async def _tell(self, key: Key, obj: JsonObject) -> float | None:
        wish = wish_of(key, obj)
        if wish.embedded is not None:
            await self._keep(INGRESSES, key, obj, ingress_of(obj))
        made = self._draft(wish)
        if key.resource in GSLBS:
            await self._keep(DNS_ENDPOINTS, key, obj, endpoint_of(obj, wish, made))
        zones = [zone.name for zone in self._zones()]
        problems = [
            *made.problems,
            *(why for left_out in self._left_out.values() for why in left_out.get(owner_text(key), ())),
            *(f"no DnsZone has {host.name}" for host in made.hosts if not zone_of(host.name, zones)),
        ]
        now_ms = self._tools.clock.wall_ms()

        def transform(current: JsonObject) -> JsonObject:
            if uid_of(current) != uid_of(obj):
                return current
            told = gslb_status(wish, made, current)
            if key.resource == GLOBAL_SERVICES:
                told = _global_status(current, made, problems, now_ms)
            return current if map_at(current, "status") == told else {**current, "status": told}

        if transform(obj) is not obj:
            await self._write_status(key, transform)
        if key.resource != GLOBAL_SERVICES:
            await self._complain(obj, problems)
        return (made.next_ms - now_ms) / 1000 + 0.01 if made.next_ms else None

    async def _keep(self, resource: str, key: Key, gslb: JsonObject, wanted: JsonObject) -> None:
        """Make what a Gslb has beside it, and keep its spec so; one of that name that is somebody's is let be."""
        kind, there = self._tools.kind(resource), Key(resource, key.namespace, key.name)
        stored = self._tools.cache.read(there)
        try:
            if stored is None:
                await self._tools.objects.create(kind, key.namespace, wanted)
            elif with_spec(present := self._tools.cache.obj(stored), wanted, gslb) is not present:
                await self._tools.objects.update(kind, there, lambda current: with_spec(current, wanted, gslb))
        except (AlreadyExistsError, NotFoundError):
            return  # the change that tells of it wakes this

    async def _hand_over(self, key: Key, gslb: JsonObject) -> bool:
        """To one of k8gb's newer group, which has its hosts from then on; labelled when all is there. False where it
        can't be, and has them as before."""
        cache, there = self._tools.cache, Key(GSLBS[0], key.namespace, key.name)
        stored = cache.read(there)
        if stored is None and has_moved(key, gslb):
            why = f"it is labelled {MIGRATED}, and {there.name} of k8gb.io is not there: nothing is answered of it"
            await self._events.say(gslb, Saying(type="Normal", reason="LegacyIgnored", message=why))
            return True
        try:
            after = cache.obj(stored) if stored is not None else None
            if after is None:
                left = ingress_left_by(gslb)
                if left is not None and cache.read(Key(INGRESSES, key.namespace, key.name)) is None:
                    await self._tools.objects.create(self._tools.kind(INGRESSES), key.namespace, left)
                kind = self._tools.kind(GSLBS[0])
                after = (await self._tools.objects.create(kind, key.namespace, successor_of(gslb))).obj
            for resource, heir in ((INGRESSES, None), (DNS_ENDPOINTS, after)):
                await self._give_up(Key(resource, key.namespace, key.name), gslb, heir)
            if not has_moved(key, gslb):
                await self._tools.objects.update(self._tools.kind(key.resource), key, labelled)
                why = f"{there.name} of k8gb.io has its hosts now; this one may be deleted"
                await self._events.say(gslb, Saying(type="Normal", reason="LegacyMigrated", message=why))
        except InvalidError as error:
            why = f"{there.name} of k8gb.io can't be made: {error}"
            await self._events.say(gslb, Saying(type="Warning", reason="LegacyRefused", message=why))
            return has_moved(key, gslb)
        except (AlreadyExistsError, NotFoundError):
            return True  # the change that tells of it wakes this
        return True

    async def _give_up(self, key: Key, before: JsonObject, after: JsonObject | None) -> None:
        stored = self._tools.cache.read(key)
        if stored is None or given_up(obj := self._tools.cache.obj(stored), before, after) is obj:
            return
        kind = self._tools.kind(key.resource)
        await self._tools.objects.update(kind, key, lambda current: given_up(current, before, after))

    async def _gslb_of(self, key: Key, annotated: JsonObject) -> None:
        """Make the Gslb of an annotated Ingress or Service, and keep it as the annotations are."""
        there = [Key(resource, key.namespace, key.name) for resource in GSLBS]
        found = next(((each, stored) for each in there if (stored := self._tools.cache.read(each)) is not None), None)
        before = self._tools.cache.obj(found[1]) if found is not None else None
        if before is not None and asks(key, annotated) and not is_of(before, annotated):
            word = ANNOTATED[key.resource].rpartition(" ")[2]
            why = f"there is a Gslb {key.name} that is not this {word}'s; its annotations are of no effect"
            await self._events.say(annotated, Saying(type="Warning", reason="GslbExists", message=why))
            return
        if not asks(key, annotated):
            if before is not None and is_of(before, annotated):
                gone = "it is no LoadBalancer" if STRATEGY in annotations_of(annotated) else f"{STRATEGY} is gone"
                why = f"{gone}, and the Gslb {key.name} stays as it is: delete it to end it"
                await self._events.say(annotated, Saying(type="Normal", reason="GslbStays", message=why))
            return
        try:
            wanted = gslb_of(key, annotated, before)
            if found is None:
                await self._tools.objects.create(self._tools.kind(GSLBS[0]), key.namespace, wanted)
            elif before is not None and brought(before, wanted) is not before:
                kind = self._tools.kind(found[0].resource)
                await self._tools.objects.update(
                    kind, found[0], lambda current: brought(current, gslb_of(key, annotated, current))
                )
        except InvalidError as error:
            await self._events.say(annotated, Saying(type="Warning", reason="GslbRefused", message=str(error)))
        except (AlreadyExistsError, NotFoundError):
            return  # the change that tells of it wakes this

    async def _complain(self, obj: JsonObject, problems: Sequence[str]) -> None:
        """By an Event, of what k8gb's status has no place for."""
        said = tuple(problems[:5])
        if self._said.get(uid_of(obj), ()) == said:
            return
        self._said[uid_of(obj)] = said
        if said:
            await self._events.say(obj, Saying(type="Warning", reason="Incomplete", message="; ".join(said)))

    async def _observe(self, key: Key, obj: JsonObject) -> None:
        generation = generation_of(obj)

        def transform(current: JsonObject) -> JsonObject:
            if uid_of(current) != uid_of(obj) or map_at(current, "status").get("observedGeneration") == generation:
                return current
            return {**current, "status": {**map_at(current, "status"), "observedGeneration": generation}}

        if transform(obj) is not obj:
            await self._write_status(key, transform)
        # Whoever writes it may not be able to read the zone.
        left_out = (why for zone in self._left_out.values() for why in zone.get(owner_text(key), ()))
        await self._complain(obj, [*left_out])

    async def _write_status(self, key: Key, transform: Transform) -> None:
        try:
            await self._tools.objects.update(self._tools.kind(key.resource), key, transform, subresource="status")
        except NotFoundError:
            return

    # --- zones ---

    async def _compose(self, key: Key, zone: JsonObject) -> None:
        cache = self._tools.cache
        there = Key(DNS_SNAPSHOTS, "", key.name)
        stored = cache.read(there)
        before = map_at(cache.obj(stored), "spec") if stored is not None else None
        sources = [source for each, obj in self._wishes() for source in self._wished(each, obj)]
        rows = [(row.key, cache.obj(row)) for listed in LISTED for row in cache.select(listed)]
        sources += [
            Listed(key=each, obj=obj, age=_age(obj))
            for each, obj in rows
            if not (is_made(each, obj) or is_exposed(each, obj))
        ]
        records = [(row.key, cache.obj(row)) for resource in RECORDS for row in cache.select(resource)]
        sources += [source for each, obj in records for source in sources_of(each, obj, map_at(zone, "spec"))]
        zones = [each.name for each in self._zones()]
        now_s = self._tools.clock.wall_ms() // 1000
        # A large zone takes seconds to be read, in which everybody else is served.
        made = await asyncio.to_thread(compose, key.name, zone, zones, sources, before, now_s, self._judge)
        if made.spec is not None and before != made.spec:
            await self._write_snapshot(there, zone, made.spec, exists=stored is not None)
        await self._tell_left_out(key.name, dict(made.left_out))
        now_ms = self._tools.clock.wall_ms()

        def transform(current: JsonObject) -> JsonObject:
            if uid_of(current) != uid_of(zone):
                return current
            told = _zone_status(current, made, now_ms)
            return current if map_at(current, "status") == told else {**current, "status": told}

        if transform(zone) is not zone:
            await self._write_status(key, transform)

    def _wished(self, key: Key, obj: JsonObject) -> list[Wished | Listed | Unread]:
        """Of one object, and not for all: one that nothing can be made of would keep every zone as it is."""
        if has_moved(key, obj):
            return []
        try:
            wish = wish_of(key, obj)
            made = self._draft(wish)
        except Exception as error:
            LOG.exception("nothing can be made of %s", key)
            return [Unread(key=key, age=_age(obj), why=f"nothing can be made of it: {error or type(error).__name__}")]
        wished: list[Wished | Listed | Unread] = [Wished(wish=wish, draft=made, age=_age(obj))]
        return [*wished, local_targets(wish, made, _age(obj))] if key.resource in GSLBS else wished

    async def _tell_left_out(self, zone: str, left_out: dict[str, tuple[str, ...]]) -> None:
        """To those whose it is, in their status."""
        before = self._left_out.get(zone, {})
        self._left_out[zone] = left_out
        # Those that are to be looked at anew, or that nothing can be made of, have their own turn.
        for key, obj in [(key, obj) for key, obj in self._wishes() if key in self._made]:
            owner = owner_text(key)
            if key.resource == GLOBAL_SERVICES and before.get(owner) != left_out.get(owner):
                await self._tell(key, obj)

    async def _write_snapshot(self, there: Key, zone: JsonObject, spec: JsonObject, *, exists: bool) -> None:
        kind = self._tools.kind(DNS_SNAPSHOTS)
        if exists:
            try:
                await self._tools.objects.update(kind, there, lambda current: {**current, "spec": spec})
            except NotFoundError:
                exists = False
        if not exists:
            owner: JsonObject = {
                "apiVersion": "skerry.dev/v1",
                "kind": "DnsZone",
                "name": name_of(zone),
                "uid": uid_of(zone),
                "controller": True,
            }
            body: JsonObject = {
                "apiVersion": "skerry.dev/v1",
                "kind": "DnsSnapshot",
                "metadata": {"name": there.name, "ownerReferences": [owner]},
                "spec": spec,
            }
            await self._tools.objects.create(kind, "", body)


def _selector_of(gateway: JsonObject) -> LabelSelector:
    return label_selector({"matchLabels": selected_by(gateway)})


def _annotated(change: Seen) -> Iterable[Key]:
    """Ingresses and Services that a Gslb is wanted of, or was."""
    before, after = change.before, change.after
    sides = [side for side in (before, after) if side is not None]
    if after is None or not any(asks(change.key, side) for side in sides) or being_deleted(after):
        return ()
    said = {name: annotations_of(after).get(name) for name in ANNOTATIONS}
    same = before is not None and said == {name: annotations_of(before).get(name) for name in ANNOTATIONS}
    same = same and all(asks(change.key, side) for side in sides)
    return () if same else [change.key]


def _asked(obj: JsonObject) -> tuple[object, ...]:
    observations, meta = map_at(obj, "status").get("observations"), map_at(obj, "metadata")
    return generation_of(obj), meta.get("annotations"), meta.get("labels"), being_deleted(obj), observations


def _owned(endpoint: JsonObject) -> tuple[object, ...]:
    return generation_of(endpoint), map_at(endpoint, "metadata").get("ownerReferences")


def _said(record: JsonObject) -> tuple[object, ...]:
    domain = str_at(record, "status", "domain")
    return map_at(record, "spec"), map_at(record, "metadata").get("annotations"), domain, shards_of(record)


def _age(obj: JsonObject) -> str:
    return str_at(obj, "metadata", "creationTimestamp")


def _global_status(current: JsonObject, made: Draft, problems: Sequence[str], now_ms: int) -> JsonObject:
    ready = Condition(
        type="Ready",
        status="False" if problems else "True",
        reason="Incomplete" if problems else "Answered",
        message="; ".join(problems[:5]),
        observed_generation=generation_of(current),
    )
    seen = map_at(current, "status").get("observations")
    return {
        **({"observations": seen} if seen else {}),
        "observedGeneration": generation_of(current),
        "serviceHealth": {host.name: host.health for host in made.hosts},
        "endpoints": [*endpoint_rows(made)],
        "conditions": with_condition(maps_at(current, "status", "conditions"), ready, now_ms=now_ms),
    }


def _zone_status(current: JsonObject, made: Composed, now_ms: int) -> JsonObject:
    generation = generation_of(current)
    words = "; ".join(made.problems[:3])
    ready = Condition(
        type="Ready",
        status="False" if made.spec is None else "True",
        reason="Refused" if made.spec is None else "Made",
        message=f"what there was is answered on: {words}" if made.spec is None else "",
        observed_generation=generation,
    )
    complete = Condition(
        type="Complete",
        status="False" if made.problems else "True",
        reason="LeftOut" if made.problems else "All",
        message=words,
        observed_generation=generation,
    )
    conditions = maps_at(current, "status", "conditions")
    for each in (ready, complete):
        conditions = maps_at({"of": [*with_condition(conditions, each, now_ms=now_ms)]}, "of")
    told: JsonObject = {"observedGeneration": generation, "conditions": [*conditions]}
    if made.spec is not None:
        told |= {"serial": made.spec["serial"], "records": made.records, "services": made.services}
    else:
        told |= {name: map_at(current, "status")[name] for name in _MADE if name in map_at(current, "status")}
    if made.problems:
        told["problems"] = [*made.problems]
    return told

"""Keeps `status.loadBalancer` of the Ingresses of our classes, and says as Events who serves them and what is amiss.

Keeps who serves what, from the Nodes (`skerry.objects.ingresses.SERVED`); a controller that begins is shown all of
them anew. An Ingress of a class of somebody else's is let be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from cloudcore.controllers.ingress.plan import addressed
from cloudcore.runtime.events import Saying
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import BadRequestError, NotFoundError
from skerry.objects.ingresses import (
    CLASSES,
    INGRESSES,
    IngressReport,
    class_name_of,
    default_certificate_of,
    is_ours,
    parameters_of,
    selector_of,
    served_by,
)
from skerry.objects.ingresses import DEFAULT_CERTIFICATE as CERTIFICATE
from skerry.objects.json import JsonObject, map_at
from skerry.objects.meta import Key, annotations_of, uid_of

_NAMED_MAX: Final = 5
"""Gateways that an Event names before it counts the rest."""


class IngressController:
    """See the module."""

    name = "ingress-controller"
    workers = 2

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._kind = tools.kind(INGRESSES)
        self._events = tools.recorder(self.name)
        self._told: dict[str, IngressReport] = {}
        """By node."""
        self._serving: dict[str, dict[str, None]] = defaultdict(dict)
        """By the Ingress's uid: nodes."""

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=INGRESSES, keys=lambda change: [] if change.deleted else [change.key]),
            Keys(resource=CLASSES, keys=self._of_class),
            Keys(resource="nodes", keys=self._served),
        ]

    async def reconcile(self, key: Key) -> float | None:
        cache = self._tools.cache
        stored = cache.read(key)
        if stored is None:
            return None
        ingress = cache.obj(stored)
        ours = self._class(ingress)
        if ours is None:
            return None
        for reason, message in _class_faults(ours):
            await self._events.say(ingress, Saying(type="Warning", reason=reason, message=message))
        nodes = [*self._serving.get(uid_of(ingress), ())]
        addresses = [address for node in nodes for address in self._told[node].addresses]

        def transform(current: JsonObject) -> JsonObject:
            return addressed(current, addresses) if uid_of(current) == stored.uid else current

        if transform(ingress) is ingress:
            return None
        try:
            await self._tools.objects.update(self._kind, key, transform, subresource="status")
        except NotFoundError:
            return None
        await self._events.say(ingress, Saying(type="Normal", reason="Sync", message=_where(nodes, addresses)))
        return None

    def _class(self, ingress: JsonObject) -> JsonObject | None:
        stored = self._tools.cache.read(Key(CLASSES, "", class_name_of(ingress)))
        found = None if stored is None else self._tools.cache.obj(stored)
        return found if is_ours(found) else None

    def _of_class(self, change: Seen) -> Iterable[Key]:
        cache = self._tools.cache
        return [
            stored.key for stored in cache.select(INGRESSES) if class_name_of(cache.obj(stored)) == change.key.name
        ]

    def _served(self, change: Seen) -> Iterable[Key]:
        """The Ingresses that a gateway serves since, or no more, or at another address."""
        node = change.key.name
        old, new = self._told.get(node), served_by(change.after)
        if old == new or (old is None and not new.served):
            return []
        before = old.served if old is not None else ()
        for each in before:
            nodes = self._serving[_uid(each)]
            nodes.pop(node, None)
            if not nodes:
                del self._serving[_uid(each)]
        for each in new.served:
            self._serving[_uid(each)][node] = None
        if new.served:
            self._told[node] = new
        else:
            self._told.pop(node, None)
        touched = {*before, *new.served}
        if old is not None and old.addresses == new.addresses:
            touched = {*before} ^ {*new.served}
        return [key for each in sorted(touched) if (key := _key(each)) is not None]


def _uid(served: str) -> str:
    return served.rpartition("/")[2]


def _key(served: str) -> Key | None:
    namespace, _, rest = served.partition("/")
    name = rest.partition("/")[0]
    return Key(INGRESSES, namespace, name) if namespace and name else None


def _where(nodes: Sequence[str], addresses: Sequence[str]) -> str:
    if not nodes:
        return "no gateway serves it"
    more = f" and {len(nodes) - _NAMED_MAX} more" if len(nodes) > _NAMED_MAX else ""
    return f"served by {', '.join(sorted(nodes)[:_NAMED_MAX])}{more} at {len(set(addresses))} addresses"


def _class_faults(ours: JsonObject) -> Iterable[tuple[str, str]]:
    """What of a class can't be followed."""
    try:
        selector_of(ours)
    except BadRequestError as error:
        yield "BadClass", f"annotation skerry.dev/node-selector of its class: {error}; no gateway serves it"
    if map_at(ours, "spec", "parameters") and parameters_of(ours) is None:
        yield (
            "BadClass",
            "spec.parameters of its class: write a ConfigMap (kind ConfigMap, scope Namespace, no apiGroup)",
        )
    if annotations_of(ours).get(CERTIFICATE) and default_certificate_of(ours) is None:
        yield "BadClass", f"annotation {CERTIFICATE} of its class: write NAMESPACE/NAME of a Secret"

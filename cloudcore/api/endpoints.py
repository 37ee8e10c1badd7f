"""default/kubernetes leads to every replica that lives: the leader writes its addresses.

Each replica says in a Lease of its own where its API is reached, for as long as it lives; who is dead has none any
more (`cloudcore.hub.leases`). Kubernetes' API servers do the same (`pkg/controlplane/reconcilers`, the lease
reconciler). Keeps nothing: the addresses are in the Endpoints and EndpointSlices, where a crash leaves those of
before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Final

from cloudcore.api.bootstrap import first_address
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import AlreadyExistsError, NotFoundError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, str_at
from skerry.objects.meta import Key, labels_of, name_of
from skerry.objects.scheme import Kind

NAMESPACE: Final = "default"
NAME: Final = "kubernetes"
_LEASES: Final = "leases.coordination.k8s.io"
_SLICES: Final = "endpointslices.discovery.k8s.io"
_SERVICE: Final = "kubernetes.io/service-name"
_KEY: Final = Key("endpoints", NAMESPACE, NAME)
"""What is reconciled: all of it is one thing."""


class Reached(Frozen, order=True):
    """Where one replica's API is."""

    version: int
    """Of the Internet Protocol."""
    port: int
    host: str


def reached_at(address: str, *, instead: str) -> Reached | None:
    """HOST:PORT taken apart; None for what is no address. Kubernetes allows no loopback address in Endpoints:
    `instead` stands for it, which leads nowhere, as everything would on such a machine."""
    host, _, port = address.rpartition(":")
    try:
        found = ip_address(host.strip("[]"))
        number = int(port)
    except ValueError:
        return None
    if found.is_loopback or found.is_unspecified:
        found = ip_address(instead)
    return Reached(version=found.version, port=number, host=str(found))


def endpoints_of(reached: Iterable[Reached]) -> JsonObject:
    """The Endpoints object: a subset for each port."""
    ordered = sorted(set(reached))
    subsets: list[Json] = []
    for port in dict.fromkeys(each.port for each in ordered):
        addresses: list[Json] = [{"ip": each.host} for each in ordered if each.port == port]
        subsets.append({"addresses": addresses, "ports": [_port(port)]})
    labels: JsonObject = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    metadata: JsonObject = {"name": NAME, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}


def slices_of(reached: Iterable[Reached]) -> list[JsonObject]:
    """EndpointSlices: all addresses of one have its port and are of one family. The first is called as Kubernetes'
    own; more there are only where replicas differ."""
    ordered = sorted(set(reached))
    groups = list(dict.fromkeys((each.version, each.port) for each in ordered))
    made: list[JsonObject] = []
    for version, port in groups:
        name = NAME if not made else f"{NAME}-ipv{version}-{port}"
        ready: JsonObject = {"ready": True}
        endpoints: list[Json] = [
            {"addresses": [each.host], "conditions": ready}
            for each in ordered
            if (each.version, each.port) == (version, port)
        ]
        metadata: JsonObject = {"name": name, "namespace": NAMESPACE, "labels": {_SERVICE: NAME}}
        made.append(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": metadata,
                "addressType": f"IPv{version}",
                "endpoints": endpoints,
                "ports": [_port(port)],
            }
        )
    return made


def _port(port: int) -> JsonObject:
    return {"name": "https", "port": port, "protocol": "TCP"}


class ApiEndpoints:
    """The controller. `address_of`: HOST:PORT of the replica that a Lease is of, "" for any other Lease."""

    name = "apiserver-endpoints"
    workers = 1

    def __init__(self, tools: Tools, *, service_cidr: str, address_of: Callable[[JsonObject], str]) -> None:
        self._tools = tools
        self._instead = first_address(service_cidr)
        self._address_of = address_of

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=_LEASES, keys=self._of_lease),
            Keys(resource=_KEY.resource, keys=_of_ours),
            Keys(resource=_SLICES, keys=_of_ours),
        ]

    def _of_lease(self, change: Seen) -> Iterable[Key]:
        before, after = ("" if obj is None else self._address_of(obj) for obj in (change.before, change.after))
        return [_KEY] if before != after else []

    async def reconcile(self, key: Key) -> float | None:
        cache = self._tools.cache
        told = [self._address_of(cache.obj(stored)) for stored in cache.select(_LEASES, namespace="kube-system")]
        reached = [found for address in told if (found := reached_at(address, instead=self._instead)) is not None]
        if not reached:
            return None  # nobody has said yet; what is there was right when it was written
        await self._keep(self._tools.kind(_KEY.resource), endpoints_of(reached), ("subsets",))
        slices = slices_of(reached)
        kind = self._tools.kind(_SLICES)
        for each in slices:
            await self._keep(kind, each, ("addressType", "endpoints", "ports"))
        names = {name_of(each) for each in slices}
        for stored in cache.select(_SLICES, namespace=NAMESPACE):
            if labels_of(cache.obj(stored)).get(_SERVICE) == NAME and stored.key.name not in names:
                await self._drop(kind, stored.key)
        return None

    async def _keep(self, kind: Kind, wanted: JsonObject, fields: Sequence[str]) -> None:
        key = kind.key(NAMESPACE, name_of(wanted))
        try:
            await self._tools.objects.update(
                kind, key, lambda current: {**current, **{field: wanted[field] for field in fields}}
            )
        except NotFoundError:
            try:
                await self._tools.objects.create(kind, NAMESPACE, wanted)
            except AlreadyExistsError:
                return  # made just now by a replica that starts; its change brings us here again

    async def _drop(self, kind: Kind, key: Key) -> None:
        try:
            await self._tools.objects.delete(kind, key, DeleteOptions())
        except NotFoundError:
            return


def _of_ours(change: Seen) -> Iterable[Key]:
    obj = change.last
    ours = change.key.namespace == NAMESPACE and (
        change.key.name == NAME or str_at(obj, "metadata", "labels", _SERVICE) == NAME
    )
    return [_KEY] if ours else []

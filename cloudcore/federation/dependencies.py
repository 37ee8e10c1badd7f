"""What a workload names goes where it goes, with `followDependencies`: ConfigMaps, Secrets and claims.

Each such object of the global cloud has rows of its own in the members of all workloads that name it; with the last
of them it leaves, and a claim stays, as it has data. While a new version of a workload is rolled out, a member that
has the old one yet keeps what that names. What a region has by that name already is left alone. An object that is
federated by itself is not touched here. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Final

from cloudcore.federation.ledger import Ledger
from cloudcore.federation.planner import Plan
from cloudcore.federation.policy_lookup import acts, policy_of
from cloudcore.federation.stray_cleanup import StrayCleanup, stray_sources
from cloudcore.registry.references import references_of
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.objects.federation import (
    MANAGED,
    MEMBER_OBJECTS,
    MEMBERS,
    NAMESPACE,
    POLICIES,
    TYPES,
    FederatedType,
    MemberObject,
    Source,
    Target,
    federated_type,
    read_member_object,
)
from skerry.objects.json import JsonObject, bool_at, map_at, str_at
from skerry.objects.meta import Key, being_deleted, labels_of, name_of, uid_of
from skerry.objects.strays import Stray, strays_of
from skerry.objects.volumes import CLAIMS, pod_claims

_KINDS: Final = {
    "configmaps": "ConfigMap",
    "secrets": "Secret",
    "persistentvolumeclaims": "PersistentVolumeClaim",
}
_FIELDS: Final = ("data", "binaryData", "stringData", "type", "immutable")
_CLAIM_FIELDS: Final = ("accessModes", "resources", "storageClassName", "volumeMode", "selector")
_BY_SERVICE_ACCOUNT: Final = "kubernetes.io/service-account-token"


def dependencies_of(federated: JsonObject) -> frozenset[tuple[str, str]]:
    """Resource and name of what its pods name."""
    return _named_in(_pod_of(map_at(federated, "spec", "template")))


def _pod_of(template: JsonObject) -> JsonObject:
    """What a workload's pods are to be."""
    spec = map_at(template, "spec")
    spec = map_at(spec, "jobTemplate", "spec") or spec
    return map_at(spec, "template", "spec") or spec


def _named_in(pod: JsonObject) -> frozenset[tuple[str, str]]:
    named: JsonObject = {"spec": pod}
    made = {Key(CLAIMS, "", claim.name) for claim in pod_claims(named) if claim.ephemeral}  # by each pod for itself
    return frozenset((key.resource, key.name) for key in references_of(named) - made if key.resource in _KINDS)


def manifest_of(obj: JsonObject, resource: str) -> JsonObject:
    """As a member is to have it."""
    metadata: JsonObject = {
        "name": name_of(obj),
        "namespace": str_at(obj, "metadata", "namespace"),
        "labels": {**labels_of(obj), MANAGED: "true"},
    }
    made: JsonObject = {"apiVersion": "v1", "kind": _KINDS[resource], "metadata": metadata}
    if resource == "persistentvolumeclaims":
        spec = map_at(obj, "spec")
        return {**made, "spec": {field: spec[field] for field in _CLAIM_FIELDS if field in spec}}
    return {**made, **{field: obj[field] for field in _FIELDS if field in obj}}


class DependencyController:
    """See the module."""

    name = "dependency-controller"
    workers = 2

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._ledger = Ledger(tools)
        self._strays = StrayCleanup(tools, self._ledger)

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource="", keys=self._keys)]

    def _keys(self, change: Seen) -> Iterable[Key]:
        resource = change.key.resource
        if resource in _KINDS:
            if self._follows(change.key.namespace) or self._ledger.of(change.key):
                yield change.key
        elif resource == MEMBERS:
            yield from (source for source in stray_sources(change) if source.resource in _KINDS)
        elif resource == MEMBER_OBJECTS:
            source = read_member_object(change.last).source.key
            if source.resource in _KINDS:
                yield source
            else:
                yield from self._named_by(source)
                if _changes_version(change):
                    named = {one for side in (change.before, change.after) if side for one in _row_dependencies(side)}
                    yield from (Key(kind, source.namespace, name) for kind, name in named)
        elif resource == POLICIES:
            for of in self._types():
                for stored in self._tools.cache.select(of.resource, namespace=change.key.namespace):
                    yield from self._named_by(stored.key)
        elif resource.startswith("federated"):
            for side in (change.before, change.after):
                if side is not None and self._follows(change.key.namespace):
                    yield from (Key(kind, change.key.namespace, name) for kind, name in dependencies_of(side))

    def _named_by(self, workload: Key) -> Iterable[Key]:
        stored = self._tools.cache.read(workload)
        if stored is not None and workload.namespace:
            for kind, name in dependencies_of(self._tools.cache.obj(stored)):
                yield Key(kind, workload.namespace, name)

    def _follows(self, namespace: str) -> bool:
        policies = self._tools.cache.select(POLICIES, namespace=namespace)
        return any(bool_at(self._tools.cache.obj(each), "spec", "followDependencies") for each in policies)

    def _types(self) -> list[FederatedType]:
        stored = self._tools.cache.select(TYPES, namespace=NAMESPACE)
        return [each for each in (federated_type(self._tools.cache.obj(one)) for one in stored) if each.enabled]

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        obj = None if stored is None else self._tools.cache.obj(stored)
        rows: dict[str, MemberObject] = {}
        if obj is not None and not being_deleted(obj) and str_at(obj, "type") != _BY_SERVICE_ACCOUNT:
            rows = self._rows(key, obj)
        members = self._members()
        if rows or self._ledger.of(key):
            await self._ledger.keep(key, Plan(rows=rows, faults={}), members)
        return await self._strays.clean(key, members, rows, spared=partial(self._is_needed, key, members))

    def _is_needed(self, key: Key, members: Mapping[str, JsonObject], member: str, _stray: Stray) -> bool:
        """Whether what strays in a member is named by a workload that strays there as well and is to stay, as its row
        comes later, or of which nothing is known, as its type is disabled; or it is federated by itself."""
        types = {of.resource: of for of in self._types()}
        for of in types.values():
            if of.name == key.resource and self._tools.cache.read(Key(of.resource, key.namespace, key.name)):
                return True
        for stray in strays_of(members[member]):
            source = stray.source.key
            if source.resource in _KINDS or source.namespace != key.namespace:
                continue
            stored = self._tools.cache.read(source)
            named = stored is not None and (key.resource, key.name) in dependencies_of(self._tools.cache.obj(stored))
            goes = any(
                str_at(row, "spec", "member") == member and str_at(row, "spec", "remove")
                for row in self._ledger.of(source)
            )
            if source.resource not in types or (named and not goes):
                return True
        return False

    def _members(self) -> Mapping[str, JsonObject]:
        members = [self._tools.cache.obj(each) for each in self._tools.cache.select(MEMBERS, namespace=NAMESPACE)]
        return {name_of(member): member for member in members if not being_deleted(member)}

    def _rows(self, key: Key, obj: JsonObject) -> dict[str, MemberObject]:
        target = Target(api_version="v1", kind=_KINDS[key.resource], namespace=key.namespace, name=key.name)
        manifest = manifest_of(obj, key.resource)
        return {
            member: MemberObject(
                member=member,
                target=target,
                source=Source(key=key, uid=uid_of(obj)),
                revision=0,
                manifest=manifest,
                orphan=key.resource == "persistentvolumeclaims",
                adopt=False,
            )
            for member in self._where(key)
        }

    def _where(self, key: Key) -> frozenset[str]:
        """Members of all workloads that name it, and whose policy has them take it along."""
        found: set[str] = set()
        types = self._types()
        one = (key.resource, key.name)
        for of in types:
            if of.name == key.resource and self._tools.cache.read(Key(of.resource, key.namespace, key.name)):
                return frozenset()  # it is federated by itself
            for stored in self._tools.cache.select(of.resource, namespace=key.namespace):
                policy = policy_of(self._tools.cache, stored.key, of.kind)
                if policy is None or not bool_at(acts(policy), "spec", "followDependencies"):
                    continue
                pod = _pod_of(map_at(self._tools.cache.obj(stored), "spec", "template"))
                named = one in _named_in(pod)
                for row in self._ledger.of(stored.key):
                    # most have what is wanted, and that is seen without a look at all that it names
                    older = not named and _pod_of(map_at(row, "spec", "manifest")) != pod
                    if not str_at(row, "spec", "remove") and (named or (older and one in _row_dependencies(row))):
                        found.add(str_at(row, "spec", "member"))
        return frozenset(found | self._left_alone(key, frozenset(of.resource for of in types), found))

    def _left_alone(self, key: Key, known: frozenset[str], found: AbstractSet[str]) -> frozenset[str]:
        """Members that have it already, with a workload of a type that is not among those that are known, as it was
        disabled: nothing of it is deleted, so that what follows it stays as well."""
        rows = [row for row in self._ledger.of(key) if not str_at(row, "spec", "remove")]
        leaving = {str_at(row, "spec", "member") for row in rows} - found
        if not leaving:
            return frozenset()
        stay: set[str] = set()
        for stored in self._tools.cache.select(MEMBER_OBJECTS):
            row = self._tools.cache.obj(stored)
            source, member = map_at(row, "spec", "source"), str_at(row, "spec", "member")
            resource = str_at(source, "resource")
            if (
                member in leaving
                and member not in stay
                and str_at(source, "namespace") == key.namespace
                and resource not in known
                and resource not in _KINDS
                and not str_at(row, "spec", "remove")
                and (key.resource, key.name) in _row_dependencies(row)
            ):
                stay.add(member)
        return frozenset(stay)


def _row_dependencies(row: JsonObject) -> frozenset[tuple[str, str]]:
    """Of a workload's MemberObject: what the version names that the member is to have."""
    return _named_in(_pod_of(map_at(row, "spec", "manifest")))


def _changes_version(change: Seen) -> bool:
    before, after = change.before, change.after
    if before is None or after is None:
        return True
    return map_at(before, "spec", "manifest") != map_at(after, "spec", "manifest")

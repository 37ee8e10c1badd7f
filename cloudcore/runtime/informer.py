"""Changes of the store, as those who act on them want to see them.

One informer reads the watch cache's changes for everybody in the process: each change is parsed at most once, however
many look. Keeps nothing but its place in the log; a subscriber that keeps state of its own is told to start over
(`restart`) when the place was lost, and then sees every current object as new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from cloudcore.registry.bodies import object_of
from cloudcore.store.cache import Index, WatchCache
from cloudcore.store.port import Change
from skerry.errors import GoneError
from skerry.frozen import Frozen, replace
from skerry.objects.commands import COMMANDS
from skerry.objects.device_rule_reports import DEVICE_RULES
from skerry.objects.device_rules import followed_device
from skerry.objects.federation import MEMBER_OBJECTS, REVISIONS
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.meta import Key, Revision, namespace_of, owners_of
from skerry.objects.rules import MESSAGES
from skerry.objects.sealed_versions import is_sealed
from skerry.objects.volumes import CLAIMS, VOLUMES, class_of, is_bound, pod_claims

BY_OWNER: Final = "owner"
"""Index of all objects by the uids of their owners."""
PODS_BY_NODE: Final = "pods_by_node"
"""Index of pods by the node they are bound to."""
DEVICES_BY_NODE: Final = "devices_by_node"
"""Index of Devices by the node they are placed on."""
COMMANDS_BY_NODE: Final = "commands_by_node"
"""Index of Commands by the node they are for."""
MESSAGES_BY_RULE: Final = "messages_by_rule"
"""Index of RuleMessages by the namespace and name of their Rule."""
RULES_BY_DEVICE: Final = "rules_by_device"
"""Index of DeviceRules by the namespace and name of the Device whose gateway they follow."""
EVENTS_BY_HOST: Final = "events_by_host"
"""Index of Events by the node that tells them."""

PODS_BY_CLAIM: Final = "pods_by_claim"
"""Index of pods by the namespace and name of the claims they use."""
CLAIMS_BY_CLASS: Final = "claims_by_class"
"""Index of the claims that are not bound yet by `class_value` of what they want."""
VOLUMES_BY_CLASS: Final = "volumes_by_class"
"""Index of PersistentVolumes by `class_value` of what they have."""
VOLUMES_BY_CLAIM: Final = "volumes_by_claim"
"""Index of PersistentVolumes by the namespace and name of the claim they are promised to."""

MEMBER_OBJECTS_BY_SOURCE: Final = "member_objects_by_source"
"""Index of MemberObjects by resource, namespace and name of the federated object that they come from."""
MEMBER_OBJECTS_BY_MEMBER: Final = "member_objects_by_member"
"""Index of MemberObjects by the member that they are of."""


CLEAR_REVISIONS_BY_SOURCE: Final = "clear_revisions_by_source"
"""Index of the FederatedRevisions that have their content in clear, by `source_value` of the federated object."""


def source_value(key: Key) -> str:
    """As the indexes by source have a federated object."""
    return f"{key.resource}/{key.namespace}/{key.name}"


def class_value(name: str) -> str:
    """As the indexes by class have it: no class is a value too."""
    return f"={name}"


def _owner_uids(obj: JsonObject) -> Iterable[str]:
    return [owner.uid for owner in owners_of(obj)]


def _node_of(obj: JsonObject) -> Iterable[str]:
    node = str_at(obj, "spec", "nodeName")
    return [node] if node else []


def _rule_of(obj: JsonObject) -> Iterable[str]:
    rule = str_at(obj, "spec", "rule")
    return [f"{str_at(obj, 'metadata', 'namespace')}/{rule}"] if rule else []


def _device_of(obj: JsonObject) -> Iterable[str]:
    device = followed_device(obj)
    return [f"{str_at(obj, 'metadata', 'namespace')}/{device}"] if device else []


def _host_of(obj: JsonObject) -> Iterable[str]:
    host = str_at(obj, "source", "host")
    return [host] if host else []


def _claims_of(pod: JsonObject) -> Iterable[str]:
    return [f"{str_at(pod, 'metadata', 'namespace')}/{claim.name}" for claim in pod_claims(pod)]


def _wanted_class(claim: JsonObject) -> Iterable[str]:
    return [] if is_bound(claim) else [class_value(class_of(claim))]


def _had_class(volume: JsonObject) -> Iterable[str]:
    return [class_value(class_of(volume))]


def _promised_to(volume: JsonObject) -> Iterable[str]:
    name = str_at(volume, "spec", "claimRef", "name")
    return [f"{str_at(volume, 'spec', 'claimRef', 'namespace')}/{name}"] if name else []


def _source_of(row: JsonObject) -> Iterable[str]:
    return ["/".join(str_at(row, "spec", "source", field) for field in ("resource", "namespace", "name"))]


def _clear_of(revision: JsonObject) -> Iterable[str]:
    if is_sealed(revision):
        return []
    source = map_at(revision, "spec", "source")
    return [source_value(Key(str_at(source, "resource"), namespace_of(revision), str_at(source, "name")))]


def _member_of(row: JsonObject) -> Iterable[str]:
    return [str_at(row, "spec", "member")]


INDEXES: Final[Mapping[str, Index]] = {
    BY_OWNER: Index(resource=None, values=_owner_uids),
    PODS_BY_NODE: Index(resource="pods", values=_node_of),
    DEVICES_BY_NODE: Index(resource="devices.devices.kubeedge.io", values=_node_of),
    COMMANDS_BY_NODE: Index(resource=COMMANDS, values=_node_of),
    MESSAGES_BY_RULE: Index(resource=MESSAGES, values=_rule_of),
    RULES_BY_DEVICE: Index(resource=DEVICE_RULES, values=_device_of),
    EVENTS_BY_HOST: Index(resource="events", values=_host_of),
    PODS_BY_CLAIM: Index(resource="pods", values=_claims_of),
    CLAIMS_BY_CLASS: Index(resource=CLAIMS, values=_wanted_class),
    VOLUMES_BY_CLASS: Index(resource=VOLUMES, values=_had_class),
    VOLUMES_BY_CLAIM: Index(resource=VOLUMES, values=_promised_to),
    MEMBER_OBJECTS_BY_SOURCE: Index(resource=MEMBER_OBJECTS, values=_source_of),
    MEMBER_OBJECTS_BY_MEMBER: Index(resource=MEMBER_OBJECTS, values=_member_of),
    CLEAR_REVISIONS_BY_SOURCE: Index(resource=REVISIONS, values=_clear_of),
}
"""The indexes that controllers rely on; whoever makes the watch cache gives them to it."""


class Seen:
    """One change, its objects parsed when somebody looks. They are shared: never change them."""

    __slots__ = ("_after", "_before", "_change")

    def __init__(self, change: Change) -> None:
        self._change = change
        self._before: JsonObject | None = None
        self._after: JsonObject | None = None

    @property
    def key(self) -> Key:
        return self._change.key

    @property
    def revision(self) -> Revision:
        return self._change.revision

    @property
    def before(self) -> JsonObject | None:
        """None for a creation, and for whatever is seen for the first time."""
        if self._before is None and self._change.before is not None:
            self._before = object_of(self._change.before)
        return self._before

    @property
    def after(self) -> JsonObject | None:
        """None for a deletion; then `before` is the last state."""
        if self._after is None and self._change.after is not None:
            self._after = object_of(self._change.after)
        return self._after

    def since(self, earlier: Seen) -> Seen:
        """Both in one: from before the earlier change of the same object on."""
        if self.deleted and earlier.is_new:
            return self
        return Seen(replace(self._change, before=earlier._change.before))

    @property
    def is_new(self) -> bool:
        """Created, or seen for the first time; nothing is parsed to know it."""
        return self._change.before is None

    @property
    def deleted(self) -> bool:
        return self._change.after is None

    @property
    def last(self) -> JsonObject:
        """The object as it is, or as it last was."""
        obj = self.after if self._change.after is not None else self.before
        assert obj is not None, "a change has a state before or after"
        return obj


class Subscriber(Protocol):
    """Somebody who is shown changes."""

    @property
    def resources(self) -> frozenset[str] | None:
        """What is shown; None for all."""
        ...

    def restart(self) -> None:
        """Forget what was seen: everything that exists follows anew."""
        ...

    def see(self, change: Seen) -> None:
        """Take notice; quickly, and without failing."""
        ...


class Keys(Frozen):
    """A subscriber that turns changes into keys for a queue."""

    resource: str
    """"" for every resource."""
    keys: Callable[[Seen], Iterable[Key]]


class Informer:
    """Shows the cache's changes to subscribers, in order, beginning with everything that exists."""

    def __init__(self, cache: WatchCache, subscribers: Sequence[Subscriber]) -> None:
        self._cache = cache
        self._everything = [found for found in subscribers if found.resources is None]
        self._subscribers = tuple(subscribers)
        names = {name for found in subscribers for name in found.resources or ()}
        self._by_resource = {
            name: [found for found in subscribers if found.resources is None or name in found.resources]
            for name in names
        }

    async def run(self) -> None:
        """Until cancelled. Raises `UnavailableError` when the cache can't follow its store any more."""
        while True:
            for subscriber in self._subscribers:
                subscriber.restart()
            try:
                async for change in self._cache.watch(None, initial=True):
                    self._show(change)
            except GoneError:
                # We were too slow for the ring of changes. What is lost is found again by looking at everything.
                continue

    def _show(self, change: Change) -> None:
        seen = Seen(change)
        for subscriber in self._by_resource.get(change.key.resource, self._everything):
            subscriber.see(seen)

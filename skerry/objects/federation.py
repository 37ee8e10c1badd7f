"""KubeFed's kinds, and ours beside them, taken apart: members, types, and what a member is to hold. Pure.

A *member object* is one row of the ledger of a member: one object as that member is to have it, or a tombstone that
says that it is to go. It is written by the planner alone, in `spec`, and by what the member reports, in `status`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final, Literal

from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.conditions import is_true
from skerry.objects.enrolment import NODE_KEY_ANNOTATION
from skerry.objects.json import Json, JsonObject, bool_at, int_at, map_at, str_at, strs_at
from skerry.objects.meta import Key, annotations_of, generation_of, name_of

CORE_GROUP: Final = "core.kubefed.io"
TYPES_GROUP: Final = "types.kubefed.io"
SCHEDULING_GROUP: Final = "scheduling.kubefed.io"
NAMESPACE: Final = "kube-federation-system"
"""Where KubeFed keeps members and types."""
MEMBERS: Final = "kubefedclusters.core.kubefed.io"
TYPES: Final = "federatedtypeconfigs.core.kubefed.io"
CONFIGS: Final = "kubefedconfigs.core.kubefed.io"
PREFERENCES: Final = "replicaschedulingpreferences.scheduling.kubefed.io"
POLICIES: Final = "placementpolicies.skerry.dev"
ROLLOUT_POLICIES: Final = "rolloutpolicies.skerry.dev"
REVISIONS: Final = "federatedrevisions.skerry.dev"
VERSIONS: Final = "propagatedversions.core.kubefed.io"
CLUSTER_VERSIONS: Final = "clusterpropagatedversions.core.kubefed.io"
MEMBER_OBJECTS: Final = "memberobjects.skerry.dev"
REGION_OBJECTS: Final = "regionobjects.skerry.dev"
MANAGED: Final = "kubefed.io/managed"
"""Label of an object that a federation keeps, `true`."""
ROW: Final = "skerry.dev/federated-by"
"""Annotation of an object that a federation keeps: the member object that it follows."""
ORPHAN: Final = "kubefed.io/orphan"
"""Annotation of a federated object, `true`: what members have of it stays there when it goes."""
DELETE_OPTION: Final = "kubefed.io/deleteoption"
"""Annotation of a federated object: DeleteOptions, as JSON, with which members delete what they have of it."""
DRIFT: Final = "skerry.dev/drift-policy"
"""Annotation of a federated object: what becomes of fields of the template that somebody changed in a member."""
IMMUTABLE: Final = "skerry.dev/immutable-fields"
"""Annotation of a federated object: what becomes of a change of a field that can't be changed in a member."""
FAIL: Final = "Fail"
RECREATE: Final = "Recreate"
IMMUTABLES: Final = (FAIL, RECREATE)
ROLLOUT_PAUSED: Final = "skerry.dev/rollout-paused"
"""Annotation of a federated object, `true`: no more members get its newest version."""
FEDERATED_TYPE: Final = "skerry.dev/federated-type"
"""Label of the definition of a Federated* kind: the resource that it federates."""
MEMBERSHIP_ID: Final = "skerry.dev/membership"
"""Annotation of a member object: the membership that it was written for (`membership_of`)."""
SESSION_PREFIX: Final = "region/"
"""Before a member's name in its session: no node is called so."""

MEMBERSHIP: Final = "skerry-region-membership"
"""Secret of a region, in the namespace of the federation: what it is a member of."""
MEMBERSHIP_TYPE: Final = "skerry.dev/region-membership"
REGION_STATE: Final = "skerry.dev/region-state"
"""Annotation of that Secret: how the link to the global cloud is."""

Drift = Literal["Revert", "Keep"]
REVERT: Final = "Revert"
KEEP: Final = "Keep"
DRIFTS: Final = (REVERT, KEEP)
Removal = Literal["", "Delete", "Orphan"]
"""Of a tombstone: the object goes, or only the mark that it is ours."""
Propagation = Literal["Background", "Foreground", "Orphan"]
"""What becomes of the dependents of what is deleted: a Deployment's ReplicaSets."""
BACKGROUND: Final = "Background"
PROPAGATIONS: Final = (BACKGROUND, "Foreground", "Orphan")
PULL: Final = "Pull"
PUSH: Final = "Push"


class FederatedType(Frozen):
    """What a FederatedTypeConfig says."""

    name: str
    """`deployments.apps`, of the target."""
    target_kind: str
    target_api_version: str
    target_namespaced: bool
    kind: str
    api_version: str
    resource: str
    """`federateddeployments.types.kubefed.io`."""
    namespaced: bool
    enabled: bool
    collects: bool
    """Statuses of members are shown in the federated object."""

    @property
    def of_namespaces(self) -> bool:
        return self.name == "namespaces"

    @property
    def of_secrets(self) -> bool:
        """What it federates may be read by who may read Secrets, and by nobody else."""
        return self.target_kind == "Secret" and self.target_api_version == "v1"


def federated_type(obj: JsonObject) -> FederatedType:
    """Of a FederatedTypeConfig."""
    target, federated = map_at(obj, "spec", "targetType"), map_at(obj, "spec", "federatedType")
    return FederatedType(
        name=name_of(obj),
        target_kind=str_at(target, "kind"),
        target_api_version=_api_version(target),
        target_namespaced=str_at(target, "scope") == "Namespaced",
        kind=str_at(federated, "kind"),
        api_version=_api_version(federated),
        resource=f"{str_at(federated, 'pluralName')}.{str_at(federated, 'group')}",
        namespaced=str_at(federated, "scope") == "Namespaced",
        enabled=str_at(obj, "spec", "propagation") == "Enabled",
        collects=str_at(obj, "spec", "statusCollection") == "Enabled",
    )


def _api_version(named: JsonObject) -> str:
    group, version = str_at(named, "group"), str_at(named, "version")
    return f"{group}/{version}" if group else version


def is_ready(member: JsonObject) -> bool:
    """Of a KubeFedCluster: whether it is heard."""
    return is_true(member, "Ready")


def is_pulling(member: JsonObject) -> bool:
    """Whether it dials us and takes what it is to have; else we dial it."""
    return str_at(member, "spec", "syncMode") == PULL


def membership_of(member: JsonObject) -> str:
    """Of a KubeFedCluster: which membership under its name it is. Who is taken out and put in again, or joins again
    with another key, begins another one, about which rows of the one before say nothing."""
    key = annotations_of(member).get(NODE_KEY_ANNOTATION, "")
    return f"{str_at(member, 'metadata', 'uid')}/{hashlib.sha256(key.encode()).hexdigest()[:8] if key else ''}"


def is_of_membership(row: JsonObject, member: JsonObject) -> bool:
    """Whether a MemberObject was written for the membership that there is. One of a release that did not note it is
    taken for such."""
    return annotations_of(row).get(MEMBERSHIP_ID) in (None, membership_of(member))


def orphans(federated: JsonObject) -> bool:
    return annotations_of(federated).get(ORPHAN) == "true"


def drift_policy(federated: JsonObject) -> Drift:
    return "Keep" if annotations_of(federated).get(DRIFT) == KEEP else "Revert"


def recreates(federated: JsonObject) -> bool:
    return annotations_of(federated).get(IMMUTABLE) == RECREATE


class Deletion(Frozen):
    """How members delete what they have of a federated object."""

    propagation: Propagation = "Background"
    grace_s: int | None = None
    """None: as long as the object says."""


def deletion_of(federated: JsonObject) -> Deletion:
    """Raises `InvalidError` for an annotation that is no DeleteOptions."""
    text = annotations_of(federated).get(DELETE_OPTION, "")
    if not text:
        return Deletion()
    try:
        options: Json = json.loads(text)
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict):
        raise InvalidError(f"metadata.annotations[{DELETE_OPTION}]: is DeleteOptions, as a JSON object")
    grace = options.get("gracePeriodSeconds")
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool) or grace < 0):
        raise InvalidError(f"metadata.annotations[{DELETE_OPTION}]: gracePeriodSeconds is a number of seconds")
    said = options.get("propagationPolicy", BACKGROUND)
    if said not in PROPAGATIONS:
        raise InvalidError(
            f"metadata.annotations[{DELETE_OPTION}]: propagationPolicy is one of {', '.join(PROPAGATIONS)}"
        )
    return Deletion(propagation=_propagation(str(said)), grace_s=grace)


def _propagation(said: str) -> Propagation:
    return "Orphan" if said == "Orphan" else "Foreground" if said == "Foreground" else "Background"


def object_version(obj: JsonObject) -> str:
    """Of an object in a member, as KubeFed writes it: of the generation where it has one."""
    generation = generation_of(obj)
    return f"gen:{generation}" if generation else f"rv:{str_at(obj, 'metadata', 'resourceVersion')}"


class Target(Frozen):
    """The object in the member."""

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.api_version} {self.kind} {place}"


class Source(Frozen):
    """The federated object that it comes from."""

    key: Key
    uid: str


class MemberObject(Frozen):
    """What the planner says of one object of one member."""

    member: str
    target: Target
    source: Source
    revision: int
    """Grows with every change of what is said here, over the lives of the row as well."""
    manifest: JsonObject
    """As it is to be; {} of a tombstone."""
    removal: Removal = ""
    """Of a tombstone; else "": it is to be there."""
    orphan: bool = False
    """What its tombstone will be: Orphan, not Delete."""
    drift: Drift = "Revert"
    retain: tuple[str, ...] = ()
    """JSON pointers of fields that the member decides by itself once the object is there."""
    adopt: bool = True
    """An object that is there already becomes ours."""
    planned_at: str = ""
    deletion: Deletion = Deletion()
    """How it is deleted there, when it is."""
    recreate: bool = False
    """Deleted and made anew for a change of a field that can't be changed."""
    lease_s: int = 0
    """It stops by itself so long after the last answer of the global cloud; 0: it goes on."""
    held_lease_s: int = 0
    """The longest that the member may go by yet, of what was wanted before; -1: one without end, 0: none."""

    @property
    def name(self) -> str:
        return row_name(self.member, self.target)


def row_name(member: str, target: Target) -> str:
    group = target.api_version.rpartition("/")[0]
    text = "\0".join((group, target.kind, target.namespace, target.name))
    return f"{member}.{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def read_member_object(obj: JsonObject) -> MemberObject:
    """Of a MemberObject or RegionObject as stored."""
    spec = map_at(obj, "spec")
    target, source = map_at(spec, "object"), map_at(spec, "source")
    removal = str_at(spec, "remove")
    return MemberObject(
        member=str_at(spec, "member"),
        target=Target(
            api_version=str_at(target, "apiVersion"),
            kind=str_at(target, "kind"),
            namespace=str_at(target, "namespace"),
            name=str_at(target, "name"),
        ),
        source=Source(
            key=Key(str_at(source, "resource"), str_at(source, "namespace"), str_at(source, "name")),
            uid=str_at(source, "uid"),
        ),
        revision=int_at(spec, "revision"),
        manifest=map_at(spec, "manifest"),
        removal="Orphan" if removal == "Orphan" else "Delete" if removal else "",
        orphan=bool_at(spec, "orphan"),
        drift="Keep" if str_at(spec, "drift") == KEEP else "Revert",
        retain=tuple(strs_at(spec, "retain")),
        adopt=bool_at(spec, "adopt", default=True),
        planned_at=str_at(spec, "plannedAt"),
        deletion=Deletion(
            propagation=_propagation(str_at(spec, "propagationPolicy")),
            grace_s=int_at(spec, "gracePeriodSeconds") if "gracePeriodSeconds" in spec else None,
        ),
        recreate=bool_at(spec, "recreate"),
        lease_s=int_at(spec, "leaseSeconds"),
        held_lease_s=int_at(spec, "heldLeaseSeconds"),
    )


def longest_lease_s(obj: JsonObject) -> int | None:
    """Of a row as stored: how long its member may run it after the last answer; None: for ever."""
    row = read_member_object(obj)
    told = map_at(obj, "status")
    known = told.get("revision") == row.revision and not told.get("leasePending")
    leases = [row.lease_s or -1, *([row.held_lease_s] if row.held_lease_s and not known else [])]
    return None if -1 in leases else max(leases)


def spec_of(row: MemberObject) -> JsonObject:
    """Its `spec`, in both kinds."""
    key = row.source.key
    spec: JsonObject = {
        "member": row.member,
        "object": {
            "apiVersion": row.target.api_version,
            "kind": row.target.kind,
            "namespace": row.target.namespace,
            "name": row.target.name,
        },
        "source": {
            "resource": key.resource,
            "namespace": key.namespace,
            "name": key.name,
            "uid": row.source.uid,
        },
        "revision": row.revision,
        "plannedAt": row.planned_at,
        "drift": row.drift,
        "adopt": row.adopt,
        "orphan": row.orphan,
    }
    if row.deletion.propagation != BACKGROUND:
        spec["propagationPolicy"] = row.deletion.propagation
    if row.deletion.grace_s is not None:
        spec["gracePeriodSeconds"] = row.deletion.grace_s
    if row.recreate:
        spec["recreate"] = True
    if row.lease_s:
        spec["leaseSeconds"] = row.lease_s
    if row.held_lease_s:
        spec["heldLeaseSeconds"] = row.held_lease_s
    if row.retain:
        retained: list[Json] = [*row.retain]
        spec["retain"] = retained
    if row.removal:
        spec["remove"] = row.removal
    else:
        spec["manifest"] = row.manifest
    return spec

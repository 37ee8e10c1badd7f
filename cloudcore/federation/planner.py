"""What each member is to hold of a federated object, and what its status says of them. Pure.

Order as in KubeFed: template, then overrides, then the mark. A fault in one member's overrides is that member's
alone, and leaves what it has as it is.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from typing import Final

from cloudcore.federation.overrides import overridden, read_overrides
from cloudcore.federation.placement import placed, read_placement
from cloudcore.federation.policy_lookup import Chosen
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.federation import (
    MANAGED,
    FederatedType,
    MemberObject,
    Source,
    Target,
    deletion_of,
    drift_policy,
    orphans,
    recreates,
)
from skerry.objects.json import Json, JsonObject, bool_at, clone, encode_object, map_at, str_at, str_map_at
from skerry.objects.meta import Key, name_of, namespace_of, uid_of

REMOTE_BYTES_MAX: Final = 4096
"""A longer status of a member is in its MemberObject alone: the federated object has those of all members."""
ROLLED_OUT: Final = "RolledOut"
"""Condition of a federated object that a RolloutPolicy is about: who is heard has its newest version."""
IN_TIME_MS: Final = 30_000
"""How long a member that is heard may take before its status says so: KubeFed waits as long."""


class Scene(Frozen):
    """What a plan depends on beside the object."""

    members: Mapping[str, Mapping[str, str]]
    """Labels by name."""
    namespace: Collection[str] | None
    """Where the object's namespace is; None for an object that is in none, or is one."""
    adopt: bool = True
    chosen: Chosen | None = None
    """By its policy; None: it has none."""
    keepers: Mapping[str, str] = {}
    """Who keeps it though others were chosen (`handover`), and why."""


class Plan(Frozen):
    rows: Mapping[str, MemberObject]
    """By member; revision and time are the writer's to give."""
    faults: Mapping[str, str]
    """By member: why it is left as it is."""
    reason: str = ""
    """Why it is nowhere, as KubeFed calls it."""
    keepers: Mapping[str, str] = {}
    """Of the rows: who keeps it although others were chosen, and why."""


def plan(key: Key, federated: JsonObject, of: FederatedType, scene: Scene) -> Plan:
    """Of a federated object that is there. One that can't be read is nowhere new, and goes nowhere either."""
    try:
        where = placed(read_placement(federated), scene.members, namespace=scene.namespace)
        if scene.chosen is not None:
            where &= scene.chosen.members | scene.keepers.keys()
        overrides = read_overrides(federated)
        deletion = deletion_of(federated)
    except InvalidError as error:
        return Plan(rows={}, faults=dict.fromkeys(scene.members, str(error)), reason="ComputePlacementFailed")
    rows: dict[str, MemberObject] = {}
    faults: dict[str, str] = {}
    manifest = _manifest(federated, of)
    target = Target(
        api_version=of.target_api_version,
        kind=of.target_kind,
        namespace=namespace_of(federated) if of.target_namespaced else "",
        name=namespace_of(federated) if of.of_namespaces else name_of(federated),
    )
    for member in sorted(where):
        try:
            mine = overridden(manifest, overrides.get(member, ()))
        except InvalidError as error:
            faults[member] = str(error)
            continue
        rows[member] = MemberObject(
            member=member,
            target=target,
            source=Source(key=key, uid=uid_of(federated)),
            revision=0,
            manifest=_marked(mine),
            orphan=orphans(federated),
            drift=drift_policy(federated),
            retain=("/spec/replicas",) if bool_at(federated, "spec", "retainReplicas") else (),
            adopt=scene.adopt,
            deletion=deletion,
            recreate=recreates(federated),
            lease_s=0 if scene.chosen is None else scene.chosen.lease_s,
        )
    reason = "NamespaceNotFederated" if scene.namespace is not None and not scene.namespace else ""
    return Plan(rows=rows, faults=faults, reason=reason, keepers=scene.keepers)


def _manifest(federated: JsonObject, of: FederatedType) -> JsonObject:
    made = clone(map_at(federated, "spec", "template"))
    made.pop("status", None)
    metadata: JsonObject = {
        name: value for name, value in map_at(made, "metadata").items() if name in ("labels", "annotations")
    }
    metadata["name"] = namespace_of(federated) if of.of_namespaces else name_of(federated)
    if of.target_namespaced:
        metadata["namespace"] = namespace_of(federated)
    if of.name == "secrets" and "stringData" in made:
        # What members would make of it: else it could not be compared with what they have.
        texts = str_map_at(made, "stringData")
        coded: JsonObject = {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}
        made["data"] = {**map_at(made, "data"), **coded}
        del made["stringData"]
    return {**made, "apiVersion": of.target_api_version, "kind": of.target_kind, "metadata": metadata}


def _marked(obj: JsonObject) -> JsonObject:
    metadata = map_at(obj, "metadata")
    return {**obj, "metadata": {**metadata, "labels": {**map_at(metadata, "labels"), MANAGED: "true"}}}


class Row(Frozen):
    """A row of the ledger, and what its member says of it."""

    wanted: MemberObject
    told: JsonObject
    """The MemberObject's status."""

    @property
    def current(self) -> bool:
        """The member knows what is wanted now."""
        return self.told.get("revision") == self.wanted.revision


def status_of(
    before: JsonObject,
    found: Plan,
    rows: Mapping[str, Row],
    *,
    heard: Collection[str],
    collects: bool,
    now_ms: int,
    planned_ms: Mapping[str, int],
    rollout: JsonObject | None = None,
) -> tuple[JsonObject, bool]:
    """The status of a federated object (without times of conditions), and whether to look again when time has passed.
    `rollout`: how far its newest version is.

    `rows` by member, tombstones among them; `heard`: members that are; `planned_ms`: when each row was changed.
    """
    clusters: list[Json] = []
    waiting = False
    counts = dict.fromkeys(("members", "current", "unknown", "failing", "cleanup"), 0)
    fine = not found.reason
    for member in sorted({*rows, *found.faults}):
        row = rows.get(member)
        code, message = _code(row, member, found, heard)
        if row is not None and not code and not row.current:
            if abs(now_ms - planned_ms.get(member, now_ms)) < IN_TIME_MS:  # the clock may have been set back
                waiting = True
            else:
                code = "UpdateTimedOut" if row.told else "CreationTimedOut"
        if row is not None and row.wanted.removal:
            counts["cleanup"] += 1
        else:
            counts["members"] += 1
            counts["current"] += not code and row is not None and row.current
            counts["unknown"] += code == "ClusterNotReady"
            counts["failing"] += code not in ("", "ClusterNotReady")
        fine = fine and not code and row is not None and row.current
        clusters.append(_cluster(member, row, code, message, collects=collects))
    condition: JsonObject = {
        "type": "Propagation",
        "status": "True" if fine else "False",
        "reason": found.reason or ("" if fine or waiting else "CheckClusters"),
    }
    conditions: list[Json] = [condition]
    told: JsonObject = {"clusters": clusters, "conditions": conditions, "counts": {**counts}}
    if rollout is not None:
        phase = str_at(rollout, "phase")
        conditions.append({"type": ROLLED_OUT, "status": "True" if phase == "Complete" else "False", "reason": phase})
        told["rollout"] = rollout
    return told, waiting


def _code(row: Row | None, member: str, found: Plan, heard: Collection[str]) -> tuple[str, str]:
    if row is None or (member in found.faults and not row.wanted.removal):
        failing = "ComputeResourceFailed" if found.reason else "ApplyOverridesFailed"
        return failing, found.faults.get(member, "")
    if row.wanted.removal:
        failing = str_at(row.told, "code") if row.current else ""
        waits = "" if member in heard else "it is not heard, and removes it when it is back"
        return failing or "WaitingForRemoval", str_at(row.told, "message") if row.current else waits
    if member not in heard:
        return "ClusterNotReady", "it is not heard: what is shown is what it said last"
    said = (str_at(row.told, "code"), str_at(row.told, "message")) if row.current else ("", "")
    return said if said[0] else ("", found.keepers.get(member, said[1]))


def _cluster(member: str, row: Row | None, code: str, message: str, *, collects: bool) -> JsonObject:
    told: JsonObject = {"name": member}
    if code:
        told["status"] = code
    if message:
        told["message"] = message
    if row is not None:
        if observed := str_at(row.told, "observedAt"):
            told["observedAt"] = observed
        if row.told.get("drift"):
            told["drift"] = row.told["drift"]
        remote = map_at(row.told, "remote")
        if collects and remote and len(encode_object(remote)) <= REMOTE_BYTES_MAX:
            told["remoteStatus"] = remote
    return told


def with_times(told: JsonObject, before: JsonObject, generation: int, now: str) -> JsonObject:
    """The status with the times of its conditions: of the last change of anything, and of their own."""
    olds = {str_at(each, "type"): each for each in _conditions(before)}
    bare: list[Json] = [_without_times(each) for each in olds.values()]
    if {**before, "conditions": bare} == {**told, "observedGeneration": generation}:
        return before
    conditions: list[Json] = []
    for new in _conditions(told):
        old = olds.get(str_at(new, "type"), {})
        moved = str_at(old, "lastTransitionTime") if old.get("status") == new.get("status") else ""
        conditions.append({**new, "lastUpdateTime": now, "lastTransitionTime": moved or now})
    return {**told, "conditions": conditions, "observedGeneration": generation}


def _without_times(condition: JsonObject) -> JsonObject:
    return {name: value for name, value in condition.items() if not name.startswith("last")}


def _conditions(status: JsonObject) -> list[JsonObject]:
    value = status.get("conditions")
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []

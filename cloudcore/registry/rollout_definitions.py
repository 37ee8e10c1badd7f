"""The shape of RolloutPolicies and FederatedRevisions, as OpenAPI definitions. Keeps no data."""

from __future__ import annotations

from typing import Final

from cloudcore.registry.definition_parts import (
    GroupParts,
    boolean,
    conditions,
    free,
    int32,
    int64,
    obj,
    string,
    strings_list,
)
from skerry.objects.json import JsonObject
from skerry.objects.rollout_policies import ON_FAILURES, ROLLBACKS

_INT_OR_STRING: Final = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_SKERRY: Final = GroupParts(prefix="dev.skerry.federation.v1.", group="skerry.dev", version="v1")


def rollout_definitions() -> dict[str, JsonObject]:
    """Definitions by name, `$ref`s in the carrier's own form (`#/$defs/NAME`)."""
    return _policy() | _policy_status() | _revision()


def _amount(description: str) -> JsonObject:
    return {"$ref": f"#/$defs/{_INT_OR_STRING}", "description": description}


def _policy() -> dict[str, JsonObject]:
    p = _SKERRY.prefix
    selector: JsonObject = {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"}
    return {
        p + "RolloutPolicy": _SKERRY.kind(
            "RolloutPolicy",
            "In which waves members get a new version of its federated objects.",
            spec=_SKERRY.ref("RolloutPolicySpec", "What is wanted."),
            status=_SKERRY.ref("RolloutPolicyStatus", "What is."),
        ),
        p + "RolloutPolicyList": _SKERRY.list_kind("RolloutPolicy"),
        p + "RolloutPolicySpec": obj(
            "What is wanted.",
            required=("targets",),
            targets=_SKERRY.list_of("PlacementTarget", "Federated objects of this namespace."),
            waves=_SKERRY.list_of("RolloutWave", "In order; whom none of them has is in the wave rest, after them."),
            maxUnavailable=_amount("So many of the members that are heard are changed at a time; 25% without."),
            maxFailed=_amount("So many may fail before it stops; 0 without."),
            minReadySeconds=int32("So long a member is in order before it counts as such; 10 without."),
            progressDeadlineSeconds=int32("Who is not in order by then has failed; 600 without."),
            onFailure=string("It stops, or everybody goes back: Halt, or Rollback.", *ON_FAILURES),
            rollback=string("A version that was everywhere before needs no waves, or does.", *ROLLBACKS),
            freezeAbovePercent=int32(
                "Are more members of a wave silent, the next one does not begin; 50 without, 100: never."
            ),
            paused=boolean("Nobody else gets a new version."),
            revisionHistoryLimit=int32("So many old versions are kept; 10 without."),
            dryRun=boolean("Tell who would be in which wave, and change nothing."),
        ),
        p + "RolloutWave": obj(
            "Members that get a new version one after the other.",
            required=("name",),
            name=string("To tell it by."),
            clusters=_SKERRY.list_of("PlacementMember", "Members, by name."),
            clusterSelector={**selector, "description": "Members, by labels."},
            members=_amount("No more than so many of those; a percentage is of all members that have the object."),
            requiresApproval=boolean("It begins when somebody approves it."),
            soakSeconds=int32("So long its members are in order before the next wave begins."),
            minSucceeded=_amount("So many of its members are in order before the next wave begins; 0 without."),
            maxUnavailable=_amount("So many of its members are changed at a time."),
        ),
    }


def _counts() -> dict[str, JsonObject]:
    return {
        "members": int32("Its members."),
        "updated": int32("They have the newest version, and are in order."),
        "updating": int32("They are getting it."),
        "failed": int32("They can't bring it about, or not in time."),
        "pending": int32("They are not heard."),
        "waiting": int32("It is not their turn."),
    }


def _policy_status() -> dict[str, JsonObject]:
    p = _SKERRY.prefix
    return {
        p + "RolloutPolicyStatus": obj(
            "What is.",
            observedGeneration=int64("Of the spec that this is of."),
            targets=_SKERRY.list_of("RolloutTarget", "Objects that it counts for."),
            conditions=conditions("Counts."),
            message=string("What else is to be known."),
        ),
        p + "RolloutTarget": obj(
            "How far the newest version of an object is.",
            required=("kind", "name"),
            kind=string("Its kind."),
            name=string("Its name."),
            phase=string("How it goes."),
            revision=int64("The newest version."),
            waves=_SKERRY.list_of("RolloutWaveMembers", "Who is in which wave."),
        ),
        p + "RolloutWaveMembers": obj(
            "Who is in a wave.",
            required=("name",),
            name=string("The wave."),
            count=int32("How many they are."),
            members=strings_list("The first of them."),
        ),
    }


def _revision() -> dict[str, JsonObject]:
    p = _SKERRY.prefix
    return {
        p + "FederatedRevision": _SKERRY.kind(
            "FederatedRevision",
            "A version of a federated object, and how far it was rolled out. Who approves or stops it writes here.",
            spec=_SKERRY.ref("FederatedRevisionSpec", "What it is."),
            status=_SKERRY.ref("FederatedRevisionStatus", "How far it is."),
        ),
        p + "FederatedRevisionList": _SKERRY.list_kind("FederatedRevision"),
        p + "FederatedRevisionSpec": obj(
            "What it is.",
            required=("source", "revision"),
            source=_SKERRY.ref("FederatedRevisionSource", "Of which object."),
            revision=int64("The newest has the highest."),
            data=free("Template and overrides, as they were; not of a federated Secret."),
            sealed=_SKERRY.ref("FederatedRevisionSealed", "Where they are, of a federated Secret."),
            approved=strings_list("Waves that may begin."),
            aborted=boolean("Nobody else gets it, for ever."),
        ),
        p + "FederatedRevisionSealed": obj(
            "Template and overrides of a federated Secret: in a Secret of this namespace.",
            secretName=string("Its name."),
            digest=string("SHA-256 of what is in it: what was put there later is no version."),
        ),
        p + "FederatedRevisionSource": obj(
            "A federated object.",
            kind=string("Its kind."),
            resource=string("Its resource."),
            name=string("Its name."),
            uid=string("Its life."),
        ),
        p + "FederatedRevisionStatus": obj(
            "How far it is.",
            policy=string("The RolloutPolicy that it goes by."),
            phase=string("How it goes."),
            message=string("Why."),
            wave=string("The newest wave that has begun."),
            begun=strings_list("Waves that have begun."),
            outcome=string("Complete or RolledBack; none while it is neither."),
            startedAt=string("When it began."),
            completedAt=string("When it was everywhere."),
            observedGeneration=int64(
                "Of a federated Secret: its generation that declared this, as it was seen last."
            ),
            waves=_SKERRY.list_of("RolloutWaveStatus", "How far each wave is."),
            members=_SKERRY.list_of("RolloutMember", "How far each member is, those that are not done first."),
        ),
        p + "RolloutWaveStatus": obj(
            "How far a wave is.",
            required=("name",),
            name=string("Its name."),
            begun=boolean("Whether it has begun."),
            **_counts(),
        ),
        p + "RolloutMember": obj(
            "How far a member is.",
            required=("name",),
            name=string("Its name."),
            wave=string("Its wave."),
            state=string("Updated, Updating, Failed, Pending or Waiting."),
            message=string("Why."),
        ),
    }

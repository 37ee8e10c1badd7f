"""The shape of KubeFed's kinds (v0.10) and of the ledger of members, as OpenAPI definitions; fields of ours are
optional, and say so. The Federated* kinds themselves are made of FederatedTypeConfigs. Keeps no data."""

from __future__ import annotations

from typing import Final

from cloudcore.registry.definition_parts import (
    GroupParts,
    boolean,
    free,
    int32,
    int64,
    obj,
    string,
    strings_list,
)
from cloudcore.registry.rollout_definitions import rollout_definitions
from skerry.objects.federation import CORE_GROUP, DRIFTS, PROPAGATIONS, PULL, PUSH, SCHEDULING_GROUP
from skerry.objects.json import JsonObject

_CORE: Final = GroupParts(prefix="io.kubefed.core.v1beta1.", group=CORE_GROUP, version="v1beta1")
_CORE_ALPHA: Final = GroupParts(prefix="io.kubefed.core.v1alpha1.", group=CORE_GROUP, version="v1alpha1")
_SCHEDULING: Final = GroupParts(prefix="io.kubefed.scheduling.v1alpha1.", group=SCHEDULING_GROUP, version="v1alpha1")
_SKERRY: Final = GroupParts(prefix="dev.skerry.federation.v1.", group="skerry.dev", version="v1")


def federation_definitions() -> dict[str, JsonObject]:
    """Definitions by name, `$ref`s in the carrier's own form (`#/$defs/NAME`)."""
    return (
        _member()
        | _strays()
        | _type()
        | _config()
        | _versions()
        | _preference()
        | _policy()
        | _policy_status()
        | rollout_definitions()
        | _ledger()
    )


def _member() -> dict[str, JsonObject]:
    p = _CORE.prefix
    return {
        p + "KubeFedCluster": _CORE.kind(
            "KubeFedCluster",
            "A member of the federation: a region's CloudCore, or any Kubernetes cluster.",
            spec=_CORE.ref("KubeFedClusterSpec", "How it is reached."),
            status=_CORE.ref("KubeFedClusterStatus", "Whether it is heard."),
        ),
        p + "KubeFedClusterList": _CORE.list_kind("KubeFedCluster"),
        p + "KubeFedClusterSpec": obj(
            "How it is reached.",
            apiEndpoint=string("Address of its API: host, host:port, or an https URL. Not needed of one that pulls."),
            caBundle={"type": "string", "format": "byte", "description": "Certificates (PEM) that its API shows."},
            secretRef=_CORE.ref("LocalSecretReference", "Secret in this namespace with `token`, or `kubeconfig`."),
            proxyURL=string("HTTP proxy on the way to its API."),
            disabledTLSValidations=strings_list("What is not looked at: *, SubjectName, ValidityPeriod."),
            syncMode=string("Ours: Pull, it dials us; Push, we dial it, as KubeFed does.", PULL, PUSH),
        ),
        p + "LocalSecretReference": obj("A Secret.", required=("name",), name=string("Its name.")),
        p + "KubeFedClusterStatus": obj(
            "Whether it is heard.",
            conditions=_CORE.list_of("ClusterCondition", "Ready, Offline, ClusterConfigMalformed."),
            kubernetesVersion=string("Of its API."),
            zones=strings_list("Of its nodes."),
            region=string("Of its nodes."),
            nodes=int32("Ours: how many it has."),
            observedAt=string("Ours: when it said so."),
            leftAt=string("Ours: when it left by itself."),
            objects=_CORE.ref("ClusterObjects", "Ours: what it is to have, counted."),
            room=_CORE.list_of("ClusterRoom", "Ours: what is free on its nodes, those alike together."),
            bound=_counts("Ours: pods that have a node, by member object."),
            waiting=_counts("Ours: pods that found no node for a minute, by member object."),
            strays=_CORE.ref("ClusterStrays", "Ours: what it has of this federation that is in no ledger any more."),
        ),
        p + "ClusterRoom": obj(
            "What is free on each of some nodes, rounded down.",
            nodes=int32("How many they are."),
            cpuMillis=int64("Thousandths of a processor."),
            memoryBytes=int64("Memory."),
            pods=int32("Pods."),
        ),
        p + "ClusterObjects": obj(
            "Objects of a member, counted.",
            wanted=int32("That it is to have."),
            pending=int32("Of these, not yet acknowledged as they are now."),
            failing=int32("Of these, that it can't bring about."),
            cleanup=int32("That are still to go there."),
        ),
        p + "ClusterCondition": obj(
            "A condition.",
            required=("type", "status"),
            type=string("Which."),
            status=string("True, False, Unknown."),
            reason=string("Why, in a word."),
            message=string("Why."),
            lastProbeTime=string("When it was looked at."),
            lastTransitionTime=string("When the status changed."),
        ),
    }


def _strays() -> dict[str, JsonObject]:
    p = _CORE.prefix
    return {
        p + "ClusterStrays": obj(
            "Objects that a federation put into a member, and that are in no ledger any more.",
            count=int32("How many there are."),
            membership=string("In which it said so."),
            objects=_CORE.list_of("ClusterStray", "Some of them."),
        ),
        p + "ClusterStray": obj(
            "An object that is in no ledger.",
            object=free("Which: apiVersion, kind, namespace, name."),
            source=free("The federated object that it came from: resource, namespace, name, uid."),
            orphan=boolean("Its clean-up takes only the mark."),
            epoch=string("Life of the global cloud in which it knew it; none: another one than this."),
            leaseSeconds=int32("The longest that it may go by, of when it was lent; none: it never was."),
        ),
    }


def _counts(about: str) -> JsonObject:
    counted: JsonObject = {"type": "integer", "format": "int32"}
    return {"type": "object", "additionalProperties": counted, "description": about}


def _type() -> dict[str, JsonObject]:
    p = _CORE.prefix
    return {
        p + "FederatedTypeConfig": _CORE.kind(
            "FederatedTypeConfig",
            "A type that is federated: its name is the resource's (`deployments.apps`).",
            spec=_CORE.ref("FederatedTypeConfigSpec", "Which type, and as what."),
            status=_CORE.ref("FederatedTypeConfigStatus", "Whether it is."),
        ),
        p + "FederatedTypeConfigList": _CORE.list_kind("FederatedTypeConfig"),
        p + "FederatedTypeConfigSpec": obj(
            "Which type, and as what.",
            required=("federatedType", "propagation", "targetType"),
            targetType=_CORE.ref("APIResource", "What members have."),
            federatedType=_CORE.ref("APIResource", "What is declared here."),
            propagation=string("Whether it is carried out.", "Enabled", "Disabled"),
            statusType=_CORE.ref("APIResource", "A type of its own for statuses; of no use here."),
            statusCollection=string("Whether members' statuses are shown.", "Enabled", "Disabled"),
        ),
        p + "APIResource": obj(
            "A type.",
            required=("kind", "pluralName", "scope", "version"),
            group=string("Its group; none for core."),
            version=string("Its version."),
            kind=string("Its kind."),
            pluralName=string("Its resource's name."),
            scope=string("Cluster or Namespaced.", "Cluster", "Namespaced"),
        ),
        p + "FederatedTypeConfigStatus": obj(
            "Whether it is.",
            required=("observedGeneration", "propagationController"),
            observedGeneration=int64("Of the spec that this is of."),
            propagationController=string("Of objects.", "Running", "NotRunning"),
            statusController=string("Of statuses.", "Running", "NotRunning"),
            message=string("Ours: why it is not."),
        ),
    }


def _config() -> dict[str, JsonObject]:
    p = _CORE.prefix
    return {
        p + "KubeFedConfig": _CORE.kind(
            "KubeFedConfig",
            "Settings of the federation; `kubefed` in kube-federation-system is what counts: what it says of "
            "adoption, and of the health check of members that are dialled. The rest tunes what KubeFed has.",
            spec=_CORE.ref("KubeFedConfigSpec", "As KubeFed has it; what is left out is filled in."),
        ),
        p + "KubeFedConfigList": _CORE.list_kind("KubeFedConfig"),
        p + "KubeFedConfigSpec": obj(
            "Settings.",
            required=("scope",),
            scope=string("Of the federation: here it is Cluster whatever is said.", "Cluster", "Namespaced"),
            controllerDuration=obj(
                "Of KubeFed's controllers; kept.",
                availableDelay=string("Kept, and of no use here."),
                unavailableDelay=string("Kept, and of no use here."),
                cacheSyncTimeout=string("Kept, and of no use here: nothing waits for all members."),
            ),
            leaderElect=obj(
                "Of KubeFed's controllers; kept.",
                leaseDuration=string("Kept, and of no use here."),
                renewDeadline=string("Kept, and of no use here."),
                retryPeriod=string("Kept, and of no use here."),
                resourceLock=string("Kept, and of no use here.", "configmaps", "endpoints"),
            ),
            featureGates={
                "type": "array",
                "description": "Kept: all of it is always on here.",
                "items": obj(
                    "A gate.",
                    required=("configuration", "name"),
                    name=string("Its name."),
                    configuration=string("Whether it is on.", "Enabled", "Disabled"),
                ),
            },
            clusterHealthCheck=obj(
                "Of members that are dialled.",
                period=string("Between two looks, such as 10s; a second at least."),
                failureThreshold=int64("Looks in a row without an answer until it counts as gone."),
                successThreshold=int64("Looks in a row with an answer until it counts as back."),
                timeout=string("Kept: a request to a member has 10 s here."),
            ),
            syncController=obj(
                "How members are brought to what is wanted.",
                maxConcurrentReconciles=int64("Kept: here members do not wait for one another."),
                adoptResources=string("Whether what a member has already is taken over.", "Enabled", "Disabled"),
            ),
            statusController=obj(
                "How statuses are gathered.", maxConcurrentReconciles=int64("Kept, and of no use here.")
            ),
        ),
    }


def _versions() -> dict[str, JsonObject]:
    p = _CORE_ALPHA.prefix
    made: dict[str, JsonObject] = {}
    for name in ("PropagatedVersion", "ClusterPropagatedVersion"):
        made[p + name] = _CORE_ALPHA.kind(
            name,
            "What members have of a federated object, by its version there: KIND-NAME is its name.",
            spec=free("Nothing."),
            status=_CORE_ALPHA.ref("PropagatedVersionStatus", "What members have."),
        )
        made[p + name + "List"] = _CORE_ALPHA.list_kind(name)
    return made | {
        p + "PropagatedVersionStatus": obj(
            "What members have.",
            required=("overridesVersion", "templateVersion"),
            templateVersion=string("Hash of the template."),
            overridesVersion=string("Hash of the overrides."),
            clusterVersions=_CORE_ALPHA.list_of("ClusterObjectVersion", "Of members that have it as it is to be."),
        ),
        p + "ClusterObjectVersion": obj(
            "Of one member.",
            required=("clusterName", "version"),
            clusterName=string("The member."),
            version=string("`gen:` and the generation, or `rv:` and the resourceVersion, as it was written last."),
        ),
    }


def _preference() -> dict[str, JsonObject]:
    p = _SCHEDULING.prefix
    return {
        p + "ReplicaSchedulingPreference": _SCHEDULING.kind(
            "ReplicaSchedulingPreference",
            "How replicas of the federated workload of the same name are divided among members.",
            spec=_SCHEDULING.ref("ReplicaSchedulingPreferenceSpec", "How many, and where."),
            status=_SCHEDULING.ref("ReplicaSchedulingPreferenceStatus", "What came of it."),
        ),
        p + "ReplicaSchedulingPreferenceList": _SCHEDULING.list_kind("ReplicaSchedulingPreference"),
        p + "ReplicaSchedulingPreferenceSpec": obj(
            "How many, and where.",
            required=("targetKind", "totalReplicas"),
            targetKind=string("Of the workload.", "FederatedDeployment", "FederatedReplicaSet"),
            totalReplicas=int32("In all members together."),
            rebalance=boolean("By weight alone: what runs is moved for it."),
            intersectWithClusterSelector=boolean("Only where the workload's clusterSelector says."),
            clusters={
                "type": "object",
                "additionalProperties": {"$ref": f"#/$defs/{p}ClusterPreferences"},
                "description": "By member, * for all others; without any, all alike.",
            },
        ),
        p + "ClusterPreferences": obj(
            "Of one member.",
            minReplicas=int64("At least."),
            maxReplicas=int64("At most; none: any number."),
            weight=int64("Its share of the rest."),
        ),
        p + "ReplicaSchedulingPreferenceStatus": obj(
            "Ours: what came of it.",
            observedGeneration=int64("Of the spec that this is of."),
            clusters=_SCHEDULING.list_of("ClusterReplicas", "By member."),
            unplaced=int32("Replicas that nobody may have."),
            movingSince=string("Since when somebody keeps more than its share."),
            message=string("Why not, and what else is to be known."),
        ),
        p + "ClusterReplicas": obj(
            "Of one member.",
            required=("name", "replicas"),
            name=string("Its name."),
            replicas=int32("How many it is to have."),
            parked=int32("Of these, for which it has no room yet."),
            short=int32("How many it is below its minReplicas."),
            silent=boolean("It is not heard, and keeps what it has."),
            moving=int32("Of `replicas`, what it keeps above its share until as many are available elsewhere."),
            leaving=boolean("Its policy gave it to others, and it keeps what it has until they have it in order."),
            most=int32("As many as found a node, where others did not."),
            fullSince=string("Since when that is known; it counts for half an hour."),
        ),
    }


def _policy() -> dict[str, JsonObject]:
    p = _SKERRY.prefix
    selector: JsonObject = {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"}
    return {
        p + "PlacementPolicy": _SKERRY.kind(
            "PlacementPolicy",
            "Which of the members where its federated objects may be have them, and who replaces whom.",
            spec=_SKERRY.ref("PlacementPolicySpec", "What is wanted."),
            status=_SKERRY.ref("PlacementPolicyStatus", "What is."),
        ),
        p + "PlacementPolicyList": _SKERRY.list_kind("PlacementPolicy"),
        p + "PlacementPolicySpec": obj(
            "What is wanted.",
            required=("targets",),
            targets=_SKERRY.list_of("PlacementTarget", "Federated objects of this namespace."),
            affinities=_SKERRY.list_of("PlacementAffinity", "Choices, in order; without any, all members."),
            members=int32("How many have it; without it, all of the choice."),
            spread=_SKERRY.list_of("PlacementSpread", "Over what they are spread."),
            failover=_SKERRY.ref("PlacementFailover", "Who is silent is replaced; without it, never."),
            atMostOnce=_SKERRY.ref("PlacementLease", "It never runs in two members."),
            handoverSeconds=int32(
                "Who had it keeps it until the others have it in order, so long at most; 600 without, 0: not."
            ),
            followDependencies=boolean("ConfigMaps, Secrets and claims that its pods name go where it goes."),
            dryRun=boolean("Decide and tell, and change nothing."),
        ),
        p + "PlacementTarget": obj(
            "Federated objects.",
            required=("kind",),
            kind=string("Such as FederatedDeployment."),
            name=string("One of them; without it, all."),
        ),
        p + "PlacementAffinity": obj(
            "A choice.",
            name=string("To tell it by."),
            clusters=_SKERRY.list_of("PlacementMember", "Members, by name."),
            clusterSelector={**selector, "description": "Members, by labels."},
        ),
        p + "PlacementMember": obj(
            "A member.",
            required=("name",),
            name=string("Its name."),
            since=string("Of who has it: since when."),
            leaseSeconds=int32(
                "The longest that it may run after the last answer; 0 of who is waited for: for ever."
            ),
            membership=string("Of whom something is lent to: which membership under its name it is."),
        ),
        p + "PlacementSpread": obj(
            "Over what members are spread.",
            required=("by",),
            by=string("Region, zone or a label of the member.", "region", "zone", "label"),
            label=string("Which label."),
            max=int32("No more in one of them."),
            min=int32("In so many of them at least, else the status says so."),
        ),
        p + "PlacementFailover": obj(
            "When who is silent is replaced.",
            afterSeconds=int32("So long it is silent first; 300 without."),
            perMinute=int32("No more moves in a minute; 1 without."),
            freezeAbovePercent=int32("None while more of all members are silent; 50 without."),
            failback=string("Back to an earlier choice: Never, or AfterStable.", "Never", "AfterStable"),
            stableSeconds=int32("So long that was heard without a break; 600 without."),
        ),
        p + "PlacementLease": obj(
            "It never runs in two members.",
            required=("leaseSeconds",),
            leaseSeconds=int32("A region that gets no answer for so long stops it by itself: 10 to 3600."),
        ),
    }


def _policy_status() -> dict[str, JsonObject]:
    p = _SKERRY.prefix
    return {
        p + "PlacementPolicyStatus": obj(
            "What is.",
            observedGeneration=int64("Of the spec that this is of."),
            choice=string("The affinity that counts."),
            placed=_SKERRY.list_of("PlacementMember", "Who has it."),
            waitsFor=_SKERRY.list_of("PlacementMember", "Who may run it yet: nobody else begins before."),
            wouldPlace=_SKERRY.list_of("PlacementMember", "Who would, of a dryRun."),
            members=_SKERRY.list_of("PlacementReason", "Why, of each."),
            held=free("Of the spec, what acts: of a dryRun, what did before."),
            past=strings_list("Who may have something of it yet, and runs none of it: their leases are over."),
            moves=strings_list("When somebody was replaced, newest last."),
            conditions=_SKERRY.list_of("PlacementCondition", "Placed and Frozen."),
            message=string("What else is to be known."),
        ),
        p + "PlacementReason": obj(
            "Why a member has it, or not.",
            required=("name", "placed"),
            name=string("The member."),
            placed=boolean("Whether it has it."),
            reason=string("Why."),
        ),
        p + "PlacementCondition": obj(
            "A condition.",
            required=("type", "status"),
            type=string("Which."),
            status=string("True, False, Unknown."),
            reason=string("Why, in a word."),
            message=string("Why."),
            lastTransitionTime=string("When the status changed."),
            observedGeneration=int64("Of the spec that this is of."),
        ),
    }


def _row_fields() -> dict[str, JsonObject]:
    return {
        "member": string("The member."),
        "object": _SKERRY.ref("MemberObjectTarget", "Which object."),
        "source": _SKERRY.ref("MemberObjectSource", "The federated object that it comes from."),
        "revision": int64("Grows with every change of this spec."),
        "plannedAt": string("When it changed."),
        "manifest": free("As the object is to be."),
        "remove": string("It is to go: with what it is, or only our mark on it.", "Delete", "Orphan"),
        "orphan": boolean("It stays in the member when the federated object goes."),
        "drift": string("What becomes of changes in the member.", *DRIFTS),
        "retain": strings_list("Fields that the member decides."),
        "propagationPolicy": string("What becomes of its dependents when it goes.", *PROPAGATIONS),
        "gracePeriodSeconds": int64("How long it has to go; none: as long as it says itself."),
        "recreate": boolean("It is deleted and made anew for a change of a field that can't be changed."),
        "leaseSeconds": int32("It stops by itself so long after the last answer of the global cloud."),
        "heldLeaseSeconds": int32(
            "The longest lease that the member may go by until it has told this revision; -1: for ever."
        ),
        "adopt": boolean("An object that is there already is taken over."),
    }


def _ledger() -> dict[str, JsonObject]:
    p = _SKERRY.prefix
    names = ("MemberObject", "RegionObject")
    abouts = (
        "One object as a member is to have it, or a tombstone: a row of the member's ledger.",
        "One object as the global cloud wants it in this region.",
    )
    made: dict[str, JsonObject] = {}
    for name, about in zip(names, abouts, strict=True):
        made[p + name] = _SKERRY.kind(
            name,
            about,
            spec=_SKERRY.ref("MemberObjectSpec", "What is wanted."),
            status=_SKERRY.ref("MemberObjectStatus", "What became of it in the member."),
        )
        made[p + name + "List"] = _SKERRY.list_kind(name)
    return made | {
        p + "MemberObjectSpec": _wanted(_row_fields()),
        p + "MemberObjectTarget": obj(
            "An object.",
            apiVersion=string("Group and version."),
            kind=string("Its kind."),
            namespace=string("Its namespace."),
            name=string("Its name."),
        ),
        p + "MemberObjectSource": obj(
            "A federated object.",
            resource=string("Its resource."),
            namespace=string("Its namespace."),
            name=string("Its name."),
            uid=string("Its life."),
        ),
        p + "MemberObjectStatus": obj(
            "What became of it in the member.",
            revision=int64("Of the spec that this is of."),
            code=string("As KubeFed calls it; none: it is as it is to be."),
            message=string("Why it is not."),
            plannedAt=string("Of the spec that this is of, by which its life is told from an earlier one."),
            observedAt=string("When the member saw that."),
            removed=boolean("Of a tombstone: it is gone."),
            generation=int64("Of the object there that this is of."),
            version=string("Of the object in the member, as it was written last: `gen:2`, `rv:77`."),
            drift=_SKERRY.list_of("DriftedField", "Fields that somebody changed in the member."),
            remote=free("The object's status there."),
            backed=boolean("Of a Service: whether it has a ready endpoint there."),
            leasePending=boolean("The lease of this revision does not count yet: what runs may go by a longer one."),
            leaseSeconds=int32("In a region: the longest lease that it may go by."),
            lent=boolean("In a region: while its lease is pending, whether it had one that counted."),
            applied=free("In a region: the manifest that was applied last."),
            uid=string("In a region: the life of the member object."),
        ),
        p + "DriftedField": obj(
            "A field that somebody changed in the member.",
            path=string("Where."),
            found=string("What was there, as JSON, cut."),
            outcome=string("What became of it.", "Kept", "Reverted"),
            at=string("When."),
        ),
    }


def _wanted(fields: dict[str, JsonObject]) -> JsonObject:
    made = obj("What is wanted.")
    made["properties"] = {**fields}
    return made

"""What becomes of a claim: which volume it has, gets, or waits for. Pure; keeps nothing.

Rules, reasons and words are those of Kubernetes' persistent volume controller (`syncUnboundClaim`, `syncBoundClaim`)
and of its expand controller. A claim of a class that waits for its consumer has its volume when the scheduler has
chosen a node for the pod, which it says in an annotation of the claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloudcore.controllers.volume.provisioning import refusal, volume_for
from cloudcore.registry.volumes import Search, best_volume, mismatch
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.meta import annotations_of, being_deleted, name_of, uid_of
from skerry.objects.volumes import (
    BOUND_BY_CONTROLLER,
    LOCAL,
    SELECTED_NODE,
    capacity_of,
    class_of,
    gateway_of,
    is_bound,
    is_for,
    request_of,
    says_class,
    waits_for_consumer,
)

NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"
_INTERNAL: Final = "kubernetes.io/"


class Around(Frozen):
    """What a claim is looked at with."""

    named: JsonObject | None
    """The volume that the claim names; None: none is named, or it is not there."""
    volumes: Sequence[JsonObject]
    """Those that it may come to have."""
    storage_class: JsonObject | None
    """The one that it wants; None: none, or it is not there."""
    default: JsonObject | None
    """The class of claims that say none."""
    node: JsonObject | None = None
    """The one that the scheduler selected; None: none, or it is not there."""
    waiting_pod: str = ""
    """The name of a pod that uses the claim and has no node yet."""


class Bind(Frozen):
    """Bring the claim and this volume to agree, and tell both."""

    volume: JsonObject


class Make(Frozen):
    """Make this volume, which is promised to the claim."""

    volume: JsonObject


class AskFor(Frozen):
    """Somebody else makes the volume: say in the claim who is asked."""

    provisioner: str


class TakeClass(Frozen):
    """It said no class, and there is a default by now."""

    name: str


class Unselect(Frozen):
    """The selected node can't have it: the scheduler must choose again."""

    reason: str
    message: str


class Wait(Frozen):
    """Nothing can be done now. `reason` is "" where there is nothing to tell."""

    reason: str = ""
    message: str = ""
    warning: bool = False


class Lose(Frozen):
    """What it had is gone."""

    reason: str
    message: str


class Grow(Frozen):
    """Its volume is a directory, which is as large as it is said to be."""

    volume: JsonObject


ClaimStep = Bind | Make | AskFor | TakeClass | Unselect | Wait | Lose | Grow | None


def plan_claim(claim: JsonObject, around: Around) -> ClaimStep:
    """The next step; None when all is as it should be."""
    if is_bound(claim) or str_at(claim, "status", "phase") == "Lost":
        return _bound(claim, around)
    if being_deleted(claim):
        return None
    if str_at(claim, "spec", "volumeName"):
        return _asked(claim, around)
    selected = annotations_of(claim).get(SELECTED_NODE, "")
    delayed = waits_for_consumer(around.storage_class)
    found = best_volume(claim, around.volumes, Search(promised_only=delayed))
    if found is not None:
        return Bind(volume=found)
    if not says_class(claim) and around.default is not None:
        return TakeClass(name=name_of(around.default))
    if delayed and not selected:
        return _first_consumer(around)
    if not class_of(claim):
        return Wait(
            reason="FailedBinding",
            message="no persistent volumes available for this claim and no storage class is set",
        )
    return _provisioned(claim, around, selected)


def _bound(claim: JsonObject, around: Around) -> ClaimStep:
    if not str_at(claim, "spec", "volumeName"):
        text = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
        return _lost(claim, "ClaimLost", text)
    volume = around.named
    if volume is None:
        text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        return _lost(claim, "ClaimLost", text)
    ref = map_at(volume, "spec", "claimRef")
    if ref and not (is_for(volume, claim) and str_at(ref, "uid") in ("", uid_of(claim))):
        text = "Two claims are bound to the same volume, this one is bound incorrectly"
        return _lost(claim, "ClaimMisbound", text)
    if gateway_of(volume) and capacity_of(volume) < request_of(claim):
        return Grow(volume=volume)
    return Bind(volume=volume)


def _lost(claim: JsonObject, reason: str, message: str) -> Lose | None:
    return None if str_at(claim, "status", "phase") == "Lost" else Lose(reason=reason, message=message)


def _asked(claim: JsonObject, around: Around) -> ClaimStep:
    """It names a volume, and waits for that one alone."""
    volume, name = around.named, str_at(claim, "spec", "volumeName")
    if volume is None:
        return Wait(reason="FailedBinding", message=f'volume "{name}" not found')
    if is_for(volume, claim):
        return Bind(volume=volume)
    if map_at(volume, "spec", "claimRef"):
        text = f'volume "{name}" already bound to a different claim.'
        return Wait(reason="FailedBinding", message=text, warning=BOUND_BY_CONTROLLER in annotations_of(claim))
    why = mismatch(volume, claim)
    if why:
        text = f'Cannot bind to requested volume "{name}": {why}'
        return Wait(reason="VolumeMismatch", message=text, warning=True)
    return Bind(volume=volume)


def _first_consumer(around: Around) -> Wait:
    if around.waiting_pod:
        return Wait(reason="WaitForPodScheduled", message=f"waiting for pod {around.waiting_pod} to be scheduled")
    return Wait(reason="WaitForFirstConsumer", message="waiting for first consumer to be created before binding")


def _provisioned(claim: JsonObject, around: Around, selected: str) -> ClaimStep:
    found = around.storage_class
    if found is None:
        text = f'storageclass.storage.k8s.io "{class_of(claim)}" not found'
        return Wait(reason="ProvisioningFailed", message=text, warning=True)
    provisioner = str_at(found, "provisioner")
    if provisioner != LOCAL:
        return _by_others(provisioner)
    if around.node is None:
        gone = f'node "{selected}" not found' if selected else "no node was selected for the claim"
        return Unselect(reason="ProvisioningFailed", message=gone)
    why = refusal(claim, found, around.node)
    if why:
        text = f'failed to provision volume with StorageClass "{name_of(found)}": {why}'
        return Wait(reason="ProvisioningFailed", message=text, warning=True)
    return Make(volume=volume_for(claim, found, around.node))


def _by_others(provisioner: str) -> ClaimStep:
    if provisioner == NO_PROVISIONER or provisioner.startswith(_INTERNAL):
        text = f"no volume plugin matched name: {provisioner}"
        return Wait(reason="ProvisioningFailed", message=text, warning=True)
    return AskFor(provisioner=provisioner)

"""Volumes, claims and classes: defaults, refusals word by word, and what admission adds."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.registry.admission import default_storage_class, storage_protection
from skerry.errors import InvalidError
from tests.cloudcore.registry.test_builtin import faults
from tests.cloudcore.storage import claim, local_class, on, user, volume
from tests.cloudcore.worlds import make_world

KINDS = {
    "PersistentVolume": "v1",
    "PersistentVolumeClaim": "v1",
    "StorageClass": "storage.k8s.io/v1",
    "Pod": "v1",
}


def of(kind: str, obj: Any) -> Any:
    return {"apiVersion": KINDS[kind], "kind": kind, **obj}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, ""),
        ({"capacity": {}}, "spec.capacity: Required value"),
        ({"capacity": {"storage": "0"}}, 'spec.capacity[storage]: Invalid value: "0": must be greater than zero'),
        ({"accessModes": []}, "spec.accessModes: Required value"),
        (
            {"accessModes": ["Mine"]},
            (
                'spec.accessModes: Unsupported value: "Mine": supported values: "ReadOnlyMany", "ReadWriteMany", '
                '"ReadWriteOnce", "ReadWriteOncePod"'
            ),
        ),
        ({"hostPath": None}, "spec: Required value: must specify a volume type"),
        ({"hostPath": {"path": "/a/../b"}}, "spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"),
        ({"nfs": {"server": "s", "path": "/"}}, "spec.nfs: Forbidden: may not specify more than 1 volume type"),
        (
            {"hostPath": None, "local": {"path": "/x"}},
            "spec.nodeAffinity: Required value: Local volume requires node affinity",
        ),
        (
            {"hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"},
            "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
        ),
        (
            {"nodeAffinity": {"required": {"nodeSelectorTerms": []}}},
            "spec.nodeAffinity.required.nodeSelectorTerms: Required value: must have at least one node selector term",
        ),
        (
            {"accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]},
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
        ),
    ],
)
def test_a_volume_is_refused_in_kubernetes_words(change, text):
    spec = {name: value for name, value in {**volume()["spec"], **change}.items() if value is not None}
    assert "; ".join(faults(of("PersistentVolume", {"metadata": {"name": "pv"}, "spec": spec}))) == text


def test_what_a_volume_is_stays():
    old, new = volume(nodeAffinity=on("a")), volume(nodeAffinity=on("b"))
    new["spec"]["hostPath"] = {"path": "/elsewhere"}
    found = faults(of("PersistentVolume", new), of("PersistentVolume", old))
    assert found[0] == (
        "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"
    )
    assert found[1].startswith("spec.nodeAffinity: Invalid value:")
    grown = volume(size="9Gi", nodeAffinity=on("a"))
    assert faults(of("PersistentVolume", grown), of("PersistentVolume", old)) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, ""),
        ({"accessModes": []}, "spec.accessModes: Required value: at least 1 access mode is required"),
        ({"resources": {}}, "spec.resources[storage]: Required value"),
        (
            {"resources": {"requests": {"storage": "-1"}}},
            'spec.resources[storage]: Invalid value: "-1": must be greater than zero',
        ),
        (
            {"volumeMode": "Tape"},
            'spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"',
        ),
    ],
)
def test_a_claim_is_refused_in_kubernetes_words(change, text):
    assert "; ".join(faults(of("PersistentVolumeClaim", claim(**change)))) == text


def test_a_claim_changes_only_in_what_may():
    def changed(old: Any, **spec: Any) -> list[str]:
        new = {**old, "spec": {**old["spec"], **spec}}
        return faults(of("PersistentVolumeClaim", new), of("PersistentVolumeClaim", old))

    fixed = (
        "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName "
        "for bound claims"
    )
    more = {"requests": {"storage": "2Gi"}}
    assert changed(claim(), resources=more) == [fixed]
    assert changed(claim(), volumeName="pv") == []
    assert changed(claim(volumeName="pv"), volumeName="other") == [fixed]
    assert changed(claim(storageClassName="a"), storageClassName="b") == [fixed]
    assert changed(claim(), storageClassName="a") == []
    held = claim() | {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}
    assert changed(held, resources=more) == []
    assert changed(held, resources={"requests": {"storage": "1Mi"}}) == [
        "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
    ]
    assert changed(held, accessModes=["ReadWriteMany"]) == [fixed]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, ""),
        (
            {"reclaimPolicy": "Recycle"},
            'reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"',
        ),
        (
            {"volumeBindingMode": "Immediate"},
            (
                'volumeBindingMode: Invalid value: "Immediate": must be WaitForFirstConsumer for skerry.dev/local: '
                "which gateway has the directory follows from the pod"
            ),
        ),
        ({"provisioner": "example.com/nfs", "volumeBindingMode": "Immediate"}, ""),
        (
            {"allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": []}]}]},
            "allowedTopologies[0].matchLabelExpressions[0].values: Required value",
        ),
    ],
)
def test_a_class_is_refused_in_words(change, text):
    assert "; ".join(faults(of("StorageClass", local_class(**change)))) == text


def test_the_template_of_an_ephemeral_volume_is_checked_as_a_claim_is():
    pod = user("p")
    pod["spec"]["containers"][0]["image"] = "x"
    pod["spec"]["volumes"] = [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]
    assert faults(of("Pod", pod)) == [
        (
            "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.accessModes: Required value: at least 1 access mode "
            "is required"
        ),
        "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value",
    ]


async def test_admission_names_the_default_class_and_holds_what_may_be_used():
    async with make_world(default_storage_class, storage_protection, real_rules=True) as world:
        await world.create("storageclasses.storage.k8s.io", local_class(default=True))
        mine = await world.create("persistentvolumeclaims", claim())
        assert mine["spec"]["storageClassName"] == "local"
        assert mine["spec"]["volumeMode"] == "Filesystem"
        assert mine["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
        pv = await world.create("persistentvolumes", volume())
        assert pv["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]
        with pytest.raises(InvalidError, match="at least 1 access mode"):
            await world.create("persistentvolumeclaims", claim("bad", accessModes=[]))

"""A pod's claims as directories of this gateway, and what is said where they are none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from edgecore.pods.claims import used_places
from edgecore.pods.env import ConfigError
from edgecore.pods.volumes import Ways, mounts_of, sync_volumes
from tests.edgecore.pods.pods_of import around, container, pod


def claim(name: str = "data", volume: str = "pv", *, uid: str = "claim-1", **metadata: Any) -> Any:
    annotations = {"pv.kubernetes.io/bind-completed": "yes"} if volume else {}
    return {
        "metadata": {"name": name, "namespace": "default", "uid": uid, "annotations": annotations, **metadata},
        "spec": {"accessModes": ["ReadWriteOnce"], **({"volumeName": volume} if volume else {})},
        "status": {"phase": "Bound" if volume else "Pending"},
    }


def volume(**spec: Any) -> Any:
    return {
        "metadata": {"name": "pv", "uid": "pv-1"},
        "spec": {"capacity": {"storage": "1Gi"}, "claimRef": {"name": "data", "uid": "claim-1"}, **spec},
    }


def own(handle: str = "pvc-1", node: str = "gate-1", **spec: Any) -> Any:
    csi = {"driver": "skerry.dev/local", "volumeHandle": handle, "volumeAttributes": {"skerry.dev/node": node}}
    return volume(csi=csi, **spec)


def on(host: str) -> Any:
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}
    return {"required": {"nodeSelectorTerms": [term]}}


def user(**source: Any) -> Any:
    one = container(volumeMounts=[{"name": "v", "mountPath": "/data"}])
    return pod(one, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data", **source}}])


def place(tmp_path: Path, one: Any, **objects: Any) -> Path:
    directory = tmp_path / "pods" / "uid-1"
    directory.mkdir(parents=True, exist_ok=True)
    root = tmp_path / "root"
    return sync_volumes(directory, around(one, **objects), Ways(kept=tmp_path / "volumes", root=root))["v"]


def objects(pv: Any, held: Any = None) -> dict[str, Any]:
    return {"persistentvolumeclaims_data": held or claim(), "persistentvolumes_pv": pv}


def test_the_directory_is_made_once_and_what_is_in_it_stays(tmp_path: Path) -> None:
    found = place(tmp_path, user(), **objects(own()))
    assert found == tmp_path / "volumes" / "pvc-1"
    assert found.stat().st_mode & 0o777 == 0o777
    assert found.parent.stat().st_mode & 0o777 == 0o700
    (found / "rows").write_text("1")
    found.chmod(0o750)  # somebody knows better
    assert (place(tmp_path, user(), **objects(own())) / "rows").read_text() == "1"
    assert found.stat().st_mode & 0o777 == 0o750


def test_each_use_is_noted_in_the_pods_own_directory(tmp_path: Path) -> None:
    found = place(tmp_path, user(), **objects(own()))
    assert list(used_places(tmp_path / "pods")) == [found]
    other = place(tmp_path, user(), **objects(own("pvc-2")))
    assert list(used_places(tmp_path / "pods")) == [other]
    assert list(used_places(tmp_path / "none")) == []


def test_a_prepared_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='path "/srv/disk" does not exist'):
        place(tmp_path, user(), **objects(volume(local={"path": "/srv/disk"})))
    disk = tmp_path / "root" / "srv" / "disk"
    disk.mkdir(parents=True)
    assert place(tmp_path, user(), **objects(volume(local={"path": "/srv/disk"}))) == disk
    made = volume(hostPath={"path": "/srv/made", "type": "DirectoryOrCreate"})
    assert place(tmp_path, user(), **objects(made)) == tmp_path / "root" / "srv" / "made"


@pytest.mark.parametrize(
    ("there", "text"),
    [
        (
            {},
            (
                "error processing PVC default/data: failed to fetch PVC from API server: "
                'persistentvolumeclaims "data" not found'
            ),
        ),
        (objects(own(), claim(volume="")), "error processing PVC default/data: PVC is not bound"),
        (objects(own(), claim(deletionTimestamp="2026-01-01T00:00:00Z")), "PVC is being deleted"),
        (
            {"persistentvolumeclaims_data": claim()},
            'failed to fetch PV "pv" from API server: persistentvolumes "pv" not found',
        ),
        (objects(own(), claim(uid="claim-2")), 'failed to get PV "pv": it is bound to another claim'),
        (objects(own(volumeMode="Block")), "volume v has volumeMode Block, but is specified in volumeMounts"),
        (objects(own(node="gate-2")), 'volume "pv" is a directory of gate-2'),
        (objects(own("../etc")), 'volume "pv" is a directory of gate-1'),
        (objects(volume(local={"path": "srv/../etc"})), "local: srv/../etc is not an absolute path without .."),
        (
            objects(volume(nfs={"server": "s"})),
            'volume "pv" is nfs: this gateway mounts csi of skerry.dev/local, hostPath and local',
        ),
    ],
)
def test_what_is_no_directory_here_is_refused_in_words(tmp_path: Path, there: Any, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        place(tmp_path, user(), **there)
    assert str(refused.value).startswith('MountVolume.SetUp failed for volume "v" : ')
    assert text in str(refused.value)


def test_a_volume_of_another_place_is_refused(tmp_path: Path) -> None:
    node = {"metadata": {"name": "gate-1", "labels": {"kubernetes.io/hostname": "gate-1"}}}
    far = own(nodeAffinity=on("gate-2"))
    with pytest.raises(ConfigError, match="no matching NodeSelectorTerms"):
        place(tmp_path, user(), **{"nodes_gate-1": node}, **objects(far))
    assert place(tmp_path, user(), **{"nodes_gate-1": node}, **objects(own(nodeAffinity=on("gate-1"))))
    assert place(tmp_path, user(), **objects(far)), "before the Node is known nothing is refused"


def test_an_ephemeral_claim_has_to_be_the_pods_own(tmp_path: Path) -> None:
    one = pod(volumes=[{"name": "v", "ephemeral": {"volumeClaimTemplate": {}}}])
    there = {"persistentvolumeclaims_web-v": claim("web-v"), "persistentvolumes_pv": own()}
    with pytest.raises(ConfigError, match="PVC default/web-v was not created for pod default/web"):
        place(tmp_path, one, **there)
    there["persistentvolumeclaims_web-v"]["metadata"]["ownerReferences"] = [{"uid": "uid-1", "controller": True}]
    assert place(tmp_path, one, **there)


def test_claims_are_mounted_to_write_unless_the_pod_says_otherwise(tmp_path: Path) -> None:
    for one, read_only in ((user(), False), (user(readOnly=True), True)):
        found = place(tmp_path, one, **objects(own()))
        (mount,) = mounts_of(one["spec"]["containers"][0], around(one), {"v": found})
        assert (mount.host_path, mount.container_path, mount.read_only) == (found, "/data", read_only)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_pods_group_gets_the_gateways_own_directory_and_no_path_of_the_machine(tmp_path: Path) -> None:
    one = user()
    one["spec"]["securityContext"] = {"fsGroup": 4711}
    found = place(tmp_path, one, **objects(own()))
    assert found.stat().st_gid == 4711
    assert found.stat().st_mode & 0o2070 == 0o2070
    shared = place(tmp_path, one, **objects(volume(hostPath={"path": "/srv", "type": "DirectoryOrCreate"})))
    assert shared.stat().st_gid != 4711

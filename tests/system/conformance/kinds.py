"""The steps that conformance's "API operations" and "lifecycle" tests have in common, for any kind."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

from tests.system.conformance.cluster import MERGE, Cluster, Obj, names, revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A kind and an object of it."""

    group_version: str
    plural: str
    namespaced: bool
    obj: Obj
    """Without name and labels."""
    status: Obj | None = None
    """A status to write, where the kind has that subresource."""

    @property
    def root(self) -> str:
        return f"/apis/{self.group_version}" if "/" in self.group_version else f"/api/{self.group_version}"

    def collection(self, ns: str) -> str:
        return f"{self.root}/namespaces/{ns}/{self.plural}" if self.namespaced else f"{self.root}/{self.plural}"


def is_discovered(cluster: Cluster, sample: Sample) -> None:
    """Group, version and resource are in the three discovery documents."""
    group, _, version = sample.group_version.rpartition("/")
    if group:
        listed = next(each for each in cluster.get("/apis")["groups"] if each["name"] == group)
        for found in (listed, cluster.get(f"/apis/{group}")):
            assert {"groupVersion": sample.group_version, "version": version} in found["versions"]
    resources = cluster.get(sample.root)["resources"]
    found = next(each for each in resources if each["name"] == sample.plural)
    assert {"create", "get", "list", "watch", "update", "patch", "delete"} <= set(found["verbs"])
    assert found["namespaced"] is sample.namespaced
    if sample.status is not None:
        assert any(each["name"] == f"{sample.plural}/status" for each in resources)


def operate(cluster: Cluster, sample: Sample, ns: str, *, collection: bool = True) -> None:
    """Create, get, list, watch, patch, update, status, delete, delete as a collection; each seen by the watch."""
    is_discovered(cluster, sample)
    path = sample.collection(ns)
    label = cluster.name("special")
    made = [cluster.create(path, _labelled(sample, cluster.name("x"), label)) for _ in range(3)]
    name = made[0]["metadata"]["name"]
    one = f"{path}/{name}"

    got = cluster.get(one)
    assert got["metadata"]["uid"] == made[0]["metadata"]["uid"]
    selected = cluster.get(path, labelSelector=f"special={label}")
    assert sorted(names(selected)) == sorted(each["metadata"]["name"] for each in made)
    everywhere = cluster.get(f"{sample.root}/{sample.plural}", labelSelector=f"special={label}")
    assert len(everywhere["items"]) == 3

    since = selected["metadata"]["resourceVersion"]
    with cluster.watch(path, resourceVersion=since, labelSelector=f"special={label}") as watch:
        patched = cluster.patch(one, {"metadata": {"annotations": {"patched": "true"}}}, MERGE)
        assert patched["metadata"]["annotations"]["patched"] == "true"
        assert revision(patched) > revision(made[0])
        updated = deepcopy(patched)
        updated["metadata"]["annotations"]["updated"] = "true"
        assert cluster.put(one, updated)["metadata"]["annotations"]["updated"] == "true"
        seen = watch.until("MODIFIED", lambda obj: obj["metadata"]["annotations"].get("updated") == "true")
        assert seen["metadata"]["annotations"]["patched"] == "true"
        if sample.status is not None:
            _write_status(cluster, one, sample.status)
        cluster.delete(one)
        watch.until("DELETED", lambda obj: obj["metadata"]["name"] == name)
    cluster.gone(one)
    assert len(cluster.get(path, labelSelector=f"special={label}")["items"]) == 2
    if collection:
        cluster.delete(path, labelSelector=f"special={label}")
    else:
        for each in made[1:]:
            cluster.delete(f"{path}/{each['metadata']['name']}")
    for each in made[1:]:
        cluster.gone(f"{path}/{each['metadata']['name']}")


def _write_status(cluster: Cluster, one: str, status: Obj) -> None:
    patch = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": status}
    patched = cluster.patch(f"{one}/status", patch, MERGE)
    assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
    assert status.items() <= patched["status"].items()
    replaced = cluster.get(f"{one}/status")
    assert replaced["metadata"]["uid"] == patched["metadata"]["uid"]
    assert cluster.put(f"{one}/status", replaced)["status"] == patched["status"]


def _labelled(sample: Sample, name: str, label: str) -> Obj:
    obj = deepcopy(sample.obj)
    metadata = obj.setdefault("metadata", {})
    metadata.setdefault("name", name)
    metadata["labels"] = {**metadata.get("labels", {}), "special": label}
    return obj

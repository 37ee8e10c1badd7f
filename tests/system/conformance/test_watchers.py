"""Watchers, chunked lists, tables: conformance of apimachinery/{watch,chunking,table_conversion,server_version}."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.system.cloud_process import cloud_process
from tests.system.conformance.cluster import Cluster, Obj, eventually, names

pytestmark = pytest.mark.system

LABEL = "watch-this-configmap"


def config_map(name: str, label: str, **data: str) -> Obj:
    return {"metadata": {"name": name, "labels": {LABEL: label}}, "data": data}


def mutate(cluster: Cluster, path: str, value: str) -> Obj:
    return cluster.update(path, lambda obj: obj.setdefault("data", {}).update(mutation=value))


def test_observe_add_update_and_delete_notifications_on_configmaps(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/configmaps"
    with (
        cluster.watch(path, labelSelector=f"{LABEL}=A") as watch_a,
        cluster.watch(path, labelSelector=f"{LABEL}=B") as watch_b,
        cluster.watch(path, labelSelector=f"{LABEL} in (A,B)") as watch_ab,
    ):
        cluster.create(path, config_map("a", "A"))
        for watch in (watch_a, watch_ab):
            assert watch.next()[0] == "ADDED"
        for step in ("1", "2"):
            mutate(cluster, f"{path}/a", step)
            for watch in (watch_a, watch_ab):
                kind, seen = watch.next()
                assert (kind, seen["data"]["mutation"]) == ("MODIFIED", step)
        cluster.delete(f"{path}/a")
        for watch in (watch_a, watch_ab):
            assert watch.next()[0] == "DELETED"
        cluster.create(path, config_map("b", "B"))
        for watch in (watch_b, watch_ab):
            assert watch.next()[0] == "ADDED"
        cluster.delete(f"{path}/b")
        for watch in (watch_b, watch_ab):
            assert watch.next()[0] == "DELETED"
        watch_a.quiet()


def test_start_watching_from_a_specific_resource_version(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/configmaps"
    cluster.create(path, config_map("c", "from"))
    first = mutate(cluster, f"{path}/c", "1")
    mutate(cluster, f"{path}/c", "2")
    cluster.delete(f"{path}/c")
    since = first["metadata"]["resourceVersion"]
    with cluster.watch(path, resourceVersion=since, labelSelector=f"{LABEL}=from") as watch:
        kind, seen = watch.next()
        assert (kind, seen["data"]["mutation"]) == ("MODIFIED", "2")
        assert watch.next()[0] == "DELETED"


def test_restart_watching_from_the_last_resource_version_observed(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/configmaps"
    with cluster.watch(path, labelSelector=f"{LABEL}=again") as watch:
        cluster.create(path, config_map("c", "again"))
        mutate(cluster, f"{path}/c", "1")
        assert watch.next()[0] == "ADDED"
        last = watch.next()[1]["metadata"]["resourceVersion"]
    mutate(cluster, f"{path}/c", "2")
    cluster.delete(f"{path}/c")
    with cluster.watch(path, resourceVersion=last, labelSelector=f"{LABEL}=again") as watch:
        kind, seen = watch.next()
        assert (kind, seen["data"]["mutation"]) == ("MODIFIED", "2")
        assert watch.next()[0] == "DELETED"


def test_observe_a_deletion_if_an_object_stops_meeting_the_selector(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/configmaps"
    with cluster.watch(path, labelSelector=f"{LABEL}=changing") as watch:
        cluster.create(path, config_map("c", "changing"))
        mutate(cluster, f"{path}/c", "1")
        cluster.update(f"{path}/c", lambda obj: obj["metadata"]["labels"].update({LABEL: "wrong"}))
        assert [watch.next()[0] for _ in range(3)] == ["ADDED", "MODIFIED", "DELETED"]
        mutate(cluster, f"{path}/c", "2")  # unseen: it does not match
        cluster.update(f"{path}/c", lambda obj: obj["metadata"]["labels"].update({LABEL: "changing"}))
        kind, seen = watch.next()
        assert (kind, seen["data"]["mutation"]) == ("ADDED", "2")
        mutate(cluster, f"{path}/c", "3")
        cluster.delete(f"{path}/c")
        assert [watch.next()[0] for _ in range(2)] == ["MODIFIED", "DELETED"]


def test_receive_events_on_concurrent_watches_in_same_order(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/configmaps"
    stop = threading.Event()

    def churn() -> None:
        writer = cluster.twin()
        turn = 0
        while not stop.is_set() and turn < 2000:
            name = f"cm-{turn % 3}"
            if writer.call("POST", path, config_map(name, "order")).code == 409 and turn % 2:
                writer.call("DELETE", f"{path}/{name}")
            turn += 1
        writer.close()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(churn)
        try:
            since = cluster.get(path)["metadata"]["resourceVersion"]
            seen: list[list[str]] = []
            for _ in range(6):
                with cluster.watch(path, resourceVersion=since) as watch:
                    seen.append([watch.next()[1]["metadata"]["resourceVersion"] for _ in range(20)])
        finally:
            stop.set()
            running.result()
    assert all(each == seen[0] for each in seen)
    assert [int(each) for each in seen[0]] == sorted(int(each) for each in seen[0])


def fill(cluster: Cluster, path: str, count: int) -> None:
    template: Obj = {"spec": {"containers": [{"name": "test", "image": "test2"}]}}

    def create(numbers: range) -> None:
        writer = cluster.twin()
        for number in numbers:
            writer.create(path, {"metadata": {"name": f"template-{number:04d}"}, "template": template})
        writer.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, [range(first, count, 4) for first in range(4)]))


def test_return_chunks_of_results_for_list_calls(cluster: Cluster, ns: str):
    path = f"/api/v1/namespaces/{ns}/podtemplates"
    fill(cluster, path, 400)
    for limit in (37, 11, 40):
        found: list[str] = []
        first, token = "", ""
        while True:
            page = cluster.get(path, limit=limit, **({"continue": token} if token else {}))
            assert len(page["items"]) <= limit
            first = first or page["metadata"]["resourceVersion"]
            assert page["metadata"]["resourceVersion"] == first
            found += names(page)
            token = page["metadata"].get("continue", "")
            if not token:
                assert "remainingItemCount" not in page["metadata"]
                break
            assert page["metadata"]["remainingItemCount"] + len(found) == 400
        assert found == [f"template-{number:04d}" for number in range(400)]
    assert len(cluster.get(path, limit=401)["items"]) == 400


def test_continue_listing_from_the_last_key_if_the_original_version_has_been_compacted_away(
    tmp_path_factory: pytest.TempPathFactory,
):
    """With the shortest history that may be set; the suite waits for ten minutes of Kubernetes' default."""
    with cloud_process(tmp_path_factory.mktemp("compacted") / "cloud", "--history-s", "10") as cloud:
        cluster = Cluster(cloud)
        with cluster.namespace("chunking") as ns:
            path = f"/api/v1/namespaces/{ns}/podtemplates"
            fill(cluster, path, 40)
            page = cluster.get(path, limit=4)
            token, first = page["metadata"]["continue"], page["metadata"]["resourceVersion"]
            for number in range(20):
                cluster.create(f"/api/v1/namespaces/{ns}/configmaps", {"metadata": {"name": f"later-{number}"}})

            def is_expired() -> bool:
                return cluster.call("GET", path, limit=4, **{"continue": token}).code == 410

            eventually(is_expired, "the first page's revision is compacted away", 60)
            refused = cluster.fails(410, "GET", path, limit=4, **{"continue": token})
            assert refused.reason == "Expired"
            token = refused.obj["metadata"]["continue"]
            page = cluster.get(path, limit=4, **{"continue": token})
            assert page["metadata"]["resourceVersion"] != first
            assert len(page["items"]) == 4
            found = [f"template-{number:04d}" for number in range(4)] + names(page)
            assert page["metadata"]["remainingItemCount"] + len(found) == 40
            second = page["metadata"]["resourceVersion"]
            while token := page["metadata"].get("continue", ""):
                page = cluster.get(path, limit=4, **{"continue": token})
                assert page["metadata"]["resourceVersion"] == second
                found += names(page)
            assert found == [f"template-{number:04d}" for number in range(40)]
        cluster.close()


def test_return_a_406_for_a_backend_which_does_not_implement_metadata(cluster: Cluster):
    review = {
        "spec": {"resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}},
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    assert cluster.fails(406, "POST", path, review, headers={"Accept": table}).reason == "NotAcceptable"
    assert cluster.call("POST", path, review, headers={"Accept": f"{table},application/json"}).code == 201


def test_find_the_server_version(cluster: Cluster):
    version = cluster.get("/version")
    assert version["major"].isdecimal()
    assert version["minor"].rstrip("+").isdecimal()

"""The official Python client, kr8s and a kopf operator against a real `cloudcore`, as their users use them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.cloud_process import CloudProcess, cloud_process
from tests.system.levels import reached
from tests.system.pretended_node import pretended_node
from tests.system.test_clients_kubectl import APP, DEFINITION

kubernetes: Any = pytest.importorskip("kubernetes")
kr8s_asyncio: Any = pytest.importorskip("kr8s.asyncio")

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(120),
    # The clients' own: they warn of what they will change, and of a Kubernetes newer than they were tested with.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    with cloud_process(tmp_path_factory.mktemp("python") / "cloud") as made:
        made.kubectl("apply", "-f", "-", stdin=DEFINITION)
        with pretended_node(made, "pretended"):
            yield made


@pytest.fixture
def client(cloud: CloudProcess) -> Iterator[Any]:
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(str(cloud.kubeconfig), client_configuration=configuration)
    with kubernetes.client.ApiClient(configuration) as made:
        yield made


def until(holds: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Wait for a level, with a deadline."""
    reached(holds, lambda: "it did not come to hold", within_s=seconds)


# --- the official client -------------------------------------------------------------------------------------------


def config_map(name: str, **data: str) -> Any:
    return kubernetes.client.V1ConfigMap(metadata=kubernetes.client.V1ObjectMeta(name=name), data=data)


def test_the_official_client_reads_every_kind_it_has_a_model_for(client: Any, cloud: CloudProcess) -> None:
    cloud.kubectl("apply", "-f", "-", stdin=APP)
    core, apps = kubernetes.client.CoreV1Api(client), kubernetes.client.AppsV1Api(client)
    until(lambda: (apps.read_namespaced_deployment("web", "default").status.ready_replicas or 0) == 2)
    assert core.list_node().items[0].metadata.name == "pretended"
    assert {pod.status.phase for pod in core.list_namespaced_pod("default").items} == {"Running"}
    assert "default" in {namespace.metadata.name for namespace in core.list_namespace().items}
    assert core.list_namespaced_service("default").items[0].spec.cluster_ip == "10.96.0.1"
    assert core.list_namespaced_event("default").items
    assert kubernetes.client.RbacAuthorizationV1Api(client).list_cluster_role().items
    assert kubernetes.client.DiscoveryV1Api(client).list_endpoint_slice_for_all_namespaces().items
    assert kubernetes.client.ApiextensionsV1Api(client).list_custom_resource_definition().items
    assert kubernetes.client.VersionApi(client).get_code().minor == "36"


def test_the_official_client_creates_patches_pages_and_deletes(client: Any) -> None:
    core = kubernetes.client.CoreV1Api(client)
    for number in range(5):
        core.create_namespaced_config_map("default", config_map(f"k{number}", a="1"))
    patched = core.patch_namespaced_config_map("k0", "default", {"data": {"b": "2"}})
    assert patched.data == {"a": "1", "b": "2"}
    page = core.list_namespaced_config_map("default", limit=2)
    names = [item.metadata.name for item in page.items]
    while page.metadata._continue:
        page = core.list_namespaced_config_map("default", limit=2, _continue=page.metadata._continue)
        names += [item.metadata.name for item in page.items]
    assert {f"k{number}" for number in range(5)} <= set(names)
    assert len(names) == len(set(names))
    with pytest.raises(kubernetes.client.ApiException) as refused:
        core.create_namespaced_config_map("default", config_map("k0"))
    assert refused.value.status == 409
    core.delete_namespaced_config_map("k0", "default")
    core.delete_collection_namespaced_config_map("default", field_selector="metadata.name=k1")
    with pytest.raises(kubernetes.client.ApiException) as gone:
        core.read_namespaced_config_map("k1", "default")
    assert gone.value.status == 404


def test_the_official_client_watches_and_ends_when_its_time_is_up(client: Any) -> None:
    core = kubernetes.client.CoreV1Api(client)
    start = core.list_namespaced_config_map("default").metadata.resource_version
    core.create_namespaced_config_map("default", config_map("seen"))
    core.delete_namespaced_config_map("seen", "default")
    seen = [
        (event["type"], event["object"].metadata.name)
        for event in kubernetes.watch.Watch().stream(
            core.list_namespaced_config_map, "default", resource_version=start, timeout_seconds=2
        )
    ]
    assert seen == [("ADDED", "seen"), ("DELETED", "seen")]


def test_the_official_client_handles_custom_objects_and_scale(client: Any) -> None:
    custom = kubernetes.client.CustomObjectsApi(client)
    place = ("sea.example.com", "v1", "default", "tides")
    custom.create_namespaced_custom_object(
        *place, {"apiVersion": "sea.example.com/v1", "kind": "Tide", "metadata": {"name": "neap"}, "spec": {}}
    )
    assert custom.get_namespaced_custom_object(*place, "neap")["spec"] == {"replicas": 1}
    scaled = custom.patch_namespaced_custom_object_scale(*place, "neap", {"spec": {"replicas": 4}})
    assert scaled["spec"]["replicas"] == 4
    custom.delete_namespaced_custom_object(*place, "neap")


def test_the_dynamic_client_finds_devices(client: Any) -> None:
    dynamic = kubernetes.dynamic.DynamicClient(client)
    devices = dynamic.resources.get(api_version="devices.kubeedge.io/v1beta1", kind="Device")
    assert devices.get(namespace="default").items == []


# --- kr8s ------------------------------------------------------------------------------------------------------


def test_kr8s_creates_patches_labels_scales_watches_and_deletes(cloud: CloudProcess) -> None:
    async def work() -> None:
        api = await kr8s_asyncio.api(kubeconfig=str(cloud.kubeconfig))
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kr"}, "data": {"a": "1"}}
        config = await kr8s_asyncio.objects.ConfigMap(body, namespace="default", api=api)
        await config.create()
        assert await config.exists()
        await config.patch({"data": {"b": "2"}})
        await config.label({"tier": "back"})
        found = [each async for each in api.get("configmaps", namespace="default", label_selector="tier=back")]
        assert [dict(each.data) for each in found] == [{"a": "1", "b": "2"}]
        assert [node.name async for node in api.get("nodes")] == ["pretended"]
        async for event, obj in api.watch("configmaps", namespace="default", field_selector="metadata.name=kr"):
            assert (event, obj.name) == ("ADDED", "kr")
            break
        await config.delete()
        assert not await config.exists()
        assert (await api.version())["minor"] == "36"

    asyncio.run(asyncio.wait_for(work(), 60))


# --- kopf ------------------------------------------------------------------------------------------------------

OPERATOR = """
import kopf

@kopf.on.startup()
def configure(settings, **_):
    settings.posting.level = 100

@kopf.on.create("sea.example.com", "v1", "tides")
def born(spec, patch, **_):
    patch.status["seen"] = spec.get("height", 0)
    return {"height": spec.get("height", 0)}

@kopf.on.update("sea.example.com", "v1", "tides", field="spec.height")
def changed(new, patch, **_):
    patch.metadata.labels["height"] = str(new)

@kopf.on.delete("sea.example.com", "v1", "tides")
def gone(name, **_):
    print("farewell", name, flush=True)
"""


def test_a_kopf_operator_acts_on_custom_objects_until_they_are_gone(cloud: CloudProcess, tmp_path: Path) -> None:
    pytest.importorskip("kopf")
    (tmp_path / "tides.py").write_text(OPERATOR)
    log = tmp_path / "log"
    with log.open("wb") as out:
        operator = subprocess.Popen(
            [sys.executable, "-m", "kopf", "run", "--standalone", "--namespace=default", "tides.py"],
            cwd=tmp_path,
            env={**os.environ, "KUBECONFIG": str(cloud.kubeconfig), "PYTHONWARNINGS": "ignore"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    stop = threading.Timer(90, operator.kill)
    stop.start()
    try:
        cloud.kubectl("apply", "-f", "-", stdin=TIDE)
        until(lambda: "kopf" in cloud.kubectl("get", "tide", "high", "-o", "yaml"))
        cloud.kubectl("patch", "tide", "high", "--type=merge", "-p", '{"spec":{"height":9}}')
        until(lambda: cloud.kubectl("get", "tide", "high", "-o", "jsonpath={.metadata.labels.height}") == "9")
        cloud.kubectl("delete", "tide", "high", "--timeout=30s")
        assert "farewell high" in log.read_text()
    except AssertionError as error:
        raise AssertionError(f"{error}\n{log.read_text()[-3000:]}") from error
    finally:
        stop.cancel()
        operator.terminate()
        operator.wait(timeout=20)


TIDE = """
apiVersion: sea.example.com/v1
kind: Tide
metadata: {name: high, namespace: default}
spec: {height: 7}
"""

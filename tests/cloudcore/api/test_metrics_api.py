"""`kubectl top`: what gateways answer, as the metrics API shows it."""

from __future__ import annotations

from skerry.objects.usage import NodeUsed, Used
from tests.cloudcore.api.conftest import ApiWorld

NODES = "/apis/metrics.k8s.io/v1beta1/nodes"
PODS = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"
RATE = Used(at_ms=1_750_000_000_000, window_ms=1000, cpu_ns_s=250_000_000, memory_bytes=5 << 20)


async def a_world_with_usage(world: ApiWorld) -> None:
    for name in ("eu-1", "eu-2"):
        await world.post("/api/v1/nodes", {"metadata": {"name": name, "labels": {"n": name}}})
    uids: dict[str, str] = {}
    for name, node in (("web", "eu-1"), ("db", "eu-1"), ("far", "eu-2"), ("unbound", "")):
        spec = {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}
        body = {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}
        made = await world.post("/api/v1/namespaces/default/pods", body)
        uids[name] = made["metadata"]["uid"]
    world.gateways.uses["eu-1"] = NodeUsed(node=RATE, pods={uids["web"]: {"c": RATE}})


async def test_nodes_that_answer_have_a_row(world: ApiWorld) -> None:
    await a_world_with_usage(world)
    listed = await world.get(NODES)
    assert (listed["kind"], [each["metadata"]["name"] for each in listed["items"]]) == ("NodeMetricsList", ["eu-1"])
    assert listed["items"][0]["usage"] == {"cpu": "250000000n", "memory": "5120Ki"}
    assert (await world.get(f"{NODES}?labelSelector=n%3Deu-2"))["items"] == []
    assert (await world.get(f"{NODES}/eu-1"))["metadata"]["labels"]["n"] == "eu-1"
    away = await world.ask("GET", f"{NODES}/eu-2")
    assert (away.code, "not connected" in away.message) == (503, True)
    missing = await world.ask("GET", f"{NODES}/nope")
    assert (missing.code, missing.message) == (404, 'nodes.metrics.k8s.io "nope" not found')


async def test_pods_of_gateways_that_answer_have_a_row(world: ApiWorld) -> None:
    await a_world_with_usage(world)
    for path in (PODS, "/apis/metrics.k8s.io/v1beta1/pods"):
        listed = await world.get(path)
        assert [each["metadata"]["name"] for each in listed["items"]] == ["web"]
    assert listed["items"][0]["containers"][0]["name"] == "c"
    assert (await world.get(f"{PODS}?labelSelector=app%3Ddb"))["items"] == []
    assert (await world.get(f"{PODS}?fieldSelector=metadata.name%3Dweb"))["items"]
    assert (await world.get(f"{PODS}/web"))["kind"] == "PodMetrics"
    none_yet = await world.ask("GET", f"{PODS}/db")
    assert (none_yet.code, none_yet.message) == (404, 'pods.metrics.k8s.io "db" not found')


async def test_it_is_read_and_nothing_else(world: ApiWorld) -> None:
    for method in ("POST", "DELETE"):
        assert (await world.ask(method, NODES, {} if method == "POST" else None)).code == 405
    assert (await world.ask("GET", f"{NODES}?watch=true")).code == 405

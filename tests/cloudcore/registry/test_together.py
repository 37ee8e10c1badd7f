"""The registry with the real rules of kinds, on the real store: what a client sees when it writes what it read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloudcore.registry.builtin import KindRules
from cloudcore.registry.custom import CustomKinds
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.registry.objects import LocalObjects
from cloudcore.store.cache import following
from cloudcore.store.sql import open_sql_store
from skerry.clocks import ManualClock, SeededIds
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject, clone, str_at
from skerry.objects.scheme import Kind

SCHEME = builtin_scheme()
TEMPLATE: JsonObject = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "0.5"}}}]},
}
SAID: dict[str, JsonObject] = {
    "configmaps": {"data": {"a": "1"}},
    "secrets": {"stringData": {"a": "b"}},
    "pods": {"spec": TEMPLATE["spec"]},
    "deployments.apps": {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}},
    "services": {"spec": {"ports": [{"port": 80}], "clusterIP": "None"}},
    "leases.coordination.k8s.io": {"spec": {"holderIdentity": "x"}},
    "nodes": {"status": {"capacity": {"cpu": "4"}}},
    "events": {"involvedObject": {"kind": "Pod", "namespace": "ns", "name": "p"}},
    "endpointslices.discovery.k8s.io": {"addressType": "IPv4", "endpoints": []},
    "roles.rbac.authorization.k8s.io": {"rules": []},
}


def kind_of(resource: str) -> Kind:
    found = SCHEME.of_resource(resource)
    assert found is not None
    return found


@pytest.fixture
async def objects(tmp_path: Path) -> AsyncIterator[LocalObjects]:
    store = await open_sql_store(tmp_path / "store.db", ids=SeededIds(1))
    async with following(store) as cache:
        rules = KindRules(CustomKinds(SCHEME))
        made = LocalObjects(store=store, cache=cache, rules=rules, clock=ManualClock(), ids=SeededIds(2))
        await made.create(kind_of("namespaces"), "", {"metadata": {"name": "ns"}})
        await made.create(kind_of("serviceaccounts"), "ns", {"metadata": {"name": "default"}})
        yield made
    await store.close()


@pytest.mark.parametrize("resource", SAID)
async def test_writing_back_what_was_read_takes_no_revision(objects: LocalObjects, resource: str) -> None:
    kind = kind_of(resource)
    name = "e" if resource == "events" else "x"
    namespace = "ns" if kind.namespaced else ""
    made = await objects.create(kind, namespace, {"metadata": {"name": name}, **clone(SAID[resource])})
    assert (made.obj["apiVersion"], made.obj["kind"]) == (kind.api_version, kind.kind)
    for subresource in ("", "status") if "status" in kind.subresources else ("",):
        await objects.update(kind, kind.key(namespace, name), lambda _: clone(made.obj), subresource=subresource)
    assert await objects.store.revision() == 3
    assert str_at(made.obj, "metadata", "resourceVersion") == "3"


async def test_what_is_invalid_leaves_nothing_behind(objects: LocalObjects) -> None:
    with pytest.raises(InvalidError, match=r'ConfigMap "A_b" is invalid: metadata\.name: Invalid value: "A_b"'):
        await objects.create(kind_of("configmaps"), "ns", {"metadata": {"name": "A_b"}})
    assert await objects.store.revision() == 2


async def test_many_writers_of_one_deployment_all_land(objects: LocalObjects) -> None:
    kind, key = kind_of("deployments.apps"), kind_of("deployments.apps").key("ns", "x")
    await objects.create(kind, "ns", {"metadata": {"name": "x"}, **clone(SAID["deployments.apps"])})

    async def label(number: int) -> None:
        def transform(obj: JsonObject) -> JsonObject:
            metadata = obj["metadata"]
            assert isinstance(metadata, dict)
            labels = metadata.setdefault("labels", {})
            assert isinstance(labels, dict)
            labels[f"l{number}"] = "x"
            return obj

        await objects.update(kind, key, transform)

    await asyncio.gather(*(label(number) for number in range(10)))
    stored = objects.read(key)
    assert stored is not None
    assert len(objects.cache.facts(stored).labels) == 10
    assert await objects.store.revision() == 13

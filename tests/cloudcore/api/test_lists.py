"""Lists and pages: what comes at which revision, and what a page of a compacted past says."""

from __future__ import annotations

from typing import Any

import pytest

from skerry.forms.paging import Token, decode_token, encode_token
from skerry.objects.meta import Revision
from tests.cloudcore.api.conftest import ApiWorld

CONFIGS = "/api/v1/namespaces/default/configmaps"


def names(listed: Any) -> list[str]:
    return [item["metadata"]["name"] for item in listed["items"]]


@pytest.fixture
async def filled(world: ApiWorld) -> ApiWorld:
    for number in range(5):
        await world.config(f"c{number}", {"parity": "even" if number % 2 == 0 else "odd"})
    return world


async def test_an_empty_list_is_a_list_at_a_revision(world: ApiWorld) -> None:
    listed = await world.get(CONFIGS)
    assert (listed["kind"], listed["apiVersion"], listed["items"]) == ("ConfigMapList", "v1", [])
    assert listed["metadata"] == {"resourceVersion": str(world.cache.revision)}


async def test_pages_are_all_of_the_first_pages_revision(filled: ApiWorld) -> None:
    first = await filled.get(f"{CONFIGS}?limit=2")
    assert (names(first), first["metadata"]["remainingItemCount"]) == (["c0", "c1"], 3)
    await filled.config("c1a")
    await filled.ask("DELETE", f"{CONFIGS}/c3")
    second = await filled.get(f"{CONFIGS}?limit=2&continue={first['metadata']['continue']}")
    assert names(second) == ["c2", "c3"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    third = await filled.get(f"{CONFIGS}?limit=2&continue={second['metadata']['continue']}")
    assert (names(third), "continue" in third["metadata"]) == (["c4"], False)


async def test_pages_of_a_selection_leave_the_rest_out_and_count_nothing(filled: ApiWorld) -> None:
    first = await filled.get(f"{CONFIGS}?limit=2&labelSelector=parity%3Deven")
    assert (names(first), "remainingItemCount" in first["metadata"]) == (["c0", "c2"], False)
    rest = await filled.get(f"{CONFIGS}?limit=2&labelSelector=parity%3Deven&continue={first['metadata']['continue']}")
    assert (names(rest), "continue" in rest["metadata"]) == (["c4"], False)


async def test_a_page_of_a_compacted_past_is_410_with_a_token_that_goes_on_with_the_present(filled: ApiWorld) -> None:
    first = await filled.get(f"{CONFIGS}?limit=2")
    await filled.config("c2a")
    await filled.store.compact(filled.cache.revision)
    replied = await filled.ask("GET", f"{CONFIGS}?limit=2&continue={first['metadata']['continue']}")
    assert (replied.code, replied.obj["reason"]) == (410, "Expired")
    again = await filled.get(f"{CONFIGS}?limit=2&continue={replied.obj['metadata']['continue']}")
    assert names(again) == ["c2", "c2a"]
    assert again["metadata"]["resourceVersion"] == str(filled.cache.revision)


async def test_an_exact_revision_is_that_revision_or_410(filled: ApiWorld) -> None:
    then = filled.cache.revision
    await filled.config("later")
    exact = await filled.get(f"{CONFIGS}?resourceVersion={then}&resourceVersionMatch=Exact")
    assert names(exact) == ["c0", "c1", "c2", "c3", "c4"]
    assert "later" in names(await filled.get(f"{CONFIGS}?resourceVersion={then}"))
    await filled.store.compact(filled.cache.revision)
    old = await filled.ask("GET", f"{CONFIGS}?resourceVersion={then}&resourceVersionMatch=Exact")
    assert (old.code, old.message) == (410, "The resourceVersion for the provided list is too old.")


async def test_a_revision_from_the_future_is_waited_for_and_then_504(world: ApiWorld) -> None:
    replied = await world.ask("GET", f"{CONFIGS}?resourceVersion=99999999")
    current = world.cache.revision
    assert (replied.code, replied.obj["reason"]) == (504, "Timeout")
    assert replied.message == f"Timeout: Too large resource version: 99999999, current: {current}"
    assert replied.obj["details"] == {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }


async def test_field_selectors_on_names_and_fields_select(filled: ApiWorld) -> None:
    assert names(await filled.get(f"{CONFIGS}?fieldSelector=metadata.name%3Dc3")) == ["c3"]
    assert (
        names(await filled.get("/api/v1/configmaps?fieldSelector=metadata.name!%3Dc3,metadata.namespace%3Dx")) == []
    )
    twice = "fieldSelector=metadata.name%3Dc3&fieldSelector=metadata.name%3Dc3"
    assert names(await filled.get(f"{CONFIGS}?{twice}")) == ["c3"]
    secrets = "/api/v1/namespaces/default/secrets"
    for name, type_ in (("a", "x/y"), ("b", "x/z")):
        await filled.post(secrets, {"metadata": {"name": name}, "type": type_})
    assert names(await filled.get(f"{secrets}?fieldSelector=type%3Dx/z")) == ["b"]


async def test_an_absent_boolean_selects_as_false(world: ApiWorld) -> None:
    await world.post("/api/v1/nodes", {"metadata": {"name": "n1"}})
    assert names(await world.get("/api/v1/nodes?fieldSelector=spec.unschedulable%3Dfalse")) == ["n1"]


def test_tokens_come_back_as_they_went() -> None:
    for after in (("ns", "name"), ("", "node")):
        token = Token(revision=Revision(7), after=after)
        assert decode_token(encode_token(token)) == token


async def test_leases_of_nodes_are_read_as_renewed_in_every_form(world: ApiWorld) -> None:
    """kubelets write them each ten seconds; here nobody does."""
    leases = "/apis/coordination.k8s.io/v1/namespaces"
    for name in ("kube-system", "kube-node-lease"):
        await world.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    await world.ask("POST", "/api/v1/nodes", {"metadata": {"name": "g1"}})
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    await world.ask("PUT", "/api/v1/nodes/g1/status", {"metadata": {"name": "g1"}, "status": {"conditions": [ready]}})
    hub = {"metadata": {"name": "skerry-hub"}, "spec": {"renewTime": "2026-01-01T00:00:10.000000Z"}}
    await world.ask("POST", f"{leases}/kube-system/leases", hub)
    await world.ask("POST", f"{leases}/kube-node-lease/leases", {"metadata": {"name": "g1"}, "spec": {}})
    one = await world.get(f"{leases}/kube-node-lease/leases/g1")
    assert one["spec"]["renewTime"] == "2026-01-01T00:00:10.000000Z"
    listed = await world.get("/apis/coordination.k8s.io/v1/leases")
    assert {item["metadata"]["name"]: item["spec"].get("renewTime") for item in listed["items"]} == {
        "g1": "2026-01-01T00:00:10.000000Z",
        "skerry-hub": "2026-01-01T00:00:10.000000Z",
    }
    async with world.watch(f"{leases}/kube-node-lease/leases?watch=1") as watch:
        first = await watch.next()
    assert first["object"]["spec"]["renewTime"] == "2026-01-01T00:00:10.000000Z"
    before = world.cache.revision
    await world.get(f"{leases}/kube-node-lease/leases/g1")
    assert world.cache.revision == before, "nothing is written"

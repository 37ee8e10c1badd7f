"""Watches: what a client that stays sees, in which order, and how it is told that it missed something."""

from __future__ import annotations

import asyncio

import pytest

from tests.cloudcore.api.conftest import ApiWorld

CONFIGS = "/api/v1/namespaces/default/configmaps"
LIST = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


async def test_a_watch_from_a_revision_sees_what_came_after_it(world: ApiWorld) -> None:
    await world.config("before")
    after = world.cache.revision
    made = await world.config("x", a="1")
    await world.ask("PUT", f"{CONFIGS}/x", {**made, "data": {"a": "2"}})
    await world.ask("DELETE", f"{CONFIGS}/x")
    async with world.watch(f"{CONFIGS}?watch=true&resourceVersion={after}") as watch:
        events = [await watch.next() for _ in range(3)]
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    revisions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert revisions == [after + 1, after + 2, after + 3]
    assert events[2]["object"]["data"] == {"a": "2"}


async def test_a_watch_without_a_revision_begins_with_what_is_there(world: ApiWorld) -> None:
    await world.config("a")
    async with world.watch(f"{CONFIGS}?watch=1") as watch:
        assert await watch.take(1) == [("ADDED", "a")]
        await world.config("b")
        assert await watch.take(1) == [("ADDED", "b")]


async def test_a_streaming_list_says_where_what_was_there_ends(world: ApiWorld) -> None:
    await world.config("a")
    async with world.watch(f"{CONFIGS}?watch=true&{LIST}") as watch:
        assert await watch.take(1) == [("ADDED", "a")]
        mark = await watch.next()
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["kind"] == "ConfigMap"
    assert mark["object"]["metadata"]["resourceVersion"] == str(world.cache.revision)
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("sendInitialEvents=true&allowWatchBookmarks=true", "resourceVersionMatch must be NotOlderThan"),
        ("resourceVersionMatch=NotOlderThan&resourceVersion=1", "is forbidden for watch unless sendInitialEvents"),
        ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "sendInitialEvents needs allowWatchBookmarks"),
    ],
)
async def test_a_streaming_list_asked_for_wrongly_is_refused_so_that_clients_fall_back(
    world: ApiWorld, query: str, text: str
) -> None:
    replied = await world.ask("GET", f"{CONFIGS}?watch=true&{query}")
    assert replied.code == 422
    assert text in replied.message


async def test_objects_that_begin_or_cease_to_match_are_added_and_deleted(world: ApiWorld) -> None:
    made = await world.config("x", {"app": "web"})
    after = world.cache.revision

    async def label(app: str) -> None:
        patch = {"metadata": {"labels": {"app": app}}}
        await world.ask("PATCH", f"{CONFIGS}/x", patch, content_type="application/merge-patch+json")

    url = f"{CONFIGS}?watch=true&labelSelector=app%3Dweb&resourceVersion={after}"
    async with world.watch(url) as watch:
        await label("other")
        gone = await watch.next()
        assert (gone["type"], gone["object"]["metadata"]["resourceVersion"]) == ("DELETED", str(after + 1))
        await world.config("unrelated")
        await label("web")
        assert await watch.take(1) == [("ADDED", "x")]
        await world.ask("DELETE", f"{CONFIGS}/x")
        assert await watch.take(1) == [("DELETED", "x")]
    assert made["metadata"]["name"] == "x"


async def test_a_watch_of_one_name_sees_that_name(world: ApiWorld) -> None:
    await world.config("x")
    for url in (f"{CONFIGS}/x?watch=true", f"{CONFIGS}?watch=true&fieldSelector=metadata.name%3Dx"):
        async with world.watch(url) as watch:
            assert await watch.take(1) == [("ADDED", "x")]
            await world.config(f"y{len(url)}")
            await world.ask("PUT", f"{CONFIGS}/x", {"metadata": {"name": "x"}, "data": {"n": str(len(url))}})
            assert await watch.take(1) == [("MODIFIED", "x")]


async def test_a_watch_of_one_namespace_leaves_the_others_out(world: ApiWorld) -> None:
    after = world.cache.revision
    await world.post("/api/v1/namespaces/kube-system/configmaps", {"metadata": {"name": "far"}})
    await world.config("near")
    async with world.watch(f"{CONFIGS}?watch=true&resourceVersion={after}") as watch:
        assert await watch.take(1) == [("ADDED", "near")]


async def test_a_compacted_past_is_an_error_event_and_the_end(world: ApiWorld) -> None:
    for number in range(3):
        await world.config(f"c{number}")
    for number in range(300):
        await world.ask("PUT", f"{CONFIGS}/c0", {"metadata": {"name": "c0"}, "data": {"n": str(number)}})
    await world.store.compact(world.cache.revision)
    async with world.watch(f"{CONFIGS}?watch=true&resourceVersion=1") as watch:
        event = await watch.next()
        with pytest.raises(StopAsyncIteration):
            await watch.next()
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert event["object"]["message"].startswith("too old resource version: 1 (")


async def test_a_watch_ends_when_its_time_is_up_with_a_last_bookmark(world: ApiWorld) -> None:
    url = f"{CONFIGS}?watch=true&resourceVersion={world.cache.revision}&timeoutSeconds=1&allowWatchBookmarks=true"
    async with asyncio.timeout(10), world.watch(url) as watch:
        with pytest.raises(StopAsyncIteration):
            while True:
                event = await watch.next()
                assert event["type"] == "BOOKMARK"


async def test_a_table_watch_names_its_columns_once(world: ApiWorld) -> None:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    await world.config("a")
    await world.config("b")
    async with world.watch(f"{CONFIGS}?watch=true", accept=accept) as watch:
        first, second = await watch.next(), await watch.next()
    assert first["object"]["kind"] == "Table"
    assert len(first["object"]["columnDefinitions"]) == 3
    assert second["object"]["columnDefinitions"] == []
    assert second["object"]["rows"][0]["cells"][0] == "b"


async def test_an_events_watch_speaks_the_version_it_was_asked_in(world: ApiWorld) -> None:
    event = {"metadata": {"name": "e"}, "involvedObject": {"name": "p", "namespace": "default"}, "message": "m"}
    await world.post("/api/v1/namespaces/default/events", event)
    async with world.watch("/apis/events.k8s.io/v1/events?watch=true") as watch:
        shown = (await watch.next())["object"]
    assert (shown["apiVersion"], shown["note"], shown["regarding"]["name"]) == ("events.k8s.io/v1", "m", "p")

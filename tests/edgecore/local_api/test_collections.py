"""Lists, pages, tables and watches of the local API, as clients ask for them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from edgecore.local_api.answers import Answer, error_answer
from edgecore.local_api.objects import CHANGES_KEPT, GONE_BYTES_MAX, OWN
from edgecore.local_api.requests import Request, Stream
from edgecore.store.port import EdgeBatch
from skerry.errors import SkerryError
from skerry.frozen import replace
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from tests.edgecore.local_api.stage import Api, next_event, pod

PODS = "/api/v1/namespaces/default/pods"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"


def request(api: Api, target: str, accept: str = "", **query: str) -> Request:
    return replace(api.request("GET", target, **query), headers=(("accept", accept),))


async def answer(api: Api, target: str, accept: str = "", **query: str) -> tuple[int, Any]:
    try:
        found = await api.routes.answer(request(api, target, accept, **query))
    except SkerryError as error:
        found = error_answer(error)
    assert isinstance(found, Answer)
    return found.code, json.loads(found.body)


async def watch(api: Api, target: str, accept: str = "", **query: str) -> Stream:
    found = await api.routes.answer(request(api, target, accept, watch="true", **query))
    assert isinstance(found, Stream)
    return found


async def delete(api: Api, name: str) -> None:
    await api.store.apply(EdgeBatch(deletes=(Key("pods", "default", name),)))
    await asyncio.sleep(0)


def told(event: dict[str, Any]) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"]["name"]


async def newest(api: Api) -> str:
    return (await answer(api, PODS))[1]["metadata"]["resourceVersion"]


async def test_a_list_shows_the_columns_that_the_cloud_shows(api: Api) -> None:
    await api.put("pods", pod("web"))
    code, table = await answer(api, PODS, TABLE)
    assert (code, table["kind"]) == (200, "Table")
    assert [each["name"] for each in table["columnDefinitions"]][:5] == ["Name", "Ready", "Status", "Restarts", "Age"]
    assert table["rows"][0]["cells"][:2] == ["web", "0/1"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert int(table["metadata"]["resourceVersion"]) > OWN
    one = (await answer(api, f"{PODS}/web", TABLE))[1]
    assert (one["metadata"]["resourceVersion"], len(one["rows"])) == ("1", 1)


async def test_metadata_alone_is_what_controllers_ask_for(api: Api) -> None:
    await api.put("pods", pod("web"))
    found = (await answer(api, PODS, PARTIAL))[1]
    assert (found["kind"], found["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    assert (found["items"][0]["kind"], "spec" in found["items"][0]) == ("PartialObjectMetadata", False)


async def test_yaml_is_written_where_it_is_asked_for_and_other_forms_are_refused(api: Api) -> None:
    await api.put("pods", pod("web"))
    found = await api.routes.answer(request(api, f"{PODS}/web", "application/yaml"))
    assert isinstance(found, Answer)
    assert (found.content_type, b"kind: Pod\n" in found.body) == ("application/yaml", True)
    assert (await answer(api, PODS, "text/html"))[0] == 406


async def test_a_list_in_pages_is_the_whole_list_and_begins_a_watch_at_its_first_page(api: Api) -> None:
    for name in ("a", "b", "c", "d", "e"):
        await api.put("pods", pod(name))
    first = (await answer(api, PODS, limit="2"))[1]
    assert first["metadata"]["remainingItemCount"] == 3
    await delete(api, "a")
    names, token = [item["metadata"]["name"] for item in first["items"]], first["metadata"]["continue"]
    while token:
        page = (await answer(api, PODS, **{"limit": "2", "continue": token}))[1]
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        names += [item["metadata"]["name"] for item in page["items"]]
        token = page["metadata"].get("continue", "")
    assert names == ["a", "b", "c", "d", "e"]
    stream = await watch(api, PODS, resourceVersion=first["metadata"]["resourceVersion"])
    assert told(await next_event(stream)) == ("DELETED", "a")
    await stream.chunks.aclose()


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ({"continue": "x"}, 400, "continue key is not valid"),
        ({"limit": "x"}, 400, "invalid syntax"),
        ({"resourceVersion": "x"}, 422, "invalid syntax"),
        ({"resourceVersion": "5", "resourceVersionMatch": "Exact"}, 410, "too old"),
        ({"resourceVersion": str(OWN * 2)}, 504, "Too large resource version"),
        ({"resourceVersionMatch": "Exact"}, 422, "forbidden unless resourceVersion is provided"),
        ({"fieldSelector": "spec.nodeSelector=x"}, 400, "field label not supported"),
    ],
)
async def test_parameters_are_judged_in_kubernetes_words(
    api: Api, query: dict[str, str], code: int, message: str
) -> None:
    found, status = await answer(api, PODS, **query)
    assert (found, status["kind"], message in status["message"]) == (code, "Status", True), status


async def test_what_is_not_here_is_named_in_the_status(api: Api) -> None:
    code, status = await answer(api, f"{PODS}/other")
    assert (code, status["reason"], status["message"]) == (404, "NotFound", 'pods "other" not found')
    assert status["details"] == {"name": "other", "kind": "pods"}


async def test_a_list_that_is_at_least_as_new_is_answered(api: Api) -> None:
    """As reflectors list again: from the number of the last object that they saw, which is the cloud's."""
    await api.put("pods", pod("web"), revision=7)
    assert len((await answer(api, PODS, resourceVersion="7"))[1]["items"]) == 1
    assert len((await answer(api, PODS, resourceVersion="0"))[1]["items"]) == 1


async def test_a_watch_goes_on_from_an_objects_own_number(api: Api) -> None:
    """The Python client, and informers after their watch has ended."""
    await api.put("pods", pod("a"), revision=5)
    await api.put("pods", pod("b"), revision=6)
    await api.put("pods", pod("c"), revision=7)
    stream = await watch(api, PODS, resourceVersion="6")
    assert told(await next_event(stream)) == ("ADDED", "c")
    await stream.chunks.aclose()


async def test_a_watch_tells_what_was_deleted_before_it_went_on(api: Api) -> None:
    await api.put("pods", pod("a", app="x"))
    revision = await newest(api)
    await delete(api, "a")
    stream = await watch(api, PODS, resourceVersion=revision, labelSelector="app=x")
    event = await next_event(stream)
    assert told(event) == ("DELETED", "a")
    assert event["object"]["spec"] == pod("a")["spec"], "as it was last"
    await stream.chunks.aclose()


async def test_one_that_was_made_anew_is_deleted_first(api: Api) -> None:
    await api.put("pods", pod("a"))
    revision = await newest(api)
    await delete(api, "a")
    await api.put("pods", pod("a"))
    stream = await watch(api, PODS, resourceVersion=revision)
    assert [told(await next_event(stream)) for _ in range(2)] == [("DELETED", "a"), ("ADDED", "a")]
    await stream.chunks.aclose()


async def test_a_watch_with_a_selector_tells_of_its_own_alone(api: Api) -> None:
    await api.put("pods", pod("mine", app="x"))
    await api.put("pods", pod("leaves", app="x"))
    await api.put("pods", pod("other", app="y"))
    revision = await newest(api)
    await api.put("pods", pod("other", app="z"))
    await api.put("pods", pod("leaves", app="y"))
    await api.put("pods", pod("mine", app="x", more="1"))
    await delete(api, "other")
    stream = await watch(api, PODS, resourceVersion=revision, labelSelector="app=x")
    assert [told(await next_event(stream)) for _ in range(2)] == [("DELETED", "leaves"), ("MODIFIED", "mine")]
    await stream.chunks.aclose()


async def test_a_streamed_list_ends_with_a_bookmark_that_says_so(api: Api) -> None:
    """As reflectors of newer clients begin, which wait for it."""
    await api.put("pods", pod("a"))
    stream = await watch(
        api, PODS, sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true"
    )
    assert told(await next_event(stream)) == ("ADDED", "a")
    mark = await next_event(stream)
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert mark["object"]["metadata"]["resourceVersion"] == await newest(api)
    await stream.chunks.aclose()
    assert (await answer(api, PODS, watch="true", sendInitialEvents="true"))[0] == 422


async def test_a_watched_table_has_its_head_once(api: Api) -> None:
    await api.put("pods", pod("a"))
    await api.put("pods", pod("b"))
    stream = await watch(api, PODS, TABLE)
    heads = [len((await next_event(stream))["object"]["columnDefinitions"]) for _ in range(2)]
    assert heads[0] > 0 and heads[1] == 0
    await stream.chunks.aclose()


async def test_a_watch_from_what_was_forgotten_is_told_so(api: Api) -> None:
    await api.put("pods", pod("a"), revision=5)
    revision = await newest(api)
    for number in range(CHANGES_KEPT + 1):
        await api.put("configmaps", {"metadata": {"name": "c", "namespace": "default"}}, revision=100 + number)
    for since in (revision, "5", "99", str(OWN)):
        stream = await watch(api, PODS, resourceVersion=since)
        event = await next_event(stream)
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_what_was_deleted_is_kept_within_bounds(api: Api) -> None:
    revision = await newest(api)
    for number in range(4):
        big: JsonObject = {**pod(f"p{number}"), "data": "x" * (GONE_BYTES_MAX // 3)}
        await api.put("pods", big)
        await delete(api, f"p{number}")
    stream = await watch(api, PODS, resourceVersion=revision)
    assert (await next_event(stream))["object"]["code"] == 410

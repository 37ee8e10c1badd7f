"""Discovery of the cloud's kinds at a gateway."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgecore.local_api.answers import Answer
from edgecore.local_api.cloud_kinds import CloudKinds, without_watches
from edgecore.local_api.kinds import SHOWN
from edgecore.local_api.requests import Request
from skerry.errors import UnavailableError
from skerry.forms.discovery import Discovery
from skerry.objects.cloud_calls import CallHead, CloudAnswer
from skerry.objects.scheme import Kind, Scheme

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
WIDGET = Kind(
    group="acme.example",
    version="v1",
    kind="Widget",
    plural="widgets",
    singular="widget",
    namespaced=True,
    verbs=("create", "get", "list", "watch"),
)


class Cloud:
    """Tells of all that a gateway has, and of one kind that somebody defined."""

    def __init__(self) -> None:
        self.discovery = Discovery(Scheme([*SHOWN, WIDGET]))
        self.asked: list[CallHead] = []
        self.is_away = False

    async def ask(self, head: CallHead, body: bytes = b"") -> CloudAnswer:
        if self.is_away:
            raise UnavailableError("the link is gone")
        self.asked.append(head)
        assert head.own and not body
        found = self.discovery.document(head.path, "v2" if "as=API" in head.header("accept") else "")
        if found is None:
            return CloudAnswer(code=404, body=b"{}")
        headers = (("content-type", found.media_type), ("etag", found.etag))
        if head.header("if-none-match") == found.etag:
            return CloudAnswer(code=304, headers=headers)
        return CloudAnswer(code=200, headers=headers, body=found.body)


def request(path: str, *, accept: str = "", tag: str = "", method: str = "GET") -> Request:
    return Request(
        method=method,
        parts=tuple(part for part in path.split("/") if part),
        query={},
        body=b"",
        uid=-1,
        target=path,
        headers=(("accept", accept),),
        if_none_match=tag,
    )


def verbs_in(document: Any, group: str, plural: str) -> list[str]:
    for item in document["items"]:
        if item["metadata"].get("name", "") == group:
            for row in item["versions"][0]["resources"]:
                if row["resource"] == plural:
                    return row["verbs"]
    raise AssertionError(f"{plural} of {group!r} is not told")


async def test_kinds_of_the_cloud_are_told_and_not_as_if_they_were_watched() -> None:
    kinds = CloudKinds(Cloud())
    answer = await kinds.answer(request("/apis", accept=AGGREGATED))
    assert isinstance(answer, Answer)
    assert answer.content_type.endswith("as=APIGroupDiscoveryList")
    told = json.loads(answer.body)
    assert verbs_in(told, "acme.example", "widgets") == ["create", "get", "list"]
    assert "watch" in verbs_in(told, "devices.kubeedge.io", "devices")
    plain = await kinds.answer(request("/apis/acme.example/v1"))
    assert plain is not None
    assert [row["verbs"] for row in json.loads(plain.body)["resources"]] == [["create", "get", "list"]]
    core = await kinds.answer(request("/api/v1"))
    assert core is not None
    pods = next(row for row in json.loads(core.body)["resources"] if row["name"] == "pods")
    assert "watch" in pods["verbs"]


async def test_a_document_is_asked_for_once_and_by_its_tag_later() -> None:
    cloud = Cloud()
    kinds = CloudKinds(cloud)
    first = await kinds.answer(request("/apis", accept=AGGREGATED))
    again = await kinds.answer(request("/apis", accept=AGGREGATED))
    assert first == again and len(cloud.asked) == 1
    assert first is not None
    same = await kinds.answer(request("/apis", accept=AGGREGATED, tag=dict(first.headers)["ETag"]))
    assert same is not None and (same.code, same.body) == (304, b"")


async def test_without_a_link_or_for_what_is_no_discovery_nothing_is_told() -> None:
    cloud = Cloud()
    kinds = CloudKinds(cloud)
    for path in ("/version", "/healthz", "/", "/api/v1/pods", "/apis/acme.example/v1/widgets", "/openapi/v3"):
        assert await kinds.answer(request(path)) is None
    assert await kinds.answer(request("/apis", method="POST")) is None
    assert not cloud.asked
    assert await kinds.answer(request("/apis/none.example")) is None, "the cloud knows no such group"
    cloud.is_away = True
    assert await kinds.answer(request("/apis")) is None


def test_groups_alone_are_told_as_they_are() -> None:
    document: Any = {"kind": "APIGroupList", "groups": [{"name": "apps"}]}
    assert without_watches(document) is document


@pytest.mark.parametrize("said", [b"[]", b"[" * 100_000], ids=["no object", "too deep"])
async def test_an_answer_that_is_no_document_is_as_none(said: bytes) -> None:
    class Odd:
        async def ask(self, head: CallHead, body: bytes = b"") -> CloudAnswer:
            return CloudAnswer(code=200, body=said)

    assert await CloudKinds(Odd()).answer(request("/apis")) is None


async def test_a_question_without_an_answer_holds_up_those_behind_it_once() -> None:
    asked = list[str]()

    class HalfOpen:
        async def ask(self, head: CallHead, body: bytes = b"") -> CloudAnswer:
            asked.append(head.path)
            raise TimeoutError

    kinds = CloudKinds(HalfOpen())
    assert await kinds.answer(request("/apis")) is None
    assert await kinds.answer(request("/api")) is None
    assert asked == ["/apis"]

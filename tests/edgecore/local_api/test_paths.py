"""Discovery, schemas, version and health of the local API."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecore.local_api.answers import Answer
from edgecore.local_api.openapi import OpenApi
from skerry.errors import NotFoundError, UnavailableError
from skerry.frozen import replace
from skerry.objects.cloud_calls import CallHead, CloudAnswer
from tests.edgecore.local_api.stage import Api

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


async def get(api: Api, target: str, accept: str = "", tag: str = "") -> Answer:
    request = replace(api.request("GET", target), headers=(("accept", accept),), if_none_match=tag)
    answer = await api.routes.answer(request)
    assert isinstance(answer, Answer)
    return answer


async def test_discovery_is_aggregated_for_clients_that_ask_for_it(api: Api) -> None:
    answer = await get(api, "/api", AGGREGATED)
    assert answer.content_type == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    found = json.loads(answer.body)
    assert found["kind"] == "APIGroupDiscoveryList"
    pods = next(each for each in found["items"][0]["versions"][0]["resources"] if each["resource"] == "pods")
    assert (pods["shortNames"], pods["categories"]) == (["po"], ["all"])
    assert "log" in [each["subresource"] for each in pods["subresources"]]
    groups = json.loads((await get(api, "/apis", AGGREGATED)).body)
    assert "devices.kubeedge.io" in [each["metadata"]["name"] for each in groups["items"]]
    again = await get(api, "/api", AGGREGATED, dict(answer.headers)["ETag"])
    assert (again.code, again.body) == (304, b"")


async def test_a_group_tells_its_versions(api: Api) -> None:
    group = json.loads((await get(api, "/apis/discovery.k8s.io")).body)
    assert (group["kind"], group["preferredVersion"]["version"]) == ("APIGroup", "v1")
    with pytest.raises(NotFoundError):
        await get(api, "/apis/apps")


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/healthz/ping", "/livez/ping"])
async def test_whoever_asks_hears_that_the_agent_lives(api: Api, path: str) -> None:
    assert (await get(api, path)).body == b"ok"


async def test_the_version_is_kubernetes_and_ours(api: Api) -> None:
    told = json.loads((await get(api, "/version")).body)
    assert (told["major"], told["minor"], told["gitVersion"]) == ("1", "36", "v1.36.0+x")


async def test_schemas_are_asked_for_by_what_they_are_of(api: Api) -> None:
    assert (await get(api, "/openapi/v3")).body == b'"index"'
    assert (await get(api, "/openapi/v3/apis/discovery.k8s.io/v1")).body == b'"apis/discovery.k8s.io/v1"'
    v2 = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    assert (await get(api, "/openapi/v2", v2)).body == b"true"
    assert (await get(api, "/openapi/v2")).body == b"false"


class Cloud:
    """Publishes schemas of one generation, and counts who asks."""

    def __init__(self) -> None:
        self.generation = 1
        self.asked: list[CallHead] = []
        self.away = False

    async def ask(self, head: CallHead, body: bytes = b"") -> CloudAnswer:
        if self.away:
            raise UnavailableError("the cloud can't be reached")
        self.asked.append(head)
        if head.path == "/openapi/v3":
            paths = {
                path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={self.generation}"}
                for path in ("api/v1", "apis/apps/v1")
            }
            return CloudAnswer(code=200, body=json.dumps({"paths": paths}).encode())
        return CloudAnswer(code=200, body=f"{head.path} {head.header('accept')} {self.generation}".encode())


async def test_schemas_come_from_the_cloud_once_and_stay(tmp_path: Path) -> None:
    cloud = Cloud()
    schemas = OpenApi(tmp_path / "openapi", cloud, ("api/v1",))
    cloud.away = True
    with pytest.raises(UnavailableError, match="has not had the schemas"):
        await schemas.index()
    cloud.away = False
    assert list(json.loads((await schemas.index()).body)["paths"]) == ["api/v1"], "what is served here"
    with pytest.raises(NotFoundError):
        await schemas.group_version("apis/apps/v1")
    document = await schemas.group_version("api/v1")
    assert (await schemas.group_version("api/v1")).body == document.body
    await schemas.v2(protobuf=True)
    plain = await schemas.v2(protobuf=False)
    assert [head.path for head in cloud.asked] == [
        "/openapi/v3",
        "/openapi/v3/api/v1?hash=1",
        "/openapi/v2",
        "/openapi/v2",
    ]
    assert all(head.own for head in cloud.asked)
    cloud.away = True
    later = OpenApi(tmp_path / "openapi", cloud, ("api/v1",))
    assert (await later.group_version("api/v1")).body == document.body
    assert (await later.v2(protobuf=False)).body == plain.body


async def test_schemas_follow_the_cloud(tmp_path: Path) -> None:
    cloud = Cloud()
    before = await OpenApi(tmp_path, cloud, ("api/v1",)).group_version("api/v1")
    cloud.generation = 2
    after = await OpenApi(tmp_path, cloud, ("api/v1",)).group_version("api/v1")
    assert before.body != after.body
    assert len(list(tmp_path.iterdir())) == 2, "the index, and the newest document"

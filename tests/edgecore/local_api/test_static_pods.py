"""Static pods in the local API: shown whether the cloud knows of them or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from edgecore.local_api.objects import LocalObjects
from edgecore.local_api.ports import FileFault, StaticPod
from edgecore.local_api.routes import Routes
from edgecore.store.port import EdgeBatch
from skerry.frozen import Frozen, replace
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key
from skerry.objects.mirror_pods import mirror_of
from tests.edgecore.local_api.stage import Api, pod

PODS = "/api/v1/namespaces/default/pods"
KEY = Key("pods", "default", "web-gate-1")


class Fault(Frozen):
    file: str
    why: str


class One(Frozen):
    file: str
    key: Key
    uid: str
    pod: JsonObject


@dataclass
class Files:
    pods_: dict[Key, StaticPod] = field(default_factory=dict)
    faults_: list[FileFault] = field(default_factory=list)
    listeners: list[Callable[[frozenset[Key]], None]] = field(default_factory=list)

    @property
    def pods(self) -> Mapping[Key, StaticPod]:
        return self.pods_

    @property
    def faults(self) -> Sequence[FileFault]:
        return self.faults_

    def listen(self, changed: Callable[[frozenset[Key]], None], /) -> Callable[[], None]:
        self.listeners.append(changed)
        return lambda: self.listeners.remove(changed)

    def put(self, uid: str) -> JsonObject:
        said: JsonObject = {
            "metadata": {"name": KEY.name, "namespace": "default", "uid": uid, "annotations": {"a": "b"}},
            "spec": {"nodeName": "gate-1", "containers": [{"name": "app"}]},
            "status": {"phase": "Pending"},
        }
        self.pods_ = {KEY: One(file="web.yaml", key=KEY, uid=uid, pod=said)}
        for listener in self.listeners:
            listener(frozenset((KEY,)))
        return said


class StaticApi(Api):
    def __init__(self) -> None:
        super().__init__()
        self.files = Files()
        parts = replace(self.routes._parts, static=self.files)
        self.objects = LocalObjects(parts)
        self.objects.listen()
        self.routes = Routes(parts, self.objects)

    async def run(self, uid: str) -> None:
        record = encode_object({"namespace": "default", "name": KEY.name, "status": {"phase": "Running"}})
        await self.store.apply(EdgeBatch(pods=((uid, record),)))

    async def mirror(self, of: JsonObject) -> None:
        mirror = mirror_of(of, "n")
        metadata = mirror["metadata"]
        assert isinstance(metadata, dict)
        metadata["uid"] = "m-1"
        await self.put("pods", mirror, revision=9)


@pytest.fixture
def api() -> StaticApi:
    return StaticApi()


async def test_one_that_no_cloud_knows_is_listed_with_its_status(api: StaticApi) -> None:
    await api.put("pods", pod("a"))
    api.files.put("u-1")
    await api.run("u-1")
    _, listed = await api.ask("GET", PODS)
    assert [each["metadata"]["name"] for each in listed["items"]] == ["a", KEY.name]
    code, shown = await api.ask("GET", f"{PODS}/{KEY.name}")
    assert (code, shown["kind"], shown["status"]["phase"], shown["metadata"]["uid"]) == (200, "Pod", "Running", "u-1")
    assert (await api.ask("GET", "/api/v1/namespaces/other/pods"))[1]["items"] == []


async def test_its_mirror_is_shown_where_there_is_one_and_never_an_old_one(api: StaticApi) -> None:
    said = api.files.put("u-1")
    await api.run("u-1")
    await api.mirror(said)
    _, shown = await api.ask("GET", f"{PODS}/{KEY.name}")
    assert (shown["metadata"]["uid"], shown["status"]["phase"]) == ("m-1", "Running")
    api.files.put("u-2")
    assert (await api.ask("GET", f"{PODS}/{KEY.name}"))[1]["metadata"]["uid"] == "u-2"
    _, listed = await api.ask("GET", PODS)
    assert len(listed["items"]) == 1


async def test_a_pod_of_the_cloud_with_its_name_is_what_is_shown(api: StaticApi) -> None:
    api.files.put("u-1")
    await api.put("pods", pod(KEY.name))
    assert (await api.ask("GET", f"{PODS}/{KEY.name}"))[1]["metadata"]["uid"] == KEY.name


async def test_its_changes_are_watched(api: StaticApi) -> None:
    before = api.objects.revision
    api.files.put("u-1")
    await api.run("u-1")
    assert {change.key for change in api.objects.changed_since(before)} == {KEY}


async def test_files_and_their_faults_are_told(api: StaticApi) -> None:
    api.files.put("u-1")
    api.files.faults_.append(Fault(file="b.yaml", why="spec.containers: Required value"))
    _, told = await api.ask("GET", "/skerry/static-pods")
    (row,) = told["items"]
    assert (row["file"], row["phase"], row["mirrored"]) == ("web.yaml", "Pending", False)
    assert told["faults"] == [{"file": "b.yaml", "reason": "spec.containers: Required value"}]

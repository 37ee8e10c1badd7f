"""Static pods among the others of a gateway: begun without a cloud, and told it by their mirrors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from edgecore.pods.logs import LogParts, PodLogs
from edgecore.pods.parts import PodParts
from edgecore.pods.restarts import PodRestarts
from edgecore.pods.sources import GatewayPods
from edgecore.pods.static.manifest import Place, StaticPod, read_static_pod
from edgecore.pods.static.shape import structs
from skerry.errors import BadRequestError
from skerry.frozen import replace
from skerry.objects.commands import Order, PodRestart
from skerry.objects.json import JsonObject, str_at
from skerry.objects.logs import LogRequest
from skerry.objects.meta import Key
from skerry.objects.mirror_pods import mirror_of
from tests.edgecore.pods.pods_of import pod
from tests.edgecore.pods.stage import Gateway, eventually

KEY = Key("pods", "default", "web-gate-1")


def static(image: str = "app:1") -> StaticPod:
    text = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n"
        f"spec: {{terminationGracePeriodSeconds: 7, containers: [{{name: app, image: '{image}'}}]}}\n"
    )
    return read_static_pod("web.yaml", text.encode(), Place(node="gate-1", path="/w", seen_ms=1), structs())


class Files:
    """A directory whose files are set by hand."""

    def __init__(self) -> None:
        self._pods: dict[Key, StaticPod] = {}
        self._listeners: list[Callable[[frozenset[Key]], None]] = []

    @property
    def pods(self) -> Mapping[Key, StaticPod]:
        return self._pods

    def listen(self, changed: Callable[[frozenset[Key]], None]) -> Callable[[], None]:
        self._listeners.append(changed)
        return lambda: self._listeners.remove(changed)

    def put(self, *pods: StaticPod) -> None:
        keys = frozenset((*self._pods, *(each.key for each in pods)))
        self._pods = {each.key: each for each in pods}
        for listener in self._listeners:
            listener(keys)


class StaticGateway(Gateway):
    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        self.files = Files()

    def parts(self) -> PodParts:
        return replace(super().parts(), files=self.files)

    def mirror(self, of: StaticPod, uid: str = "m-1") -> JsonObject:
        mirror = mirror_of(of.pod, "node-uid")
        metadata = mirror["metadata"]
        assert isinstance(metadata, dict)
        metadata["uid"] = uid
        return mirror

    async def running_images(self) -> list[str]:
        return [state.image for state in await self.runtime.list() if state.phase == "running"]


@pytest.fixture
def gate(tmp_path: Path) -> StaticGateway:
    return StaticGateway(tmp_path)


async def test_it_runs_without_a_cloud_and_tells_nobody(gate: StaticGateway) -> None:
    gate.files.put(static())
    gate.in_step = False
    async with gate.running() as manager:
        await eventually(lambda: gate.runtime.starts == [("app", 0)])
        await eventually(lambda: "Started" in gate.reasons())
        assert manager.has(static().uid) and gate.reports() == []


async def test_the_next_agent_finds_it_and_touches_nothing(gate: StaticGateway) -> None:
    gate.files.put(static())
    async with gate.running():
        await eventually(lambda: "Started" in gate.reasons())
    gate.runtime = gate.runtime.restarted()
    async with gate.running() as manager:
        await eventually(lambda: manager.count == 1)
        await asyncio.sleep(0.05)
    assert (gate.runtime.starts, gate.runtime.stops) == ([], [])


async def test_one_whose_file_went_is_stopped_with_its_grace_and_forgotten(gate: StaticGateway) -> None:
    gate.files.put(static())
    async with gate.running() as manager:
        await eventually(lambda: gate.runtime.starts)
        gate.files.put()
        await eventually(lambda: manager.count == 0)
    assert gate.runtime.stops == [("app", 7.0)] and list(gate.store.pods()) == []


async def test_one_whose_file_went_while_the_agent_was_away_is_stopped_as_well(gate: StaticGateway) -> None:
    gate.files.put(static())
    async with gate.running():
        await eventually(lambda: "Started" in gate.reasons())
    gate.files.put()
    async with gate.running() as manager:
        await eventually(lambda: manager.count == 0 and gate.runtime.stops)
    assert gate.runtime.stops == [("app", 7.0)]


async def test_what_a_file_says_now_begins_when_what_it_said_before_has_ended(gate: StaticGateway) -> None:
    gate.files.put(static())
    both: list[int] = []
    async with gate.running() as manager:
        await eventually(lambda: gate.runtime.starts)
        gate.files.put(static("app:2"))
        async with asyncio.timeout(10):
            while (images := await gate.running_images()) != ["app:2"]:
                both.append(len(images))
                await asyncio.sleep(0.002)
        await eventually(lambda: manager.count == 1)
    assert max(both) <= 1 and gate.runtime.stops == [("app", 7.0)]


async def test_its_mirror_is_no_pod_of_its_own_and_carries_its_status(gate: StaticGateway) -> None:
    gate.files.put(static())
    async with gate.running() as manager:
        await eventually(lambda: gate.runtime.starts)
        await gate.put(gate.mirror(static()))
        await eventually(lambda: str_at(gate.status(), "phase") == "Running")
        assert [each["uid"] for each in gate.reports()] == ["m-1"] and manager.count == 1
        await gate.delete(gate.mirror(static()))
        await gate.put(gate.mirror(static(), "m-2"))
        await eventually(lambda: gate.reports()[-1]["uid"] == "m-2")
    assert gate.runtime.starts == [("app", 0)] and gate.runtime.stops == []


async def test_a_mirror_of_what_no_file_says_any_more_runs_nothing(gate: StaticGateway) -> None:
    await gate.put(gate.mirror(static()))
    async with gate.running() as manager:
        await asyncio.sleep(0.05)
        assert manager.count == 0 and gate.runtime.starts == []


async def test_a_pod_of_the_cloud_with_its_name_runs_beside_it(gate: StaticGateway) -> None:
    gate.files.put(static())
    await gate.put(pod(name="web-gate-1", uid="cloud-1"))
    async with gate.running() as manager:
        await eventually(lambda: manager.has("cloud-1") and manager.has(static().uid))
        await eventually(lambda: len(gate.runtime.starts) == 2)
        await eventually(gate.reports)
        assert {str_at(each, "uid") for each in gate.reports()} == {"cloud-1"}
        assert gate.runtime.stops == []


async def test_people_name_it_by_its_mirror_or_by_its_name(gate: StaticGateway) -> None:
    gate.files.put(static())
    await gate.put(gate.mirror(static()))
    pods = GatewayPods(gate.store, gate.files)
    for uid in ("", "m-1", static().uid):
        found = pods.find(KEY, uid)
        assert found is not None and found.uid == static().uid
    assert pods.find(KEY, "other") is None


async def test_its_logs_are_read_by_the_uid_of_its_mirror(gate: StaticGateway) -> None:
    gate.files.put(static())
    await gate.put(gate.mirror(static()))
    logs = PodLogs(
        LogParts(store=gate.store, runtime=gate.runtime, clock=gate.clock, directory=gate.directory, files=gate.files)
    )
    asked = LogRequest(namespace="default", pod="web-gate-1", uid="m-1", container="app")
    with pytest.raises(BadRequestError, match="waiting to start"):
        async for _ in logs(asked.params()):
            pass


async def test_a_command_of_the_cloud_means_it_by_its_mirror(gate: StaticGateway) -> None:
    gate.files.put(static())
    await gate.put(gate.mirror(static()))

    def order(uid: str) -> Order:
        return Order(
            namespace="default", name="c", uid="c1", action=PodRestart(pod="web-gate-1", container=""), target_uid=uid
        )

    async with gate.running() as manager:
        await eventually(lambda: gate.runtime.starts)
        restarts = PodRestarts(gate.runtime, manager)
        assert (refusal := restarts.refusal(order("other"))) is not None and refusal.reason == "TargetReplaced"
        assert restarts.refusal(order("m-1")) is None
        outcome = await asyncio.wait_for(restarts.execute(order("m-1"), asyncio.Event()), 10)
        assert outcome.phase == "Succeeded"

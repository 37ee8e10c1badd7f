"""Pods that have to go because the gateway runs short, on memory parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgecore.pods.eviction import Amount, EvictionSettings, Signal, Threshold
from edgecore.pods.evictor import LOOK_S, NEAR_S, Evictor, EvictorParts
from edgecore.pods.manager import PodManager
from edgecore.pods.node import Machine
from edgecore.pods.port import ContainerUsage
from edgecore.pods.room import FileSystem, RoomParts
from edgecore.pods.status import Ending
from edgecore.store.port import EdgeBatch
from skerry.frozen import replace
from skerry.objects.conditions import find_condition
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from tests.edgecore.pods.pods_of import container, pod
from tests.edgecore.pods.stage import Gateway, eventually
from tests.edgecore.pods.test_node import MACHINE

MIB = 1 << 20


def threshold(signal: Signal, units: int, *, grace_s: float = 0.0) -> Threshold:
    return Threshold(signal=signal, amount=Amount(units=units), grace_s=grace_s)


class Short(Gateway):
    """A gateway whose room the test says."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        self.settings = EvictionSettings(
            thresholds=(threshold("memory.available", 100 * MIB), threshold("nodefs.available", 100))
        )
        self.memory = 500 * MIB
        self.disk = 500
        self.unused = 0
        """Bytes of images that no container uses."""
        self.said: list[str] = []
        self.changes = 0
        self.evictor: Evictor | None = None

    def machine(self) -> Machine:
        return replace(MACHINE, memory_free_bytes=self.memory)

    def file_system(self, _: Path) -> FileSystem:
        return FileSystem(device=1, bytes_all=1000, bytes_free=self.disk, inodes_all=0, inodes_free=0)

    async def make_room(self) -> int:
        found, self.unused = self.unused, 0
        self.disk += found
        return found

    async def tell(self, reason: str, message: str) -> None:
        self.said.append(f"{reason}: {message}")

    def changed(self) -> None:
        self.changes += 1

    def watch(self, pods: PodManager) -> Evictor:
        room = RoomParts(runtime=self.runtime, machine=self.machine, directory=self.directory, disk=self.file_system)
        self.evictor = Evictor(
            EvictorParts(
                settings=self.settings,
                clock=self.clock,
                room=room,
                pods=pods,
                make_room=self.make_room,
                changed=self.changed,
                tell=self.tell,
            )
        )
        return self.evictor

    def uses(self, uid: str, mib: int) -> None:
        self.runtime.used[f"{uid}.app.0"] = ContainerUsage(
            pod_uid=uid, name="app", at_ms=0, cpu_ns=0, memory_working_set_bytes=mib * MIB, disk_bytes=mib * MIB
        )

    def status_of(self, uid: str) -> JsonObject:
        told = [each for each in self.reports() if each["uid"] == uid]
        return map_at(told[-1], "status") if told else {}

    def phases(self) -> dict[str, str]:
        return {str_at(each, "name"): str_at(each, "status", "phase") for each in self.reports()}


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Short]:
    gateway = Short(tmp_path)
    yield gateway
    gateway.store.close()


async def run_pods(gate: Short, *names: str) -> None:
    for name in names:
        await gate.put(pod(name=name, uid=name, terminationGracePeriodSeconds=30))
    await eventually(lambda: gate.phases() == dict.fromkeys(names, "Running"))


async def test_the_largest_pod_goes_and_the_others_stay(gate: Short) -> None:
    async with gate.running() as manager:
        await run_pods(gate, "small", "large")
        gate.uses("small", 10)
        gate.uses("large", 300)
        (gate.directory / "pods" / "large" / "volumes" / "v").mkdir(parents=True, exist_ok=True)
        evictor = gate.watch(manager)
        gate.memory = 90 * MIB
        await evictor.look()
        assert gate.phases() == {"small": "Running", "large": "Failed"}
        status = gate.status_of("large")
        message = (
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 90Mi. Container app was "
            "using 300Mi, request is 0, has larger consumption of memory. "
        )
        assert (str_at(status, "reason"), str_at(status, "message")) == ("Evicted", message)
        target = find_condition(maps_at(status, "conditions"), "DisruptionTarget") or {}
        assert (str_at(target, "reason"), str_at(target, "message")) == ("TerminationByKubelet", message)
        assert gate.runtime.stops == [("app", 1.0)], "where nothing can wait"
        assert [each.pod_uid for each in await gate.runtime.list()] == ["small"], "nothing is left of it"
        assert [each.pod_uid for each in await gate.runtime.sandboxes()] == ["small"]
        assert not (gate.directory / "pods" / "large").exists()
        evicted = [each for each in gate.reports("event") if str_at(each, "reason") == "Evicted"]
        assert [str_at(each, "message") for each in evicted] == [message]
        assert evicted[0]["type"] == "Warning"
        assert gate.said == ["EvictionThresholdMet: Attempting to reclaim memory"]
        assert (evictor.conditions, gate.changes) == ({"MemoryPressure"}, 1)
        gate.memory = 500 * MIB
        assert await evictor.look() == LOOK_S
        assert gate.phases()["small"] == "Running"


async def test_an_evicted_pod_keeps_its_status_over_restarts_and_until_it_is_deleted(gate: Short) -> None:
    async with gate.running() as manager:
        await run_pods(gate, "a")
        gate.uses("a", 1)
        gate.memory = 0
        await gate.watch(manager).look()
        told = gate.status_of("a")
        assert str_at(maps_at(told, "containerStatuses")[0], "state", "terminated", "reason")
    head = gate.store.outbox_head()
    async with gate.running() as manager:
        await eventually(lambda: manager.count == 1)
        manager.refresh_all()
        await eventually(lambda: not manager.active())
        assert gate.store.outbox_head() == head
        assert gate.runtime.starts == [("app", 0)]
        going = pod(name="a", uid="a")
        map_at(going, "metadata")["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        await gate.put(going)
        await eventually(lambda: gate.reports()[-1]["gone"] is True)
        assert gate.status_of("a") == told
        await gate.delete(going)
        await eventually(lambda: manager.count == 0)


async def test_for_a_soft_threshold_a_pod_gets_the_shorter_of_two_graces(gate: Short) -> None:
    gate.settings = EvictionSettings(
        thresholds=(threshold("memory.available", 100 * MIB, grace_s=60.0),), grace_s_max=7
    )
    async with gate.running() as manager:
        await run_pods(gate, "a")
        gate.uses("a", 1)
        evictor = gate.watch(manager)
        gate.memory = 0
        assert await evictor.look() == NEAR_S
        assert gate.phases() == {"a": "Running"}
        gate.clock.advance(60)
        await evictor.look()
        assert (gate.phases(), gate.runtime.stops) == ({"a": "Failed"}, [("app", 7.0)])


async def test_what_nobody_needs_goes_before_pods_do(gate: Short) -> None:
    async with gate.running() as manager:
        await run_pods(gate, "a")
        done = pod(container(command=["exit", "0"]), name="done", uid="done", restartPolicy="Never")
        await gate.put(done)
        await eventually(lambda: gate.phases() == {"a": "Running", "done": "Succeeded"})
        gate.disk, gate.unused = 50, 60
        await gate.watch(manager).look()
        assert gate.phases() == {"a": "Running", "done": "Succeeded"}
        assert [each.pod_uid for each in await gate.runtime.list()] == ["a"], "the finished pod's container went"
        assert gate.disk == 110
        manager.refresh_all()
        assert str_at(maps_at(gate.status_of("done"), "containerStatuses")[0], "state", "terminated", "reason")


async def test_when_that_is_not_enough_a_pod_goes(gate: Short) -> None:
    async with gate.running() as manager:
        await run_pods(gate, "a", "b")
        gate.uses("a", 5)
        gate.uses("b", 1)
        gate.disk, gate.unused = 50, 40
        await gate.watch(manager).look()
        assert gate.phases() == {"a": "Failed", "b": "Running"}


async def test_where_nobody_may_go_it_is_said_once(gate: Short, caplog: pytest.LogCaptureFixture) -> None:
    async with gate.running() as manager:
        evictor = gate.watch(manager)
        gate.memory = 0
        for _ in range(3):
            assert await evictor.look() == LOOK_S
    assert [each.getMessage() for each in caplog.records if "no pod may go" in each.getMessage()] == [
        "the gateway is short and no pod may go signal=memory.available"
    ]


async def test_a_new_pod_is_refused_under_pressure_and_one_that_runs_is_not(gate: Short) -> None:
    gate.settings = replace(gate.settings, thresholds=(threshold("memory.available", 100 * MIB),))
    async with gate.running() as manager:
        await run_pods(gate, "early")
        evictor = gate.watch(manager)
        gate.refuse = evictor.refusal
    async with gate.running() as manager:
        evictor = gate.watch(manager)
        gate.refuse = evictor.refusal
        gate.memory = 0
        await evictor.look()
        assert evictor.conditions == {"MemoryPressure"}
    async with gate.running():
        asks = container(resources={"requests": {"memory": "1Mi"}})
        await gate.put(pod(name="late", uid="late"))
        await gate.put(pod(asks, name="asking", uid="asking"))
        await eventually(lambda: gate.phases() == {"early": "Running", "late": "Failed", "asking": "Running"})
        status = gate.status_of("late")
        assert str_at(status, "reason") == "Evicted"
        assert str_at(status, "message") == "Pod was rejected: The node had condition: [MemoryPressure]. "
        assert find_condition(maps_at(status, "conditions"), "DisruptionTarget") is None
        assert gate.runtime.starts == [("app", 0), ("app", 0)]
        assert gate.reasons().count("Evicted") == 1


async def test_what_is_found_running_is_kept_under_pressure_though_its_record_is_lost(gate: Short) -> None:
    async with gate.running():
        await run_pods(gate, "a")
    await gate.store.apply(EdgeBatch(pods=(("a", None),)))
    gate.refuse = lambda _: "The node had condition: [DiskPressure]. "
    async with gate.running():
        await eventually(lambda: str_at(gate.status_of("a"), "phase") == "Running")
    assert (gate.runtime.stops, gate.runtime.starts) == ([], [("app", 0)])


async def test_an_end_before_the_first_look_is_not_lost(gate: Short) -> None:
    async with gate.running() as manager:
        await run_pods(gate, "other")
        gate.runtime.unavailable = "it restarts"
        await gate.put(pod())
        await eventually(lambda: manager.has("uid-1"))
        gate.runtime.unavailable = ""
        manager.end("uid-1", Ending(reason="Evicted", message="no room"), 0.0)
        await eventually(lambda: str_at(gate.status(), "phase") == "Failed")
        assert str_at(gate.status(), "message") == "no room"
        assert gate.reasons().count("Evicted") == 1

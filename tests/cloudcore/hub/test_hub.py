"""Hub and gateways together: what is bound arrives, what is told takes effect, and links may go at any time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from cloudcore.hub.places import PlaceSettings
from cloudcore.store.failing import FailingStore, Fault, Operation
from cloudcore.store.memory import MemoryState, MemoryStore
from edgecore.store.failing import FailingEdgeStore
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import Held
from skerry.clocks import SystemClock
from skerry.errors import NotFoundError, StorageFullError, UnavailableError
from skerry.frozen import replace
from skerry.objects.conditions import condition_of, is_true
from skerry.objects.device_questions import Explain
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.logs import LogRequest
from skerry.objects.meta import Key, uid_of
from skerry.objects.reports import POD_STATUS, PodStatusReport
from skerry.objects.twins import DeviceName, Telemetry, encode_telemetry
from skerry.wire import shared
from skerry.wire.codec import objects_head
from skerry.wire.frames import Objects
from tests.cloudcore.hub.fleet import QUICK, SETTINGS, Fleet, a_fleet, eventually


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with a_fleet() as fleet:
        yield fleet


def pod_status(pod: JsonObject, phase: str, *, gone: bool = False) -> bytes:
    name = str_at(pod, "metadata", "name")
    return PodStatusReport(namespace="ns", name=name, uid=uid_of(pod), status={"phase": phase}, gone=gone).encode()


async def test_a_pod_and_what_it_refers_to_reach_its_gateway_and_no_other(fleet: Fleet) -> None:
    async with fleet.gateway("eu-1") as ours, fleet.gateway("us-1") as theirs:
        await eventually(lambda: ours.link.connected and theirs.link.connected)
        await fleet.create("configmaps", "settings", data={"a": "1"})
        await fleet.create("configmaps", "other", data={"a": "1"})
        await fleet.pod("web", "eu-1", "settings")
        await eventually(lambda: ours.holds("pods", "web"))
        assert ours.holds("configmaps", "settings")
        assert ours.holds("serviceaccounts", "default")
        assert not ours.holds("configmaps", "other")
        assert not list(theirs.store.stamps())


async def test_a_change_for_several_gateways_is_encoded_once(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Objects] = []

    def head(frame: Objects, *, tail_bytes: int, dictionary: int) -> bytes:
        made.append(frame)
        return objects_head(frame, tail_bytes=tail_bytes, dictionary=dictionary)

    async with fleet.gateway("eu-1") as one, fleet.gateway("eu-2") as other:
        await fleet.create("configmaps", "settings", data={"a": "1"})
        for node in ("eu-1", "eu-2"):
            await fleet.pod(f"web-{node}", node, "settings")
        key = _key("configmaps", "settings")
        await eventually(lambda: one.store.get(key) is not None and other.store.get(key) is not None)
        monkeypatch.setattr(shared, "objects_head", head)
        await fleet.update("configmaps", "settings", lambda obj: {**obj, "data": {"a": "2"}})
        await eventually(lambda: all(b'"a":"2"' in _body(gateway.store.get(key)) for gateway in (one, other)))
        assert sum(put.key == key for frame in made for put in frame.puts) == 1


async def test_gateways_beyond_the_places_come_in_one_after_the_other() -> None:
    settings = replace(SETTINGS, places=replace(QUICK, places=1))
    async with (
        a_fleet(settings=settings) as fleet,
        fleet.gateway("eu-1"),
        fleet.gateway("eu-2"),
        fleet.gateway("eu-3"),
    ):
        await eventually(lambda: len(fleet.hub.connected) == 3)


async def test_a_gateway_that_finds_no_place_is_told_when_to_come_back() -> None:
    settings = replace(SETTINGS, places=PlaceSettings(places=1, retry_s_min=7))
    async with a_fleet(settings=settings) as fleet:
        assert fleet.hub._places.take("somebody", SystemClock().monotonic_s())
        async with fleet.gateway("eu-1") as gateway:
            await eventually(lambda: "too many" in gateway.link.status.last_error)
            await eventually(lambda: gateway.link.status.state == "waiting")
            assert not fleet.hub.connected


async def test_what_changed_while_the_link_was_cut_arrives_after_it_heals(fleet: Fleet) -> None:
    async with fleet.gateway() as gateway:
        await fleet.create("configmaps", "settings", data={"a": "1"})
        await fleet.pod("web", "eu-1", "settings")
        await eventually(lambda: gateway.holds("pods", "web"))
        await gateway.link.cut()
        await eventually(lambda: not fleet.hub.connected)
        assert gateway.link.status.state == "cut"
        await fleet.update("configmaps", "settings", lambda obj: {**obj, "data": {"a": "2"}})
        await gateway.link.heal()
        await eventually(lambda: b'"a":"2"' in _body(gateway.store.get(_key("configmaps", "settings"))))


async def test_a_node_makes_itself_known_and_its_silence_shows(fleet: Fleet) -> None:
    async with fleet.gateway() as gateway:
        await gateway.tell_node()
        await eventually(lambda: fleet.now("nodes", "eu-1"))
        node = fleet.now("nodes", "eu-1") or {}
        assert is_true(node, "Ready")
        assert str_at(node, "metadata", "labels", "site") == "north"
        await gateway.link.cut()
        await eventually(lambda: not is_true(fleet.now("nodes", "eu-1") or {}, "Ready"))
        ready = condition_of(fleet.now("nodes", "eu-1") or {}, "Ready") or {}
        assert (str_at(ready, "status"), str_at(ready, "reason")) == ("Unknown", "NodeStatusUnknown")
        await gateway.link.heal()
        await eventually(lambda: is_true(fleet.now("nodes", "eu-1") or {}, "Ready"))
        assert str_at(condition_of(fleet.now("nodes", "eu-1") or {}, "Ready") or {}, "reason") == "EdgeReady"


async def test_a_gateway_that_is_not_ready_stays_so_when_it_is_heard_again(fleet: Fleet) -> None:
    async with fleet.gateway() as gateway:
        await gateway.tell_node(ready="False")
        await eventually(lambda: fleet.now("nodes", "eu-1"))
        await gateway.link.cut()
        await eventually(lambda: _ready(fleet) == "Unknown")
        await gateway.link.heal()
        await eventually(lambda: _ready(fleet) == "False")


async def test_a_pods_status_is_its_nodes_to_tell_and_nobody_elses(fleet: Fleet) -> None:
    async with fleet.gateway("eu-1") as ours, fleet.gateway("us-1") as theirs:
        pod = await fleet.pod("web", "eu-1")
        await theirs.tell("state", POD_STATUS, uid_of(pod), pod_status(pod, "Failed", gone=True))
        await eventually(lambda: not theirs.store.outbox(after=0, limit=9))
        assert str_at(fleet.now("pods", "web"), "status", "phase") == "Pending"
        await ours.tell("state", POD_STATUS, uid_of(pod), pod_status(pod, "Running"))
        await eventually(lambda: str_at(fleet.now("pods", "web"), "status", "phase") == "Running")


async def test_a_deleted_pod_leaves_the_store_when_its_node_says_it_is_gone(fleet: Fleet) -> None:
    async with fleet.gateway() as gateway:
        pod = await fleet.pod("web", "eu-1")
        await eventually(lambda: gateway.holds("pods", "web"))
        kind = fleet.kind("pods")
        await fleet.objects.delete(kind, kind.key("ns", "web"))
        await eventually(lambda: b"deletionTimestamp" in _body(gateway.store.get(_key("pods", "web"))))
        assert fleet.now("pods", "web") is not None
        await gateway.tell("state", POD_STATUS, uid_of(pod), pod_status(pod, "Succeeded", gone=True))
        await eventually(lambda: fleet.now("pods", "web") is None and not gateway.holds("pods", "web"))


async def test_readings_taken_offline_arrive_once_and_in_order(fleet: Fleet) -> None:
    await fleet.had_device("eu-1", "u", "plc")
    async with fleet.gateway() as gateway:
        await eventually(lambda: gateway.link.connected)
        await gateway.link.cut()
        for number in range(300):
            await gateway.tell("telemetry", "telemetry", "ns/plc/t", reading(number))
            if number == 150:
                await gateway.link.heal()
            if number % 50 == 0 and gateway.wire is not None:
                gateway.wire.cut()
        await eventually(lambda: not gateway.store.outbox(after=0, limit=1))
        records = await fleet.store.records("ns/plc/t")
        assert [json.loads(record.body)["seq"] for record in records] == list(range(300))
        assert json.loads(records[0].body)["node"] == "eu-1"


async def test_a_report_that_makes_no_sense_does_not_hold_up_the_next(fleet: Fleet) -> None:
    await fleet.had_device("eu-1", "u", "plc")
    async with fleet.gateway() as gateway:
        await gateway.tell("event", "event", "", b"{}")
        await gateway.tell("event", "nonsense", "", b"\xff")
        await gateway.tell("telemetry", "telemetry", "ns/plc/t", reading(1))
        await eventually(lambda: not gateway.store.outbox(after=0, limit=1))
        assert len(await fleet.store.records("ns/plc/t")) == 1


async def test_an_event_of_a_gateway_in_1970_is_dated_by_the_cloud(fleet: Fleet) -> None:
    event: JsonObject = {
        "metadata": {"name": "web.1", "namespace": "ns"},
        "involvedObject": {"kind": "Pod", "name": "web", "namespace": "ns"},
        "reason": "Started",
        "message": "it runs",
        "type": "Normal",
        "firstTimestamp": "1970-01-01T00:01:00Z",
        "lastTimestamp": "1970-01-01T00:01:00Z",
    }

    class Wrong(SystemClock):
        def wall_ms(self) -> int:
            return 60_000

    await fleet.pod("web", "eu-1")
    async with fleet.gateway(store=MemoryEdgeStore(incarnation="i", clock=Wrong())) as gateway:
        await gateway.tell("event", "event", "", json.dumps(event).encode())
        await eventually(lambda: fleet.now("events", "web.1"))
        told = fleet.now("events", "web.1") or {}
        assert str_at(told, "lastTimestamp") > "2026"
        assert str_at(told, "source", "host") == "eu-1"


async def test_a_cloud_that_cannot_commit_loses_nothing(fleet: Fleet) -> None:
    failing = [True]

    def plan(operation: Operation, number: int) -> Fault | None:
        return Fault(error=UnavailableError("database is locked")) if operation == "commit" and failing[0] else None

    failing[0] = False
    store = FailingStore(MemoryStore(MemoryState(epoch="e2")), plan)
    async with a_fleet(store) as locked, locked.gateway() as gateway:
        await eventually(lambda: gateway.link.connected)
        await locked.had_device("eu-1", "u", "plc")
        failing[0] = True
        await gateway.tell("telemetry", "telemetry", "ns/plc/t", reading(1))
        await eventually(lambda: "database is locked" in gateway.link.status.last_error)
        failing[0] = False
        await eventually(lambda: not gateway.store.outbox(after=0, limit=1))
        assert len(await locked.store.records("ns/plc/t")) == 1


async def test_a_gateway_with_a_full_disk_acknowledges_nothing_and_says_why(fleet: Fleet) -> None:
    store = FailingEdgeStore(MemoryEdgeStore(incarnation="i", clock=SystemClock()))
    async with fleet.gateway(store=store) as gateway:
        await eventually(lambda: gateway.link.connected)
        store.fail_writes_with = StorageFullError("no space left")
        await fleet.pod("web", "eu-1")
        await eventually(lambda: "no space left" in gateway.link.status.last_error)
        assert not gateway.holds("pods", "web")
        store.fail_writes_with = None
        await eventually(lambda: gateway.holds("pods", "web"))


async def test_a_certificate_of_another_node_is_refused(fleet: Fleet) -> None:
    async with fleet.gateway("eu-1") as gateway:
        await eventually(lambda: gateway.link.connected)
        gateway.node = "us-1"  # what its certificate says from now on
        await gateway.link.cut()
        await gateway.link.heal()
        await eventually(lambda: "the certificate is of system:node:us-1" in gateway.link.status.last_error)


async def test_a_newer_session_of_a_node_ends_the_older(fleet: Fleet) -> None:
    async with fleet.gateway("eu-1") as gateway:
        await eventually(lambda: gateway.link.connected)
        first = gateway.link.status.session
        wire = gateway.wire
        assert wire is not None
        wire.silent = True  # the cloud is not told that this end goes
        wire.ended.set()
        await eventually(lambda: gateway.link.status.session > first)
        await eventually(lambda: fleet.hub.connected == ["eu-1"])
        await fleet.pod("web", "eu-1")
        await eventually(lambda: gateway.holds("pods", "web"))


async def test_logs_stream_from_the_gateway_at_the_readers_pace(fleet: Fleet) -> None:
    closed = asyncio.Event()
    made = [0]

    async def logs(params: JsonObject) -> AsyncIterator[bytes]:
        assert LogRequest.of(params).tail_lines == 5
        try:
            while True:
                made[0] += 1
                yield b"x" * 10_000
        finally:
            closed.set()

    async with fleet.gateway(sources={"logs": logs}) as gateway:
        await eventually(lambda: gateway.link.connected)
        query = LogRequest(namespace="ns", pod="web", uid="u", container="c", follow=True, tail_lines=5)
        stream = fleet.hub.logs.read("eu-1", query)
        size = 0
        async for chunk in stream:
            size += len(chunk)
            if size > 200_000:
                break
        assert made[0] * 10_000 <= size + 3 * 65_536 + 20_000
        await stream.aclose()
        await eventually(closed.is_set)


async def test_logs_end_with_the_gateways_reason(fleet: Fleet) -> None:
    async def logs(params: JsonObject) -> AsyncIterator[bytes]:
        yield b"one line\n"
        raise NotFoundError("container c has not started")

    query = LogRequest(namespace="ns", pod="web", uid="u", container="c")
    async with fleet.gateway(sources={"logs": logs}) as gateway:
        await eventually(lambda: gateway.link.connected)
        seen: list[bytes] = []
        with pytest.raises(NotFoundError, match="has not started"):
            async for chunk in fleet.hub.logs.read("eu-1", query):
                seen.append(chunk)  # noqa: PERF401 - what came before the error counts
        assert seen == [b"one line\n"]
    with pytest.raises(UnavailableError, match="not connected"):
        await anext(fleet.hub.logs.read("nowhere", query))


async def test_a_question_about_a_device_is_answered_by_its_gateway(fleet: Fleet) -> None:
    question = Explain(namespace="ns", device="plc", uid="u", prop="t")

    async def devices(params: JsonObject) -> AsyncIterator[bytes]:
        assert params == question.params()
        for piece in (b'{"property"', b': "t"}'):
            yield piece

    async with fleet.gateway(sources={"devices": devices}) as gateway:
        await eventually(lambda: gateway.link.connected)
        assert await fleet.hub.devices.ask("eu-1", question) == {"property": "t"}
    async with fleet.gateway(sources={}) as gateway:
        await eventually(lambda: gateway.link.connected)
        with pytest.raises(UnavailableError, match="older release"):
            await fleet.hub.devices.ask("eu-1", question)
    with pytest.raises(UnavailableError, match="its devices are on the gateway"):
        await fleet.hub.devices.ask("nowhere", question)


@pytest.mark.parametrize(("piece", "why"), [(b"[]", "makes no sense"), (b"x" * 2_000_000, "more than")])
async def test_an_answer_about_a_device_that_is_none_is_not_passed_on(piece: bytes, why: str) -> None:
    async def devices(params: JsonObject) -> AsyncIterator[bytes]:
        yield piece

    async with a_fleet() as fleet, fleet.gateway(sources={"devices": devices}) as gateway:
        await eventually(lambda: gateway.link.connected)
        with pytest.raises(UnavailableError, match=why):
            await fleet.hub.devices.ask("eu-1", Explain(namespace="n", device="d", uid="", prop="t"))


async def test_the_hub_keeps_one_lease(fleet: Fleet) -> None:
    await eventually(lambda: fleet.now("leases.coordination.k8s.io", "skerry-hub", "kube-system"))
    lease = fleet.now("leases.coordination.k8s.io", "skerry-hub", "kube-system") or {}
    assert map_at(lease, "spec")["leaseDurationSeconds"] == 20


async def test_what_an_outbox_dropped_is_said_in_an_event(fleet: Fleet) -> None:
    body = {"class": "telemetry", "dropped": 7, "bytes": 700, "total": 7, "firstSeq": 1, "lastSeq": 7}
    async with fleet.gateway() as gateway:
        await gateway.tell("state", "gap", "telemetry", json.dumps(body).encode())
        await eventually(lambda: fleet.now("events", "eu-1.gap-telemetry-1", "default"))
        event = fleet.now("events", "eu-1.gap-telemetry-1", "default") or {}
        assert "7 telemetry reports" in str_at(event, "message")


def reading(number: int) -> bytes:
    return encode_telemetry(
        Telemetry(
            device=DeviceName(namespace="ns", name="plc", uid="u"),
            prop="t",
            seq=number,
            value=str(number),
            type="INT",
            quality="good",
            reason="",
            source_ms=0,
        )
    )


def _ready(fleet: Fleet) -> str:
    node = fleet.now("nodes", "eu-1") or {}
    return next(
        (str_at(found, "status") for found in maps_at(node, "status", "conditions") if found["type"] == "Ready"), ""
    )


def _key(resource: str, name: str) -> Key:
    return Key(resource, "ns", name)


def _body(held: Held | None) -> bytes:
    return b"" if held is None else held.body

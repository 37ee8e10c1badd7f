"""A gateway with a valid certificate that means ill, against the real hub, registry and store.

It may harm itself. It can't read or write what is another's, speak for another, fill the hub's memory, keep the
hub from its other gateways, or write what it likes into the log.
"""

from __future__ import annotations

import asyncio
import json
import logging
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from cloudcore.hub.bounds import BoundSettings
from cloudcore.hub.hub import _Slot
from cloudcore.registry.port import DeleteOptions, Effect
from cloudcore.store.port import Advance
from skerry.clocks import SystemClock
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.objects.json import Json, JsonObject, map_at, str_at
from skerry.objects.meta import Key, uid_of
from skerry.wire.frames import (
    Ack,
    CloseCode,
    Compare,
    Fetch,
    Objects,
    Ping,
    Receipt,
    Report,
    Reports,
    Stamps,
    StreamOpen,
    Welcome,
)
from tests.cloudcore.hub.fleet import QUICK, SETTINGS, Fleet, a_fleet, eventually
from tests.hostile.intruder import Intruder, an_intruder


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    """Two nodes' objects: ours is `mallory`, theirs is `alice`."""
    async with a_fleet() as fleet:
        await fleet.create("configmaps", "theirs", data={"secret": "alice's own"})
        await fleet.create("secrets", "password", data={"p": "YWxpY2U="})
        volumes: list[Json] = [
            {"name": "a", "configMap": {"name": "theirs"}},
            {"name": "b", "secret": {"secretName": "password"}},
        ]
        spec: JsonObject = {"containers": [{"name": "c", "image": "x"}], "volumes": volumes, "nodeName": "alice"}
        await fleet.create("pods", "hers", spec=spec)
        await fleet.create("configmaps", "ours", data={"a": "1"})
        await fleet.pod("mine", "mallory", "ours")
        await fleet.create("devicemodels.devices.kubeedge.io", "model", spec={"properties": []})
        await fleet.create(
            "devices.devices.kubeedge.io",
            "plc",
            spec={"nodeName": "alice", "deviceModelRef": {"name": "model"}, "protocol": {"protocolName": "virtual"}},
        )
        yield fleet


FOREIGN = (
    Key("pods", "ns", "hers"),
    Key("configmaps", "ns", "theirs"),
    Key("secrets", "ns", "password"),
    Key("nodes", "", "alice"),
    Key("devices.devices.kubeedge.io", "ns", "plc"),
    Key("namespaces", "", "ns"),
    Key("", "", ""),
    Key("pods", "ns", "../hers"),
    Key("pods", "", "ns/hers"),
)


async def test_fetching_what_is_anothers_says_only_that_one_holds_it_not(fleet: Fleet) -> None:
    async with an_intruder(fleet, "mallory") as intruder:
        await intruder.welcomed()
        await intruder.say(Compare(buckets=(0,) * 64))
        stamps = await intruder.hear(Stamps)
        assert isinstance(stamps, Stamps)
        assert {entry.key.name for entry in stamps.entries} == {"mine", "ours", "default"}
        await intruder.say(Fetch(keys=FOREIGN))
        objects = await intruder.hear(Objects)
        assert isinstance(objects, Objects)
        assert (objects.puts, set(objects.deletes)) == ((), set(FOREIGN))


async def test_the_order_of_an_answer_does_not_tell_what_anothers_pod_refers_to(fleet: Fleet) -> None:
    pod, guess = Key("pods", "ns", "hers"), Key("secrets", "ns", "password")
    async with an_intruder(fleet, "mallory") as intruder:
        await intruder.welcomed()
        await intruder.say(Compare(buckets=(0,) * 64), Fetch(keys=(pod, guess)))
        objects = await intruder.hear(Objects)
        assert isinstance(objects, Objects)
        assert objects.deletes == (pod, guess), "the order in which they were asked for"


@pytest.mark.parametrize(
    ("certificate", "node"),
    [
        ("system:node:mallory", "alice"),
        ("system:node:mallory", "system:node:alice"),
        ("system:node:mallory", "Mallory"),
        ("system:node:mallory", ""),
        ("system:node:", ""),
        ("alice", "alice"),
        ("", "alice"),
        ("admin", "admin"),
        ("system:node:system:node:alice", "alice"),
    ],
)
async def test_nobody_greets_in_anothers_name(fleet: Fleet, certificate: str, node: str) -> None:
    async with fleet.gateway("alice") as alice, an_intruder(fleet, node, certificate=certificate) as intruder:
        await eventually(lambda: alice.link.connected)
        session = alice.link.status.session
        await intruder.hello()
        assert (await intruder.closed()).code == CloseCode.REFUSED
        assert not any(isinstance(frame, Welcome) for frame in intruder.heard)
        assert (alice.link.connected, alice.link.status.session) == (True, session), "the true session goes on"


@pytest.mark.parametrize("field", ["node", "incarnation", "epoch", "agent_version"])
async def test_a_name_with_a_nul_gets_no_session(fleet: Fleet, field: str) -> None:
    """It would be another name to a database that ends texts there."""
    async with an_intruder(fleet, "mallory") as intruder:
        await intruder.hello(**{field: "mallory\0"})
        assert (await intruder.closed()).code == CloseCode.PROTOCOL


async def test_a_second_hello_changes_nobodys_name(fleet: Fleet) -> None:
    async with an_intruder(fleet, "mallory") as intruder:
        await intruder.welcomed()
        await intruder.hello(node="alice")
        assert (await intruder.closed()).code == CloseCode.PROTOCOL


async def test_another_sessions_outbox_cannot_be_replayed_as_ones_own(fleet: Fleet) -> None:
    """Positions belong to a node: alice's incarnation and numbers, said by mallory, touch nothing of hers."""
    async with fleet.gateway("alice") as alice:
        await alice.tell_node()
        await eventually(lambda: not alice.store.outbox(after=0, limit=1))
        held = await fleet.store.position("alice")
        async with an_intruder(fleet, "mallory") as intruder:
            welcome = await intruder.welcomed(incarnation=alice.store.incarnation)
            assert welcome.received == 0
            intruder.seq = 1000
            await intruder.tell("node_status", {"labels": {}, "status": {}})
        assert await fleet.store.position("alice") == held


async def test_reports_about_anothers_pods_devices_nodes_and_events_come_to_nothing(fleet: Fleet) -> None:
    pod, device = fleet.now("pods", "hers") or {}, fleet.now("devices.devices.kubeedge.io", "plc") or {}
    name: JsonObject = {"ns": "ns", "name": "plc", "uid": uid_of(device)}
    event: JsonObject = {
        "metadata": {"name": "hers.1", "namespace": "ns"},
        "involvedObject": {"kind": "Pod", "name": "hers", "namespace": "ns"},
        "reason": "Started",
        "message": "it runs",
        "type": "Normal",
    }
    async with an_intruder(fleet, "alice") as alice, an_intruder(fleet, "mallory") as intruder:
        await alice.welcomed()
        await alice.tell("event", event)
        before = {resource: _all(fleet, resource) for resource in ("pods", "nodes", "events", *_DEVICES)}
        await intruder.welcomed()
        status: JsonObject = {"phase": "Failed", "conditions": []}
        told: JsonObject = {"namespace": "ns", "name": "hers", "uid": uid_of(pod), "status": status, "gone": True}
        await intruder.tell("pod_status", told)
        await intruder.tell("event", {**event, "message": "it burns", "source": {"host": "alice"}})
        for kind in ("twin_reported", "device_state", "twin_desired", "telemetry"):
            body: JsonObject = {"device": {**name, "uid": "guessed"}, "prop": "t", "state": "offline", "value": "1"}
            await intruder.tell(kind, {**body, "desired": {"value": "1"}, "reported": {"value": "1"}})
            await intruder.tell(kind, {**body, "device": name, "desired": {"value": "1"}, "reported": {"value": "1"}})
        await intruder.tell("gap", {"class": "alice", "dropped": 1, "firstSeq": 1})
        after = {resource: _all(fleet, resource) for resource in ("pods", "nodes", "events", *_DEVICES)}
        made = after["events"].keys() - before["events"].keys()
        assert all(key.name.startswith("mallory.") for key in made), "its own gap is its own to tell"
        for key in made:
            del after["events"][key]
        assert after == before
        assert await fleet.store.records("ns/plc/t") == []


_DEVICES = ("devices.devices.kubeedge.io", "devicestatuses.devices.kubeedge.io")


def _all(fleet: Fleet, resource: str) -> dict[Key, bytes]:
    return {stored.key: stored.body for stored in fleet.objects.select(resource)}


async def test_a_node_steers_no_foreign_work_to_itself_by_its_labels(fleet: Fleet) -> None:
    async with an_intruder(fleet, "mallory") as intruder:
        await intruder.welcomed()
        labels: JsonObject = {
            "site": "north",
            "topology.kubernetes.io/zone": "a",
            "node-restriction.kubernetes.io/vault": "yes",
            "x.node-restriction.kubernetes.io/vault": "yes",
            "node-role.kubernetes.io/control-plane": "",
            "node-role.kubernetes.io/edge": "",
            "kubernetes.io/hostname": "mallory",
        }
        await intruder.tell("node_status", {"labels": labels, "status": {}})
        node = fleet.now("nodes", "mallory") or {}
        assert map_at(node, "metadata", "labels") == {
            "site": "north",
            "topology.kubernetes.io/zone": "a",
            "node-role.kubernetes.io/edge": "",
            "kubernetes.io/hostname": "mallory",
        }
        assert not map_at(node, "spec").get("taints")


async def test_an_event_brings_no_finalizers_owners_or_paths(fleet: Fleet) -> None:
    subject: JsonObject = {"involvedObject": {"kind": "Pod", "name": "mine", "namespace": "ns"}, "message": "m"}
    owner: JsonObject = {"apiVersion": "v1", "kind": "Pod", "name": "hers", "uid": "u", "blockOwnerDeletion": True}
    metadata: JsonObject = {"name": "e", "namespace": "ns", "finalizers": ["a.b/c"], "ownerReferences": [owner]}
    async with an_intruder(fleet, "mallory") as intruder:
        await intruder.welcomed()
        await intruder.tell("event", {"metadata": metadata, **subject})
        await intruder.tell("event", {"metadata": {"name": "../x", "namespace": "ns"}, **subject})
    events = [json.loads(body) for body in _all(fleet, "events").values()]
    assert [str_at(event, "metadata", "name") for event in events] == ["e"]
    assert not {"finalizers", "ownerReferences"} & events[0]["metadata"].keys()


async def test_events_are_only_of_what_is_or_was_the_nodes_own(fleet: Fleet) -> None:
    def event(name: str, kind: str, about: str, namespace: str = "ns", uid: str = "") -> JsonObject:
        subject: JsonObject = {
            "kind": kind,
            "name": about,
            "namespace": "" if kind == "Node" else namespace,
            "uid": uid,
        }
        return {"metadata": {"name": name, "namespace": namespace}, "involvedObject": subject, "message": "m"}

    pod = fleet.now("pods", "mine") or {}
    async with an_intruder(fleet, "mallory") as intruder:
        await intruder.welcomed()
        for told in (
            event("a", "Pod", "hers"),
            event("b", "Pod", "hers", uid=uid_of(pod)),
            event("c", "Pod", "never"),
            event("d", "Pod", "never", "kube-system", uid="guessed"),
            event("e", "Device", "plc"),
            event("f", "Node", "alice", "default"),
            event("g", "Node", "mallory", "kube-system"),
            event("h", "Secret", "password"),
            event("i", "Pod", "mine", uid="another-life"),
        ):
            await intruder.tell("event", told)
        assert _all(fleet, "events") == {}
        assert fleet.hub.bounds.refusals["event-subject"] == 9
        await intruder.tell("event", event("own-pod", "Pod", "mine"))
        await intruder.tell("event", event("own-node", "Node", "mallory", "default"))
        await fleet.objects.delete(fleet.kind("pods"), Key("pods", "ns", "mine"), DeleteOptions(grace_s=0))
        await eventually(lambda: fleet.hub.bounds.was_on("mallory", uid_of(pod), Key("pods", "ns", "mine")))
        await intruder.tell("event", event("late", "Pod", "mine", uid=uid_of(pod)))
        await intruder.tell("event", event("forged", "Pod", "other", uid=uid_of(pod)))
        assert [key.name for key in _all(fleet, "events")] == ["own-node", "late", "own-pod"]
        (told,) = [body for key, body in _all(fleet, "events").items() if key.name == "own-pod"]
        assert str_at(json.loads(told), "involvedObject", "uid") == uid_of(pod)


async def test_no_history_is_written_but_of_what_is_or_was_the_nodes_own(fleet: Fleet) -> None:
    """Not with another's uid, not of a device that does not exist yet; of one that it had, what it still owes."""
    hers = fleet.now("devices.devices.kubeedge.io", "plc") or {}
    hole: JsonObject = {"firstSeq": 1, "dropped": 5, "firstMs": 1, "lastMs": 2}
    async with an_intruder(fleet, "mallory") as intruder:
        await intruder.welcomed()
        for name, uid in (("plc", uid_of(hers)), ("plc", "guessed"), ("boiler-9", "u"), ("boiler-9", "")):
            device: JsonObject = {"ns": "ns", "name": name, "uid": uid}
            await intruder.tell("telemetry", {"device": device, "prop": "t", "value": "666", "seq": 1})
            await intruder.tell("series_gap", hole, key=f"ns/{name}/t")
        assert [await fleet.store.records(f"ns/{name}/t") for name in ("plc", "boiler-9")] == [[], []]
        assert fleet.hub.bounds.refusals == {"reading-device": 8}
        await fleet.had_device("mallory", uid_of(hers), "plc")
        device = {"ns": "ns", "name": "plc", "uid": uid_of(hers)}
        await intruder.tell("telemetry", {"device": device, "prop": "t", "value": "7", "seq": 1, "x": "y" * 100_000})
        (record,) = await fleet.store.records("ns/plc/t")
        assert json.loads(record.body)["value"] == "7" and len(record.body) < 1000


async def test_one_gateways_events_do_not_fill_the_cloud(caplog: pytest.LogCaptureFixture) -> None:
    settings = replace(SETTINGS, bounds=BoundSettings(events_burst=60, events_per_s=0.001, events_max=40))
    subject: JsonObject = {"kind": "Pod", "name": "mine", "namespace": "ns"}
    async with a_fleet(settings=settings) as fleet:
        await fleet.pod("mine", "mallory")
        for session in range(2):  # coming again brings no new burst
            async with an_intruder(fleet, "mallory") as intruder:
                await intruder.welcomed(incarnation=f"i-{session}")
                for number in range(50):
                    body: JsonObject = {
                        "metadata": {"name": f"e-{number}", "namespace": "ns"},
                        "message": "x" * 600_000,
                    }
                    await intruder.tell("event", {**body, "involvedObject": subject, "padding": "y" * 100_000})
        kept = _all(fleet, "events")
        assert len(kept) == 40
        assert max(len(body) for body in kept.values()) < 2500
        assert fleet.hub.bounds.refusals == {"event-room": 20, "event-pace": 20}
    lines = [record.message for record in caplog.records if "reports refused" in record.message]
    assert len(lines) == 2, "one for each reason"


NASTY: dict[str, bytes] = {
    "brackets": b"[" * 200_000,
    "braces": b'{"a":' * 100_000,
    "nul": b'{"metadata":{"name":"a\\u0000b","namespace":"ns"},"involvedObject":{"kind":"Pod"},'
    b'"device":{"ns":"ns","name":"p\\u0000","uid":"u"},"class":"\\u0000"}',
    "list": b"[]",
    "number": b"7",
    "null": b"null",
    "nothing": b"",
    "garbage": b"\xff\xfe",
    "surrogate": b'{"metadata":{"name":"\\ud800","namespace":"ns"},"involvedObject":{"kind":"\\ud800"},"a\\ud800":1}',
    "huge number": b'{"device":{"ns":"ns","name":"plc","uid":"u"},"seq":' + b"9" * 4000 + b"}",
    "infinite": b'{"device":{"ns":"ns","name":"plc","uid":"u"},"seq":1e999,"ts_src":NaN,"reported":{"seq":-1e999}}',
    "types": b'{"device":["ns"],"metadata":7,"status":"x","labels":[1],"desired":{"hlc":{},"vector":[]},"prop":{}}',
    "class": b'{"class":"../\\n\\ud800","dropped":1e400,"firstSeq":-1}',
    "quantities": b'{"labels":{"a":1},"status":{"capacity":{"cpu":"NaN"},"allocatable":[],"conditions":[7]}}',
}
KINDS = (
    "pod_status",
    "node_status",
    "volume",
    "event",
    "gap",
    "oversize",
    "twin_reported",
    "twin_desired",
    "device_state",
)


@pytest.mark.parametrize("nasty", NASTY)
async def test_a_report_of_any_shape_costs_nobody_the_next_one(
    fleet: Fleet, nasty: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with an_intruder(fleet, "mallory") as intruder:
        await intruder.welcomed()
        for kind in (*KINDS, "telemetry", "\n2026 ERROR forged", ""):
            await intruder.tell(kind, NASTY[nasty])
        assert not any(record.exc_info for record in caplog.records), "no traceback"


async def test_what_a_node_says_is_one_line_of_the_log(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """The formatter escapes; bodies are never told at all."""
    caplog.set_level(logging.INFO)
    async with an_intruder(fleet, "mallory") as intruder:
        await intruder.welcomed()
        await intruder.tell("event", b'{"password": "hunter2"')
        await intruder.tell("event", b'{"metadata": {"name": "x", "namespace": "ns"}, "password": "hunter2"}')
        await intruder.tell("secret", b'{"password": "hunter2"}')
    assert "hunter2" not in caplog.text


# --- memory ---


async def test_a_node_that_reads_nothing_does_not_fill_the_hubs_memory(fleet: Fleet) -> None:
    """Each ping asks for a pong. The hub stops listening to who does not listen, and then its silence ends it."""
    tracemalloc.start()
    async with an_intruder(fleet, "mallory", deaf=True) as intruder:
        await intruder.hello()
        before, _ = tracemalloc.get_traced_memory()
        flood = asyncio.create_task(_flood(intruder, Ping(number=2**60), 200_000))
        await asyncio.wait((flood,), timeout=15)
        grown = tracemalloc.get_traced_memory()[0] - before
        flood.cancel()
        await asyncio.gather(flood, return_exceptions=True)
    tracemalloc.stop()
    assert grown < 4_000_000, f"{grown} bytes for one node that reads nothing"


async def _flood(intruder: Intruder, frame: Ping, count: int) -> None:
    try:
        for _ in range(count):
            await intruder.say(frame)
            await asyncio.sleep(0)
    except UnavailableError:
        return


async def test_acknowledging_without_reading_gets_no_further_batches(fleet: Fleet) -> None:
    for number in range(40):
        await fleet.create("configmaps", f"c-{number}", data={"text": "x" * 100_000})
    await fleet.pod("all", "mallory", *(f"c-{number}" for number in range(40)))
    keys = tuple(Key("configmaps", "ns", f"c-{number}") for number in range(40))
    tracemalloc.start()
    async with an_intruder(fleet, "mallory", deaf=True) as intruder:
        await intruder.hello()
        await intruder.say(Compare(buckets=(0,) * 64))
        await asyncio.sleep(0.2)
        before, _ = tracemalloc.get_traced_memory()
        flood = asyncio.create_task(_fetch_and_acknowledge(intruder, keys))
        await asyncio.wait((flood,), timeout=10)
        grown = tracemalloc.get_traced_memory()[0] - before
        flood.cancel()
        await asyncio.gather(flood, return_exceptions=True)
    tracemalloc.stop()
    assert grown < 40_000_000, f"{grown} bytes for one node that reads nothing"


async def _fetch_and_acknowledge(intruder: Intruder, keys: tuple[Key, ...]) -> None:
    try:
        for batch in range(1, 5000):
            await intruder.say(Fetch(keys=keys), Ack(batch=batch))
    except UnavailableError:
        return


async def test_streams_that_a_node_opens_are_refused_and_cost_nothing(fleet: Fleet) -> None:
    async with an_intruder(fleet, "mallory") as intruder:
        await intruder.welcomed()
        for number in range(2000):
            await intruder.say(StreamOpen(stream=2 + 2 * number, kind="exec", params=b"x" * 1000, credit=2**60))
        await intruder.tell("event", b"{}")


async def test_links_of_one_certificate_that_say_nothing_are_few(fleet: Fleet) -> None:
    most = SETTINGS.links_of_peer_max
    async with AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(an_intruder(fleet, "mallory")) for _ in range(most)]
        await eventually(lambda: len(fleet.hub._open) == most)
        more = await stack.enter_async_context(an_intruder(fleet, "mallory"))
        await more.until(more.ended.is_set)
        assert not any(one.ended.is_set() for one in silent)
        alice = await stack.enter_async_context(an_intruder(fleet, "alice"))
        await alice.welcomed()
        silent[0].link.cut()
        await eventually(lambda: len(fleet.hub._open) == most)
        again = await stack.enter_async_context(an_intruder(fleet, "mallory"))
        await again.welcomed()
    await eventually(lambda: not fleet.hub._links)


# --- the others ---


async def test_a_node_that_dials_in_a_loop_holds_no_place_but_its_own(fleet: Fleet) -> None:
    """While a session of it enters, one more may wait; and who makes way is given no appointment."""
    slot = fleet.hub._slots.setdefault("mallory", _Slot())
    appointment = fleet.hub._places._next_s
    async with AsyncExitStack() as stack:
        await slot.entering.acquire()  # as long as an older session of it that is slow to end
        entering = [await stack.enter_async_context(an_intruder(fleet, "mallory")) for _ in range(5)]
        for intruder in entering:
            await intruder.hello()
            await eventually(lambda i=intruder: slot.waiting is not None or i.ended.is_set())
        closed = [await intruder.closed() for intruder in entering[:-1]]
        assert {close.code for close in closed} == {CloseCode.FENCED}
        assert len(fleet.hub._places) == 0
        slot.entering.release()
        await entering[-1].hear(Welcome)
        assert len(fleet.hub._places) == 1
        assert fleet.hub._places._next_s == appointment
    await eventually(lambda: not fleet.hub._slots)


async def test_what_a_node_tells_is_worked_out_with_pauses_in_between(fleet: Fleet) -> None:
    position = await fleet.store.enter("mallory", "i", hub="")
    advance = Advance(node="mallory", incarnation="i", session=position.session, covered=())
    pauses: list[str] = []

    async def pause() -> None:
        """Somebody else writes the object once meanwhile: it is worked out again, and in one go."""
        if not pauses:
            await fleet.update("configmaps", "ours", lambda obj: {**obj, "data": {"theirs": "1"}})
        pauses.append("")

    def effect(number: int) -> Effect:
        def told(obj: JsonObject) -> JsonObject:
            return {**obj, "data": {**map_at(obj, "data"), f"n{number}": ""}}

        key = Key("configmaps", "ns", "ours")
        return Effect(kind=fleet.kind("configmaps"), key=key, uid="", subresource="", transform=told)

    await fleet.objects.report(advance, [effect(number) for number in range(20)], [], pause=pause)
    assert len(pauses) == 20
    held = map_at(fleet.now("configmaps", "ours", "ns"), "data")
    assert set(held) == {"theirs", *(f"n{number}" for number in range(20))}, "nothing of either is lost"


async def test_a_node_that_found_no_place_leaves_nothing_behind() -> None:
    settings = replace(SETTINGS, places=replace(QUICK, places=1))
    async with a_fleet(settings=settings) as fleet:
        assert fleet.hub._places.take("somebody", SystemClock().monotonic_s())
        async with an_intruder(fleet, "mallory") as intruder:
            await intruder.hello()
            assert (await intruder.closed()).code == CloseCode.BUSY
        await eventually(lambda: not fleet.hub._slots)


async def test_a_node_that_floods_does_not_hold_up_the_others(fleet: Fleet) -> None:
    """Others' changes arrive while one node sends frames that are dear to read and to answer."""
    async with (
        fleet.gateway("alice") as alice,
        an_intruder(fleet, "mallory") as intruder,
    ):
        await eventually(lambda: alice.link.connected)
        await intruder.welcomed()
        floods = [
            asyncio.create_task(_flood_with_roots(intruder)),
            asyncio.create_task(_flood_with_reports(intruder)),
        ]
        try:
            for number in range(5):
                await fleet.update("configmaps", "theirs", lambda obj, n=number: {**obj, "data": {"n": str(n)}})
                wanted = f'"n":"{number}"'.encode()
                await eventually(lambda w=wanted: w in _held(alice.store.get(Key("configmaps", "ns", "theirs"))))
            assert alice.link.connected
        finally:
            for flood in floods:
                flood.cancel()
            await asyncio.gather(*floods, return_exceptions=True)


def _held(held: object) -> bytes:
    return getattr(held, "body", b"")


async def _flood_with_roots(intruder: Intruder) -> None:
    while not intruder.ended.is_set():
        await intruder.say(Compare(root=1))


async def _flood_with_reports(intruder: Intruder) -> None:
    seq = 1
    while not intruder.ended.is_set():
        batch = [Report(seq=seq + at, kind="event", key="", body=b"{}", wall_ms=0, age_ms=0) for at in range(200)]
        seq += 200
        await intruder.say(Reports(reports=tuple(batch)))
        await intruder.until(
            lambda n=seq: any(isinstance(frame, Receipt) and frame.through >= n - 1 for frame in intruder.heard)
        )

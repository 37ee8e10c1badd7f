"""Mirrors of static pods: made, kept and let go of at a cloud that is reached now and then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgecore.pods.static.directory import StaticPods
from edgecore.pods.static.mirror_plan import Drop, Make, check, plan
from edgecore.pods.static.mirrors import MirrorParts, Mirrors
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock, SeededIds
from skerry.errors import BadRequestError, UnavailableError
from skerry.objects.cloud_calls import CallHead, CloudAnswer
from skerry.objects.json import JsonObject, decode_object, encode_object, maps_at, str_at
from skerry.objects.meta import Key, Revision, Stamp, annotations_of, being_deleted, name_of, uid_of
from skerry.objects.mirror_pods import mirror_of
from tests.edgecore.pods.static.test_directory import web
from tests.edgecore.pods.static.test_running import KEY, static

NODE = Key("nodes", "", "gate-1")


class Cloud:
    """Does what it is asked, and shows it to the gateway as a session would."""

    def __init__(self, store: AsyncEdgeStore) -> None:
        self._store = store
        self.asked: list[str] = []
        self.refusal: CloudAnswer | None = None
        self.gone = False
        self._made = 0

    async def ask(self, head: CallHead, body: bytes = b"") -> CloudAnswer:
        assert head.own
        self.asked.append(head.method)
        if self.gone:
            raise UnavailableError("no link")
        if self.refusal is not None:
            return self.refusal
        said = decode_object(body)
        if head.method == "DELETE":
            name = head.path.rpartition("/")[2]
            await self._store.apply(EdgeBatch(deletes=(Key("pods", "default", name),)))
            return CloudAnswer(code=200)
        await self.show(said)
        return CloudAnswer(code=201)

    async def show(self, pod: JsonObject) -> None:
        self._made += 1
        metadata: Any = pod["metadata"]
        metadata["uid"] = f"m-{self._made}"
        key = Key("pods", "default", name_of(pod))
        held = Held(key=key, stamp=Stamp(uid_of(pod), Revision(self._made)), body=encode_object(pod))
        await self._store.apply(EdgeBatch(puts=(held,)))


class Gateway:
    def __init__(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "pods"
        self.directory.mkdir()
        self.clock = ManualClock()
        self.store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=self.clock))
        self.cloud = Cloud(self.store)
        self.files = StaticPods(self.directory, tmp_path / "kept", node="gate-1", clock=self.clock)
        self.connected = True
        self.mirrors = Mirrors(
            MirrorParts(
                files=self.files,
                store=self.store,
                calls=self.cloud,
                node="gate-1",
                clock=self.clock,
                ids=SeededIds(1),
                in_step=lambda: self.connected,
                connected=lambda: self.connected,
            )
        )

    def write(self, text: str, file: str = "web.yaml") -> None:
        path = self.directory / file
        path.write_text(text)
        path.chmod(0o600)

    def shown(self) -> list[str]:
        return [
            annotations_of(decode_object(each.body)).get("kubernetes.io/config.mirror", "")
            for each in self.store.list("pods")
        ]

    def wanted(self) -> list[str]:
        return [each.uid for each in self.files.pods.values()]

    def events(self) -> list[str]:
        waiting = [decode_object(each.body) for each in self.store.outbox(after=0, limit=100)]
        return [str_at(each, "message") for each in waiting]

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        node = Held(key=NODE, stamp=Stamp("n-1", Revision(1)), body=encode_object({"metadata": {"uid": "n-1"}}))
        await self.store.apply(EdgeBatch(puts=(node,)))
        tasks = [asyncio.create_task(self.mirrors.run()), asyncio.create_task(self.files.run())]
        try:
            yield
            assert not any(task.done() for task in tasks), tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def until(level: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not level():
            await asyncio.sleep(0.005)


@pytest.fixture
def gate(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


async def test_what_a_file_wants_is_shown_changed_and_let_go_of(gate: Gateway) -> None:
    async with gate.running():
        gate.write(web())
        await until(lambda: gate.shown() and gate.shown() == gate.wanted())
        (held,) = gate.store.list("pods")
        (owner,) = maps_at(decode_object(held.body), "metadata", "ownerReferences")
        assert owner == {"apiVersion": "v1", "kind": "Node", "name": "gate-1", "uid": "n-1", "controller": True}
        before = gate.wanted()
        gate.write(web().replace("app:1", "app:2"))
        await until(lambda: gate.wanted() != before and gate.shown() == gate.wanted())
        (gate.directory / "web.yaml").unlink()
        await until(lambda: gate.shown() == [])
    assert gate.cloud.asked == ["POST", "DELETE", "POST", "DELETE"]


async def test_nothing_is_asked_without_a_link_and_all_of_it_with_one(gate: Gateway) -> None:
    gate.connected = False
    gate.write(web())
    async with gate.running():
        await until(gate.wanted)
        await asyncio.sleep(0.05)
        assert gate.cloud.asked == []
        gate.connected = True
        gate.mirrors.poke()
        await until(lambda: gate.shown() and gate.shown() == gate.wanted())


async def test_a_mirror_that_somebody_deletes_is_made_again(gate: Gateway) -> None:
    gate.write(web())
    async with gate.running():
        await until(gate.shown)
        going = decode_object(gate.store.list("pods")[0].body)
        metadata: Any = going["metadata"]
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        await gate.cloud.show(going)
        await until(lambda: gate.shown() and not being_deleted(decode_object(gate.store.list("pods")[0].body)))
        await gate.store.apply(EdgeBatch(deletes=(gate.store.list("pods")[0].key,)))  # a cloud that was restored
        await until(gate.shown)
        assert gate.cloud.asked[1:3] == ["DELETE", "POST"]


async def test_what_the_cloud_refuses_is_said_and_tried_again_later(gate: Gateway) -> None:
    message = encode_object({"message": 'namespaces "shop" not found'})
    gate.cloud.refusal = CloudAnswer(code=404, body=message)
    gate.write(web())
    async with gate.running():
        await until(gate.mirrors.refusals)
        (why,) = gate.mirrors.refusals().values()
        assert why == 'namespaces "shop" not found'
        gate.cloud.refusal = None
        gate.clock.advance(5)
        await until(gate.shown)
        await until(lambda: not gate.mirrors.refusals())


async def test_a_file_that_is_wrong_is_told_once_as_an_event_of_the_node(gate: Gateway) -> None:
    gate.write("kind: Pod", "bad.yaml")
    async with gate.running():
        await until(gate.events)
        gate.mirrors.poke()
        await asyncio.sleep(0.05)
    assert gate.events() == ["bad.yaml: apiVersion: null is there, and a static pod has v1"]


def test_a_mirror_of_a_pod_that_ends_stays_until_it_has_ended() -> None:
    mirror = mirror_of(static().pod, "n")
    metadata: Any = mirror["metadata"]
    metadata["uid"] = "m-1"
    held = [mirror]
    assert list(plan({}, held, lambda _uid: True)) == []
    assert list(plan({}, held, lambda _uid: False)) == [(KEY, (Drop(key=KEY, uid="m-1"),))]


def test_a_pod_of_the_clouds_own_is_left_alone() -> None:
    own: JsonObject = {"metadata": {"name": KEY.name, "namespace": "default", "uid": "c"}, "spec": {}}
    assert list(plan({KEY: static()}, [own], lambda _uid: False)) == []
    assert list(plan({KEY: static()}, [], lambda _uid: False)) == [(KEY, (Make(static=static()),))]


def test_letting_go_of_what_is_gone_is_no_fault() -> None:
    drop = Drop(key=KEY, uid="m-1")
    check(drop, CloudAnswer(code=404))
    check(drop, CloudAnswer(code=409))
    with pytest.raises(BadRequestError, match="the cloud answers 500"):
        check(drop, CloudAnswer(code=500, body=b"<html>"))

"""A gateway that asks for leases of its pods, and what it does without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgecore.agent import COPIED
from edgecore.pods.leases import META_LEASES, PodLeases
from edgecore.pods.manager import PodManager
from edgecore.pods.port import ContainerSpec, ContainerState, ContainerUsage, SandboxSpec, SandboxState
from edgecore.pods.records import PodRecord
from edgecore.pods.runtimes.fake import FakeRuntime
from edgecore.store.held_copy import HeldCopy, restore
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.objects.json import Json, JsonObject, decode_object, map_at, str_at
from skerry.objects.meta import Key, with_annotations
from skerry.objects.pod_leases import LEASE, LEASES, UNTOLD, Question, answer, untold_mark
from skerry.ports import Pipe
from tests.edgecore.pods.pods_of import body_of, container, key_of, pod, stamp_of
from tests.edgecore.pods.stage import Gateway, eventually, going


class Answering:
    """The cloud's end of one stream."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._answers: list[bytes] = []

    async def write(self, data: bytes) -> None:
        question = Question.decode(data)
        uids = list(question.pods)
        self._cloud.asked.append(uids)
        self._cloud.untold.append(dict(question.untold))
        self._answers.append(answer(dict.fromkeys(uids, self._cloud.left_ms)))

    async def read(self) -> bytes:
        await self._cloud.mute.wait()
        return self._answers.pop() if self._answers else b""


class Cloud:
    """A link to a region's cloud that lends for as long as it is told to; None: it is not there."""

    def __init__(self) -> None:
        self.left_ms = 60_000
        self.there = True
        self.mute = asyncio.Event()
        """Cleared while it does not answer."""
        self.mute.set()
        self.asked: list[list[str]] = []
        self.untold: list[dict[str, str]] = []
        self.leases: PodLeases | None = None

    @asynccontextmanager
    async def pipe(self, kind: str, params: bytes) -> AsyncGenerator[Pipe]:
        assert kind == LEASES
        if not self.there:
            raise UnavailableError("no link")
        yield Answering(self)  # type: ignore[misc]

    def back(self) -> None:
        self.there = True
        if self.leases is not None:
            self.leases.welcomed()


class SlowRuntime(FakeRuntime):
    """In whose sandboxes, or first containers, a lease comes to its end."""

    def __init__(self, stage: Stage, slow: str) -> None:
        super().__init__(stage.clock, containers=stage.containers)
        self._stage, self._slow = stage, slow

    def _lasts(self, step: str) -> None:
        if step == self._slow:
            self._slow = ""
            self._stage.cloud.there = False
            self._stage.clock.advance(120)

    async def run_sandbox(self, spec: SandboxSpec) -> SandboxState:
        self._lasts("sandbox")
        return await super().run_sandbox(spec)

    async def start(self, spec: ContainerSpec) -> ContainerState:
        self._lasts("start")
        return await super().start(spec)


class HangingRuntime(FakeRuntime):
    """Whose start of one container waits until it is let go, and has then run for a while already."""

    def __init__(self, stage: Stage, slow: str) -> None:
        super().__init__(stage.clock, containers=stage.containers)
        self.slow, self.hangs, self.go = slow, asyncio.Event(), asyncio.Event()

    async def start(self, spec: ContainerSpec) -> ContainerState:
        if spec.name != self.slow:
            return await super().start(spec)
        self.hangs.set()
        await self.go.wait()
        started = await super().start(spec)
        await asyncio.sleep(0)
        return started


class FaultyRuntime(FakeRuntime):
    """That can't say what is used."""

    def __init__(self, stage: Stage, fault: Exception) -> None:
        super().__init__(stage.clock, containers=stage.containers)
        self.fault, self.uses = fault, 0

    async def usage(self) -> Sequence[ContainerUsage]:
        self.uses += 1
        raise self.fault


class PatientRuntime(FakeRuntime):
    """Whose containers run until they are let go."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.clock, containers=stage.containers)
        self.asked: list[tuple[str, float]] = []
        self.go = asyncio.Event()

    async def stop(self, container_id: str, *, grace_s: float) -> None:
        self.asked.append((container_id, grace_s))
        await self.go.wait()
        await super().stop(container_id, grace_s=grace_s)


class Stage(Gateway):
    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        self.containers: dict[str, ContainerState] = {}
        self.runtime = FakeRuntime(self.clock, containers=self.containers)
        self.cloud = Cloud()
        self.boot("one")

    def boot(self, boot_id: str) -> None:
        self.lent = self.cloud.leases = PodLeases(self.store, self.clock, boot_id, self.cloud)

    def runs(self) -> bool:
        return any(each.phase == "running" for each in self.containers.values())


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.store.close()


def held_of(obj: JsonObject) -> Held:
    return Held(key=key_of(obj), stamp=stamp_of(obj), body=body_of(obj))


def lent_pod(untold: str = "") -> JsonObject:
    """`untold`: told by chance from other marks of the same pod, which ran before it was lent."""
    mark = {UNTOLD: untold_mark(60, untold)} if untold else {}
    return with_annotations(pod(container()), {LEASE: "north.row", **mark})


async def late(stage: Stage, *, asked: bool) -> None:
    """A pod runs, and is marked then: with a question that has no answer, or before any."""
    stage.cloud.there = asked
    stage.cloud.mute.clear()
    await stage.put(pod(container()))
    await eventually(stage.runs)
    await stage.put(lent_pod("x"))
    if asked:
        await eventually(lambda: stage.cloud.untold == [{"uid-1": "60/x"}])


def look(stage: Stage, pods: PodManager, ahead_s: float) -> None:
    stage.clock.advance(ahead_s)
    pods.wake("uid-1")


async def test_a_pod_runs_once_it_is_lent_and_stops_by_itself_when_nobody_answers(stage: Stage) -> None:
    stage.cloud.there = False
    async with stage.running() as pods:
        await stage.put(lent_pod())
        await eventually(lambda: stage.waiting() is not None)
        assert not stage.runs()
        stage.cloud.back()
        await eventually(stage.runs)
        stage.cloud.there = False
        stage.clock.advance(59)
        pods.wake("uid-1")
        assert stage.runs()
        stage.clock.advance(1)
        pods.wake("uid-1")
        await eventually(lambda: not stage.runs())
        await eventually(lambda: str_at(stage.status(), "reason") == "LeaseEnded")
        await eventually(lambda: "LeaseEnded" in stage.reasons())
        stage.cloud.back()
        await eventually(stage.runs)


@pytest.mark.parametrize(("slow", "begun"), [("sandbox", 0), ("start", 1)])
async def test_nothing_is_begun_after_a_lease_that_ended_while_something_else_took_its_time(
    stage: Stage, slow: str, begun: int
) -> None:
    stage.runtime = SlowRuntime(stage, slow)
    two = with_annotations(pod(container(), container("other")), {LEASE: "north.row"})
    async with stage.running():
        await stage.put(two)
        await eventually(lambda: not stage.cloud.there)
        await eventually(lambda: str_at(stage.status(), "reason") == "LeaseEnded")
        await eventually(lambda: not stage.runs())
        assert len(stage.containers) == begun


async def test_what_runs_ends_with_its_lease_while_the_worker_waits_for_a_start(stage: Stage) -> None:
    runtime = stage.runtime = HangingRuntime(stage, "slow")
    two = with_annotations(pod(container(), container("slow")), {LEASE: "north.row"})
    async with stage.running():
        await stage.put(two)
        await asyncio.wait_for(runtime.hangs.wait(), 10)
        assert stage.runs()
        stage.cloud.there = False
        stage.clock.advance(60)
        await eventually(lambda: not stage.runs())
        assert runtime.stops == [("app", 30.0)]
        runtime.go.set()
        await eventually(lambda: [name for name, _ in runtime.stops] == ["app", "slow"])
        await eventually(lambda: str_at(stage.status(), "reason") == "LeaseEnded")
        assert not stage.runs()
        await eventually(lambda: stage.reasons().count("Killing") == 2)
        assert stage.reasons().count("LeaseEnded") == 1


async def test_a_lease_ends_in_time_while_an_answer_is_waited_for(stage: Stage) -> None:
    runtime = stage.runtime = FakeRuntime(stage.clock, containers=stage.containers)
    async with stage.running():
        await stage.put(lent_pod())
        await eventually(stage.runs)
        stage.cloud.mute.clear()
        asked = len(stage.cloud.asked)
        stage.cloud.back()
        await eventually(lambda: len(stage.cloud.asked) > asked)
        stage.clock.advance(60)
        async with asyncio.timeout(5):  # an answer is waited for for ten
            await eventually(lambda: runtime.stops)


async def test_a_sidecar_that_began_long_after_the_lease_ended_has_a_moment(stage: Stage) -> None:
    runtime = stage.runtime = SlowRuntime(stage, "start")
    side: list[Json] = [container("side", restartPolicy="Always")]
    async with stage.running():
        await stage.put(with_annotations(pod(container(), initContainers=side), {LEASE: "north.row"}))
        await eventually(lambda: runtime.stops)
    assert runtime.stops == [("side", 2.0)], "its lease has been over for a minute"


@pytest.mark.parametrize("fault", [UnavailableError("no figures"), ValueError("a fault of ours")])
async def test_what_runs_ends_with_its_lease_though_its_worker_can_do_nothing(stage: Stage, fault: Exception) -> None:
    runtime = stage.runtime = FaultyRuntime(stage, fault)
    async with stage.running():
        await stage.put(lent_pod())
        await eventually(stage.runs)
        resources: JsonObject = {"limits": {"cpu": "1"}}
        await stage.put(with_annotations(pod(container("app", resources=resources)), {LEASE: "north.row"}))
        await eventually(lambda: runtime.uses)
        stage.cloud.there = False
        stage.clock.advance(60)
        await eventually(lambda: not stage.runs())
        assert runtime.stops == [("app", 30.0)]


async def test_a_deletion_leaves_what_is_not_lent_any_more_no_longer_grace_than_its_own(stage: Stage) -> None:
    runtime = stage.runtime = PatientRuntime(stage)
    async with stage.running() as pods:
        await stage.put(lent_pod())
        await eventually(stage.runs)
        await stage.put(going(lent_pod(), grace_s=3600))
        await eventually(lambda: runtime.asked == [("uid-1.app.0", 3600.0)])
        stage.clock.advance(30)
        assert stage.cloud.leases is not None
        await stage.cloud.leases.ask()
        look(stage, pods, 59)
        assert len(runtime.asked) == 1, "it was lent again"
        stage.cloud.there = False
        stage.clock.advance(1)
        await eventually(lambda: runtime.asked[1:] == [("uid-1.app.0", 30.0)])
        runtime.go.set()
        await eventually(lambda: not stage.runs())


@pytest.mark.parametrize(("away_s", "left_s"), [(5, 20.0), (29, 2.0), (600, 2.0)])
async def test_a_restart_of_the_agent_gives_what_is_not_lent_any_more_no_other_grace(
    stage: Stage, away_s: float, left_s: float
) -> None:
    """Its end counts, not what was written down of it when it was lent, nor when it is looked at first."""
    runtime = stage.runtime = PatientRuntime(stage)
    async with stage.running() as pods:
        await stage.put(lent_pod())
        await eventually(stage.runs)
        stage.clock.advance(20)  # renewed, and too soon to be written down
        assert stage.cloud.leases is not None
        await stage.cloud.leases.ask()
        stage.cloud.there = False
        before = stage.store.meta(META_LEASES)
        look(stage, pods, 65)
        await eventually(lambda: runtime.asked)
        assert runtime.asked == [("uid-1.app.0", 25.0)]
        await eventually(lambda: stage.store.meta(META_LEASES) != before)
    runtime = stage.runtime = PatientRuntime(stage)
    stage.boot("one")
    stage.clock.advance(away_s)
    async with stage.running():
        await eventually(lambda: runtime.asked)
        assert runtime.asked == [("uid-1.app.0", left_s)]
        runtime.go.set()
        await eventually(lambda: not stage.runs())


async def test_what_ended_is_written_down_as_it_ended(stage: Stage) -> None:
    async with asking(stage):
        await stage.put(lent_pod())
        await eventually(lambda: stage.store.meta(META_LEASES))
        first = stage.store.meta(META_LEASES)
        stage.clock.advance(20)
        assert stage.cloud.leases is not None
        await stage.cloud.leases.ask()
        assert stage.store.meta(META_LEASES) == first, "flash wears"
        stage.cloud.there = False
        stage.clock.advance(61)
        await eventually(lambda: stage.store.meta(META_LEASES) != first)
        stage.boot("one")
        assert stage.lent.over_s(lent_pod()) == 1.0


async def test_of_a_pod_that_was_forced_away_no_lease_is_told_to_have_ended(stage: Stage) -> None:
    runtime = stage.runtime = PatientRuntime(stage)
    async with stage.running() as pods:
        await stage.put(lent_pod())
        await eventually(stage.runs)
        stage.cloud.there = False
        await stage.delete(lent_pod())
        await eventually(lambda: runtime.asked)
        look(stage, pods, 120)
        runtime.go.set()
        await eventually(lambda: stage.store.pod("uid-1") is None)
    assert "Killing" in stage.reasons() and "LeaseEnded" not in stage.reasons()


async def test_a_pod_that_is_not_lent_is_nobodys_to_stop(stage: Stage) -> None:
    stage.cloud.there = False
    async with stage.running():
        await stage.put(pod(container()))
        await eventually(stage.runs)
    assert stage.cloud.asked == []


async def test_after_a_restart_of_the_agent_it_goes_on_and_after_a_boot_it_waits_for_an_answer(stage: Stage) -> None:
    async with stage.running():
        await stage.put(lent_pod())
        await eventually(stage.runs)
    stage.cloud.there = False
    stage.boot("one")
    stage.clock.advance(10)
    async with stage.running() as pods:
        await asyncio.wait_for(pods.begun.wait(), 10)
        assert stage.runs()
    stage.boot("two")
    async with stage.running():
        await eventually(lambda: not stage.runs())
        stage.cloud.back()
        await eventually(stage.runs)


async def test_a_mark_that_comes_late_stops_nothing(stage: Stage) -> None:
    async with stage.running() as pods:
        await late(stage, asked=False)
        look(stage, pods, 10_000)
        stage.cloud.mute.set()
        stage.cloud.back()
        await eventually(lambda: stage.cloud.asked)
        await stage.put(lent_pod())
        await eventually(lambda: '"uid-1"' in (stage.store.meta(META_LEASES) or ""))
        assert stage.runs()
    assert stage.containers["uid-1.app.0"].phase == "running", "nor restarts it"


async def test_an_answer_that_is_lost_leaves_what_the_mark_says_from_the_first_question_on(stage: Stage) -> None:
    async with stage.running() as pods:
        await late(stage, asked=True)
        stage.cloud.there = False
        look(stage, pods, 59)
        assert stage.runs()
        await stage.put(lent_pod())  # the question has arrived
        look(stage, pods, 0)
        assert stage.runs()
        look(stage, pods, 1)
        await eventually(lambda: not stage.runs())


async def test_a_mark_that_goes_before_the_answer_and_comes_back_has_no_more_time(stage: Stage) -> None:
    async with stage.running() as pods:
        await late(stage, asked=True)
        stage.cloud.there = False
        await stage.put(pod(container()))
        look(stage, pods, 100)
        assert stage.runs(), "it is not lent any more"
        await stage.put(lent_pod("y"))
        look(stage, pods, 100)
        assert stage.runs(), "nobody was asked by this mark"
        await stage.put(lent_pod("x"))
        await eventually(lambda: not stage.runs())


async def test_after_a_restart_of_the_agent_the_first_question_counts(stage: Stage) -> None:
    async with stage.running():
        await late(stage, asked=True)
    stage.cloud.there = False
    stage.boot("one")
    async with stage.running() as pods:
        await asyncio.wait_for(pods.begun.wait(), 10)
        look(stage, pods, 59)
        assert stage.runs()
        look(stage, pods, 1)
        await eventually(lambda: not stage.runs())


async def test_after_a_boot_what_was_asked_for_waits_for_an_answer(stage: Stage) -> None:
    async with stage.running():
        await late(stage, asked=True)
    stage.cloud.there = False
    stage.boot("two")
    async with stage.running():
        await eventually(lambda: not stage.runs())
        stage.cloud.mute.set()
        stage.cloud.back()
        await eventually(stage.runs)


async def test_what_was_marked_and_never_asked_for_goes_on_after_a_restart_and_after_a_boot(stage: Stage) -> None:
    async with stage.running():
        await late(stage, asked=False)
    for boot in ("one", "two"):
        stage.boot(boot)
        async with stage.running() as pods:
            await asyncio.wait_for(pods.begun.wait(), 10)
            assert stage.runs()


async def test_a_store_that_was_filled_from_its_copy_forgets_no_lease(stage: Stage, tmp_path: Path) -> None:
    async with stage.running():
        await late(stage, asked=True)
        other = with_annotations(pod(uid="uid-2", name="other"), {LEASE: "north.row"})
        await stage.put(other)
        stage.cloud.mute.set()
        await eventually(lambda: '"uid-2"' in (stage.store.meta(META_LEASES) or ""))
    path = tmp_path / "held.copy"
    assert await HeldCopy(path, "gate-1", stage.store, stage.clock, COPIED).write()
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="another", clock=stage.clock))
    await restore(path, "gate-1", store)
    leases = PodLeases(store, stage.clock, "one", stage.cloud)
    stage.clock.advance(30)
    assert leases.left_s(other) == 30
    assert leases.left_s(lent_pod()) == 30
    store.close()
    # A copy that is older than the question: whether there was one is forgotten.
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="a third", clock=stage.clock))
    await store.apply(EdgeBatch(puts=(held_of(lent_pod("x")),)))
    leases = PodLeases(store, stage.clock, "one", stage.cloud)
    assert leases.left_s(lent_pod("x")) == 0
    assert leases.left_s(lent_pod("y")) is None, "that mark is news from the cloud"
    store.close()


@asynccontextmanager
async def asking(stage: Stage) -> AsyncGenerator[None]:
    """Without pods that run."""
    task = asyncio.create_task(stage.lent.run(lambda _: None, lambda _: None))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_is_written_down_is_not_written_with_each_answer(stage: Stage) -> None:
    lent = stage.cloud.leases
    assert lent is not None
    await stage.put(lent_pod())
    async with asking(stage):
        await eventually(lambda: stage.store.meta(META_LEASES))
        first = stage.store.meta(META_LEASES) or ""
        stage.clock.advance(5)
        await lent.ask()
        assert stage.store.meta(META_LEASES) == first
        stage.clock.advance(30)
        await lent.ask()
        assert stage.store.meta(META_LEASES) != first
        ends = map_at(decode_object((stage.store.meta(META_LEASES) or "").encode()), "endsMs")
        assert list(ends) == ["uid-1"]


async def test_what_was_written_down_and_makes_no_sense_lends_nothing(stage: Stage) -> None:
    await stage.store.apply(EdgeBatch(meta=((META_LEASES, "{not json"),)))
    assert PodLeases(stage.store, stage.clock, "one", stage.cloud).left_s(lent_pod()) == 0


async def test_of_what_is_over_nobody_asks_any_more_and_of_what_goes_its_gateway_does(stage: Stage) -> None:
    pods = {uid: with_annotations(pod(uid=uid, name=uid), {LEASE: "north.row"}) for uid in ("over", "goes", "stays")}
    async with asking(stage):
        for each in pods.values():
            await stage.put(each)
        await eventually(lambda: ["goes", "over", "stays"] in stage.cloud.asked)
        await stage.put(going(pods["goes"], grace_s=0))
        record = PodRecord.new(Key("pods", "default", "over"), now_ms=1, grace_s=0)
        over = replace(record, status={"phase": "Succeeded"})
        await stage.store.apply(EdgeBatch(pods=(("over", over.encode()),)))
        stage.cloud.back()
        await eventually(lambda: stage.cloud.asked[-1] == ["goes", "stays"])
        await stage.put(pods["over"])  # as the cloud has it: it does not know yet
        stage.cloud.asked.clear()
        stage.cloud.back()
        await eventually(lambda: stage.cloud.asked)
        assert stage.cloud.asked[-1] == ["goes", "stays"]

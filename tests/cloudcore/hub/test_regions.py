"""What a region may say, and what comes to nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from cloudcore.hub.bounds import Bounds, BoundSettings
from cloudcore.hub.flapping import GRACE_S
from cloudcore.hub.regions import (
    CLOCK_MS_MAX,
    REPORT_BYTES_MAX,
    TRUST,
    MemberView,
    RegionHub,
    RegionKinds,
    RegionParts,
    RegionReporter,
    by_our_clock,
)
from cloudcore.hub.sessions import NodeSession
from cloudcore.store.port import Advance
from skerry.errors import ProtocolError, UnavailableError
from skerry.objects.enrolment import NODE_AUTHORITY_ANNOTATION
from skerry.objects.federation import (
    MEMBER_OBJECTS,
    MEMBERS,
    MEMBERSHIP_ID,
    NAMESPACE,
    is_ready,
    membership_of,
)
from skerry.objects.json import str_at
from skerry.objects.meta import Key
from skerry.objects.times import ms_at, time_text
from skerry.sync.effects import DatedReport
from skerry.wire.frames import Report
from tests.cloudcore.hub.fleet import eventually
from tests.cloudcore.worlds import World, make_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as made:
        yield made


def said(world: World, key: str, body: Any, kind: str = "member_object") -> Any:
    reporter = RegionReporter(
        member="north",
        kinds=RegionKinds(member=world.kind(MEMBERS), row=world.kind(MEMBER_OBJECTS)),
        cache=world.cache,
    )
    report = Report(seq=1, kind=kind, key=key, body=json.dumps(body).encode(), wall_ms=0, age_ms=0)
    return reporter.outcome(DatedReport(report=report, at_ms=0)).effects


async def test_a_region_speaks_of_its_own_rows_alone(world: World) -> None:
    with pytest.raises(ProtocolError, match="its own objects alone"):
        said(world, "south.abc", {"revision": 1})


async def test_a_region_says_that_a_lease_does_not_count_yet(world: World) -> None:
    (effect,) = said(world, "north.abc", {"revision": 3, "leasePending": True})
    assert effect.transform({})["status"]["leasePending"] is True


async def test_a_report_that_is_too_large_is_passed_over(world: World) -> None:
    with pytest.raises(ProtocolError, match="at most"):
        said(world, "north.abc", {"revision": 1, "message": "x" * REPORT_BYTES_MAX})


@pytest.mark.parametrize("body", [b"{not json", b"[]", b"[" * 100_000, b"", b'{"message": "\xff"}', b"1e999"])
async def test_a_report_that_makes_no_sense_is_refused_and_ends_no_session(world: World, body: bytes) -> None:
    kinds = RegionKinds(member=world.kind(MEMBERS), row=world.kind(MEMBER_OBJECTS))
    report = Report(seq=1, kind="member_object", key="r.a", body=body, wall_ms=0, age_ms=0)
    with pytest.raises(ProtocolError):
        RegionReporter(member="r", kinds=kinds, cache=world.cache).outcome(DatedReport(report=report, at_ms=0))


async def test_what_is_of_no_type_that_others_rely_on_is_left_out(world: World) -> None:
    (effect,) = said(world, "north.abc", {"revision": 3, "code": 7, "drift": "x", "remote": [1], "removed": "yes"})
    assert effect.transform({})["status"] == {"revision": 3, "observedAt": "1970-01-01T00:00:00Z"}


NOW_MS = 1_790_000_000_000
YEAR_MS = 31_536_000_000


@pytest.mark.parametrize("off_ms", [0, 5_000, 3_600_000, -3_600_000, YEAR_MS, -YEAR_MS, -NOW_MS])
async def test_when_something_drifted_is_told_by_the_clock_of_who_is_told(off_ms: int) -> None:
    """However wrong the region's is: it was a minute ago."""
    report = Report(seq=1, kind="member_object", key="r.a", body=b"", wall_ms=NOW_MS + off_ms, age_ms=0)
    there: Any = {"path": "/a", "at": time_text(NOW_MS + off_ms - 60_000)}
    (found,) = by_our_clock([there], DatedReport(report=report, at_ms=NOW_MS))
    told_ms = ms_at(str_at(found, "at"))
    assert abs(told_ms - (NOW_MS - 60_000)) <= CLOCK_MS_MAX and told_ms <= NOW_MS
    assert by_our_clock([{"at": "never"}], DatedReport(report=report, at_ms=NOW_MS)) == [{}]


async def test_what_is_said_of_an_older_wish_changes_nothing(world: World) -> None:
    (effect,) = said(world, "north.abc", {"revision": 3, "removed": True})
    newer = {"status": {"revision": 4}}
    lies = {"spec": {"revision": 3}, "status": {"revision": 4}}
    assert effect.transform(lies)["status"]["revision"] == 3, "there never was a 4"
    assert effect.transform(newer) is newer


async def test_a_view_has_the_rows_of_one_member_and_no_status(world: World) -> None:
    for member in ("north", "south"):
        spec = {"member": member, "revision": 5, "object": {"kind": "Secret"}}
        await world.create(MEMBER_OBJECTS, {"metadata": {"name": f"{member}.a"}, "spec": spec})
    view = MemberView(world.cache, "north")
    ((key, stamp),) = view.stamps()
    assert (key, stamp.revision) == (Key(MEMBER_OBJECTS, "", "north.a"), 5)
    await world.set_status(MEMBER_OBJECTS, "north.a", revision=5)
    assert dict(view.stamps()) == {key: stamp}, "what it reports is not sent back to it"
    state = view.state(key)
    assert state is not None
    assert b"status" not in state.body
    assert view.secret(key)
    assert view.state(Key(MEMBER_OBJECTS, "", "south.a")) is None


async def test_a_view_has_nothing_of_an_earlier_membership_under_its_name(world: World) -> None:
    await member(world)
    now = membership_of(world.get(MEMBERS, "north", NAMESPACE))
    for name, of in (("now", now), ("before", "another/"), ("older", None)):
        metadata: Any = {"name": f"north.{name}", "annotations": {} if of is None else {MEMBERSHIP_ID: of}}
        spec = {"member": "north", "revision": 5, "object": {"kind": "ConfigMap"}, "remove": "Delete"}
        await world.create(MEMBER_OBJECTS, {"metadata": metadata, "spec": spec})
    view = MemberView(world.cache, "north")
    assert {key.name for key, _ in view.stamps()} == {"north.now", "north.older"}
    assert view.state(Key(MEMBER_OBJECTS, "", "north.before")) is None


async def test_a_region_says_that_it_leaves_and_is_a_member_again_when_it_speaks(world: World) -> None:
    await member(world)
    (left,) = said(world, "self", {"left": True}, "member")
    before: Any = {"status": {"region": "eu", "objects": {"wanted": 3}}}
    after = left.transform(before)
    assert after["status"] == {**before["status"], "leftAt": "1970-01-01T00:00:00Z"}
    (again,) = said(world, "self", {"region": "eu", "left": "no"}, "member")
    assert "leftAt" not in again.transform(after)["status"]


# --- who is heard ---


class FakeSession:
    """As much of a session as its hub looks at."""

    def __init__(self, number: int = 1, member: str = "north") -> None:
        self.node = f"region/{member}"
        self.spoke_s: float | None = None
        self.peer_key = ""
        self.fence = Advance(node=self.node, incarnation="i", session=number, covered=())
        self.closed: str | None = None

    def close(self, code: int, reason: str, *, retry_after_s: float = 0.0) -> None:
        self.closed = reason


class Refusing:
    """Objects that can't be written for a while."""

    def __init__(self, objects: Any) -> None:
        self._objects = objects
        self.refusals = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    async def update(self, *args: Any, **more: Any) -> Any:
        if self.refusals > 0:
            self.refusals -= 1
            raise UnavailableError("the disk is full")
        return await self._objects.update(*args, **more)


def hub_of(world: World, objects: Any = None, **more: Any) -> RegionHub:
    bounds = Bounds(clock=world.clock, events_of=lambda _: 0, messages_of=lambda _: (0, 0), settings=BoundSettings())
    return RegionHub(
        RegionParts(
            store=world.store,
            cache=world.cache,
            objects=objects or world.objects,
            clock=world.clock,
            bounds=bounds,
            kinds=RegionKinds(member=world.kind(MEMBERS), row=world.kind(MEMBER_OBJECTS)),
            **more,
        )
    )


async def arrive(hub: RegionHub, session: FakeSession) -> None:
    assert await hub.enter(cast(NodeSession, session))
    session.spoke_s = 0.0
    hub.heard(cast(NodeSession, session))


@asynccontextmanager
async def running(*hubs: RegionHub) -> AsyncGenerator[None]:
    tasks = [asyncio.create_task(hub.run()) for hub in hubs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def member(world: World) -> None:
    await world.create("namespaces", {"metadata": {"name": NAMESPACE}})
    await world.create(MEMBERS, {"metadata": {"name": "north"}, "spec": {"syncMode": "Pull"}}, NAMESPACE)


def ready(world: World) -> bool:
    return is_ready(world.get(MEMBERS, "north", NAMESPACE))


async def test_that_a_region_is_heard_is_written_when_it_can_be(world: World) -> None:
    await member(world)
    objects = Refusing(world.objects)
    objects.refusals = 2
    hub = hub_of(world, objects)
    await arrive(hub, FakeSession())
    for _ in range(2):
        await hub.note()
        assert not ready(world)
    await hub.note()
    assert ready(world)


async def test_one_that_cannot_be_noted_keeps_no_other_from_being(world: World) -> None:
    await member(world)
    hub = hub_of(world, Refusing(world.objects))
    await arrive(hub, FakeSession(member="gone"))  # no KubeFedCluster any more
    await arrive(hub, FakeSession())
    await hub.note()
    assert ready(world)


async def test_who_is_at_another_hub_that_lives_is_not_silent_and_is_when_that_ends(world: World) -> None:
    await member(world)
    alive = {"a", "b"}
    here, there = (hub_of(world, hub=name, lives=alive.__contains__) for name in "ab")
    async with running(here, there):
        await world.store.enter("region/north", "i", hub="a")
        await arrive(here, FakeSession())
        await eventually(lambda: ready(world), "it is heard")
        for _ in range(4):
            world.clock.advance(GRACE_S)
            await there.note()
            assert ready(world), "its session is elsewhere"
        alive.remove("a")
        world.clock.advance(GRACE_S + 1)
        await there.note()
        await eventually(lambda: not ready(world), "nobody has it any more")


async def test_a_hub_contradicts_who_says_that_a_region_of_its_own_is_silent(world: World) -> None:
    await member(world)
    here, there = hub_of(world, hub="a", lives=lambda _: True), hub_of(world, hub="b", lives=lambda _: False)
    async with running(here):
        await arrive(here, FakeSession())
        await eventually(lambda: ready(world), "it is heard")
        async with running(there):
            await eventually(lambda: there.waiting, "it looks")
            world.clock.advance(GRACE_S + 1)
            await there.note()
        await eventually(lambda: ready(world), "it is heard again")


async def test_a_session_that_moved_to_another_hub_ends_here(world: World) -> None:
    await member(world)
    hub = hub_of(world, hub="a", lives=lambda _: True)
    session = FakeSession()
    async with running(hub):
        await world.store.enter("region/north", "i", hub="a")
        await arrive(hub, session)
        await world.store.enter("region/north", "i", hub="b")
        await eventually(lambda: session.closed, "the session is fenced")
    assert session.closed == "a newer session of this region is at hub b"


async def test_a_hub_that_others_take_for_dead_serves_no_region(world: World) -> None:
    await member(world)
    believed = True
    hub = hub_of(world, hub="a", lives=lambda _: True, holds=lambda: believed)
    session = FakeSession()
    async with running(hub):
        await arrive(hub, session)
        hub.look_at_own()
        assert session.closed is None
        believed = False
        hub.look_at_own()
        assert session.closed == "this hub is cut off from its store"
        with pytest.raises(UnavailableError):
            await hub.enter(cast(NodeSession, FakeSession(2)))


# --- authorities ---


async def test_whose_certificate_a_region_has_is_noted(world: World) -> None:
    await member(world)
    hub = hub_of(world, authorities={"aa": "first"})
    await hub.met(FakeSession().fence, issuer="aa")
    annotations = world.get(MEMBERS, "north", NAMESPACE)["metadata"]["annotations"]
    assert annotations[NODE_AUTHORITY_ANNOTATION] == "first"


async def test_a_region_is_told_whom_to_trust(world: World) -> None:
    await world.create("namespaces", {"metadata": {"name": "kube-system"}})
    await world.create("configmaps", {"metadata": {"name": TRUST.name}, "data": {"ca.crt": "PEM"}}, "kube-system")
    view = MemberView(world.cache, "north")
    ((key, _),) = view.stamps()
    state = view.state(key)
    assert state is not None
    assert json.loads(state.body) == {"data": {"ca.crt": "PEM"}}

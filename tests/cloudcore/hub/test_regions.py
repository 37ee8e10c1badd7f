"""What a region may say, and what comes to nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.hub.regions import REPORT_BYTES_MAX, MemberView, RegionKinds, RegionReporter
from skerry.errors import ProtocolError
from skerry.objects.federation import MEMBER_OBJECTS, MEMBERS
from skerry.objects.meta import Key
from skerry.sync.effects import DatedReport
from skerry.wire.frames import Report
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


async def test_a_report_that_is_too_large_is_passed_over(world: World) -> None:
    with pytest.raises(ProtocolError, match="at most"):
        said(world, "north.abc", {"revision": 1, "message": "x" * REPORT_BYTES_MAX})


async def test_what_is_of_no_type_that_others_rely_on_is_left_out(world: World) -> None:
    (effect,) = said(world, "north.abc", {"revision": 3, "code": 7, "drift": "x", "remote": [1], "removed": "yes"})
    assert effect.transform({})["status"] == {"revision": 3, "observedAt": "1970-01-01T00:00:00Z"}


async def test_what_is_said_of_an_older_wish_changes_nothing(world: World) -> None:
    (effect,) = said(world, "north.abc", {"revision": 3, "removed": True})
    newer = {"status": {"revision": 4}}
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

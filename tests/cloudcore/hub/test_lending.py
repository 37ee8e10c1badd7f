"""For how much longer gateways are told that they may run what must never run twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.hub.lending import PodLending
from skerry.errors import BadRequestError, UnavailableError
from skerry.objects.federation import REGION_OBJECTS
from skerry.objects.json import encode_object
from skerry.objects.pod_leases import LEASE, PODS_MAX, UNTOLD, Question, left_of
from skerry.transport.inside import pipe_pair
from tests.cloudcore.hub.fleet import eventually
from tests.cloudcore.worlds import World, make_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as made:
        yield made


@pytest.fixture
async def lending(world: World) -> PodLending:
    await world.create(REGION_OBJECTS, {"metadata": {"name": "r.a"}, "spec": {"leaseSeconds": 60}})
    await world.create(
        REGION_OBJECTS, {"metadata": {"name": "r.b"}, "spec": {"leaseSeconds": 60, "remove": "Delete"}}
    )
    return PodLending(world.cache, world.objects, world.kind("pods"), world.clock)


async def a_pod(world: World, name: str, node: str = "gate", row: str = "r.a", **notes: str) -> str:
    annotations: Any = {**({LEASE: row} if row else {}), **notes}
    metadata = {"name": name, "annotations": annotations}
    made = await world.create("pods", {"metadata": metadata, "spec": {"nodeName": node}})
    return made["metadata"]["uid"]


async def leading(lending: PodLending, ago_s: float | None, uids: list[str], untold: str = "") -> dict[str, int]:
    left: dict[str, int] = {}
    question = Question(pods=tuple(uids), untold={uids[0]: untold} if untold else {})

    async def ask() -> None:
        left.update(await lending.left_ms("gate", question))

    await lending.while_leading(lambda: ago_s, ask())
    return left


async def test_what_is_left_at_the_region_is_lent(world: World, lending: PodLending) -> None:
    uid = await a_pod(world, "one")
    assert await leading(lending, 12.5, [uid]) == {uid: 47_500}
    assert await leading(lending, 60.0, [uid]) == {}
    assert await leading(lending, None, [uid]) == {}
    assert await lending.left_ms("gate", Question(pods=(uid,))) == {}, "nobody leads here, and there is nobody else"


async def test_nothing_is_lent_of_others_nor_of_what_is_over_or_is_not_asked_for(
    world: World, lending: PodLending
) -> None:
    theirs = await a_pod(world, "theirs", "another")
    going, over = await a_pod(world, "going"), await a_pod(world, "over")
    plain, removed = await a_pod(world, "plain", row=""), await a_pod(world, "removed", row="r.b")
    silent = await a_pod(world, "silent")
    await world.delete("pods", "going", grace_s=30)
    await world.set_status("pods", "over", phase="Succeeded")
    uids = [theirs, over, plain, removed, "unknown"]
    assert await leading(lending, 0.0, uids) == {}
    assert sorted(await leading(lending, 0.0, [*uids, silent, going])) == sorted([silent, going])


async def test_a_gateway_that_names_a_pod_goes_by_its_lease(world: World, lending: PodLending) -> None:
    uid = await a_pod(world, "one", **{UNTOLD: "60/x"})
    await leading(lending, 0.0, [])
    assert await leading(lending, 0.0, [uid]) == {uid: 60_000}
    await leading(lending, 0.0, [uid], untold="600/w")
    assert UNTOLD in world.get("pods", "one")["metadata"]["annotations"], "it goes by another mark"
    await leading(lending, 0.0, [uid], untold="60/x")
    assert world.get("pods", "one")["metadata"]["annotations"] == {LEASE: "r.a"}


async def test_a_gateway_is_answered_over_its_stream(world: World, lending: PodLending) -> None:
    uid = await a_pod(world, "one")
    near, far = pipe_pair()
    body = Question(pods=(uid,)).encode()
    await near.write(body)

    async def answered() -> None:
        await lending("gate", {"bodyBytes": len(body)}, far)

    await lending.while_leading(lambda: 10.0, answered())
    assert left_of(await near.read()) == {uid: 50.0}


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"[" * 60_000,
        b"[]",
        b'{"pods": 7}',
        encode_object({"pods": [str(n) for n in range(PODS_MAX + 1)]}),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(lending: PodLending, body: bytes) -> None:
    near, far = pipe_pair()
    await near.write(body)
    try:
        await lending("gate", {"bodyBytes": len(body)}, far)
    except BadRequestError:
        return
    assert left_of(await near.read()) == {}


async def test_a_question_that_is_too_large_is_not_read(lending: PodLending) -> None:
    with pytest.raises(BadRequestError, match="at most"):
        await lending("gate", {"bodyBytes": 10**9}, pipe_pair()[1])


@pytest.mark.parametrize("known", [5.0, None])
async def test_one_question_to_who_leads_serves_all_who_ask(
    world: World, lending: PodLending, known: float | None
) -> None:
    asked: list[asyncio.Event] = []

    async def elsewhere() -> float | None:
        asked.append(asyncio.Event())
        await asked[-1].wait()
        return known

    lending.elsewhere = elsewhere
    waiting = [asyncio.create_task(lending.ago_s()) for _ in range(5)]
    await eventually(lambda: asked, "it is asked")
    waiting.pop(0).cancel()
    asked[0].set()
    assert await asyncio.gather(*waiting) == [known] * 4
    assert await lending.ago_s() == known
    assert len(asked) == 1, "nor again within a moment"
    world.clock.advance(2)
    again = asyncio.create_task(lending.ago_s())
    await eventually(lambda: len(asked) == 2, "it is asked again")
    asked[1].set()
    assert await again == known


class _Unwritable:
    """Objects of which none can be written."""

    async def update(self, *_given: Any, **_named: Any) -> Any:
        raise UnavailableError("the store is full")


async def test_a_pod_that_cannot_be_written_ends_the_lease_of_no_other(world: World, lending: PodLending) -> None:
    one, two = await a_pod(world, "one", **{UNTOLD: "60/x"}), await a_pod(world, "two")
    objects: Any = _Unwritable()
    stuck = PodLending(world.cache, objects, world.kind("pods"), world.clock)
    assert await leading(stuck, 10.0, [one, two], untold="60/x") == {one: 50_000, two: 50_000}
    assert UNTOLD in world.get("pods", "one")["metadata"]["annotations"], "it is tried again at the next question"

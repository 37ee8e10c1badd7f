"""What a region keeps of its membership, and what it tells."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.federation.joining import Credentials
from cloudcore.federation.link import TRUST, Membership, RegionMember
from cloudcore.registry.port import DeleteOptions
from skerry.errors import NotFoundError
from skerry.objects.federation import (
    MANAGED,
    MEMBER_OBJECTS,
    MEMBERSHIP,
    NAMESPACE,
    REGION_OBJECTS,
    ROW,
    Target,
    row_name,
)
from skerry.objects.meta import Key, Revision, Stamp
from skerry.wire.frames import ObjectState
from tests.cloudcore.hub.fleet import eventually
from tests.cloudcore.worlds import World, make_world

OLD = "-----BEGIN CERTIFICATE-----\nb2xk\n-----END CERTIFICATE-----\n"
NEW = "-----BEGIN CERTIFICATE-----\nbmV3\n-----END CERTIFICATE-----\n"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as made:
        await made.create("namespaces", {"metadata": {"name": NAMESPACE}})
        yield made


def membership(authorities: str = "", renew_after_ms: int = 1000) -> Membership:
    credentials = Credentials(
        name="north",
        key_pem="",
        certificate_pem="",
        ca_pem=OLD,
        server_name="",
        renew_after_ms=renew_after_ms,
    )
    return Membership(uid="u", clouds=("a:1",), token="", epoch="", credentials=credentials, authorities=authorities)


def test_a_certificate_is_renewed_in_time_and_when_the_authorities_change() -> None:
    assert not membership().renewal_due(999)
    assert membership().renewal_due(1000)
    assert not membership(authorities=OLD).renewal_due(0)
    assert membership(authorities=NEW + OLD).renewal_due(0)


@pytest.mark.parametrize("off_ms", [0, -31_536_000_000, 31_536_000_000])
async def test_a_certificate_is_renewed_by_the_clock_of_who_issues_it(world: World, off_ms: int) -> None:
    member, true_ms = RegionMember(world.tools, lambda _: {}), world.clock.wall_ms()
    world.clock.step_wall(off_ms)
    assert member.issuer_ms() == world.clock.wall_ms(), "as long as it was not heard"
    member.hear_time(true_ms)
    world.clock.advance(100)
    world.clock.step_wall(3_600_000)
    assert member.issuer_ms() == true_ms + 100_000


async def test_what_a_region_said_of_a_row_is_forgotten_with_the_row(world: World) -> None:
    member = RegionMember(world.tools, lambda _: {})
    key = Key(MEMBER_OBJECTS, "", "north.a")
    member.tell(key.name, {"revision": 1})
    member.tell(key.name, {"revision": 1})
    assert member.outbox.outbox_head() == 1, "once"
    await member.let_go(key)
    member.tell(key.name, {"revision": 1})
    assert member.outbox.outbox_head() == 2, "of a new life of the row"


async def test_what_was_learned_under_another_membership_is_not_kept(world: World) -> None:
    data = {"cloud": base64.b64encode(b"a:1").decode()}
    await world.create("secrets", {"metadata": {"name": MEMBERSHIP}, "data": data}, NAMESPACE)
    trust: Any = {"data": {"ca.crt": NEW}}
    state = ObjectState(key=TRUST, stamp=Stamp("t", Revision(4)), body=json.dumps(trust).encode())
    with pytest.raises(NotFoundError, match="another one by now"):
        await RegionMember(world.tools, lambda _: {}).hold(state)
    assert world.get("secrets", MEMBERSHIP, NAMESPACE)["data"] == data


@pytest.mark.parametrize("joins", [False, True], ids=["left", "left and joined at once"])
async def test_nothing_of_a_federation_that_was_left_is_kept(world: World, *, joins: bool) -> None:
    """The objects stay, and are the region's own."""
    for name, another in (("a", ""), ("b", "another")):
        row = row_name("north", Target(api_version="v1", kind="ConfigMap", namespace=NAMESPACE, name=name))
        mark = another or row
        metadata: Any = {"name": name, "labels": {MANAGED: "true", "x": "y"}, "annotations": {ROW: mark}}
        await world.create("configmaps", {"metadata": metadata}, NAMESPACE)
        spec = {"object": {"apiVersion": "v1", "kind": "ConfigMap", "namespace": NAMESPACE, "name": name}}
        await world.create(REGION_OBJECTS, {"metadata": {"name": row}, "spec": {"member": "north", **spec}})
    if joins:
        data = {"cloud": base64.b64encode(b"127.0.0.1:1").decode(), "token": base64.b64encode(b"no").decode()}
        await world.create("secrets", {"metadata": {"name": MEMBERSHIP}, "data": data}, NAMESPACE)
    work = asyncio.create_task(RegionMember(world.tools, lambda _: {}).run())
    try:
        await eventually(lambda: not world.all(REGION_OBJECTS), "rows go")
        await eventually(
            lambda: not world.get("configmaps", "a", NAMESPACE)["metadata"].get("annotations"), "the mark"
        )
    finally:
        work.cancel()
        await asyncio.wait([work])
    assert world.get("configmaps", "a", NAMESPACE)["metadata"]["labels"] == {"x": "y"}
    assert world.get("configmaps", "b", NAMESPACE)["metadata"]["annotations"] == {ROW: "another"}


async def test_that_it_left_while_it_waited_for_more_news_is_seen(world: World) -> None:
    """It went on dialling for a minute."""
    fields = {"cloud": "127.0.0.1:1", "name": "north", "certificate": "no", "key": "no", "ca": "no"}
    data = {name: base64.b64encode(text.encode()).decode() for name, text in fields.items()}
    await world.create("secrets", {"metadata": {"name": MEMBERSHIP}, "data": data}, NAMESPACE)
    await world.create(REGION_OBJECTS, {"metadata": {"name": "north.a"}, "spec": {"member": "north"}})
    member = RegionMember(world.tools, lambda _: {})
    work = asyncio.create_task(member.run())
    try:
        await eventually(lambda: member.outbox.outbox_head() == 1, "it said what it is")
        member.notice()
        for _ in range(50):
            await asyncio.sleep(0)  # now it waits for more
        secrets = world.kind("secrets")
        await world.objects.delete(secrets, secrets.key(NAMESPACE, MEMBERSHIP), DeleteOptions())
        member.notice()
        await eventually(lambda: not world.all(REGION_OBJECTS), "it is no member any more")
    finally:
        work.cancel()
        await asyncio.wait([work])

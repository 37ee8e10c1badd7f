"""What a region keeps of its membership, and what it tells."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.federation.joining import Credentials
from cloudcore.federation.link import TRUST, Membership, RegionMember
from skerry.errors import NotFoundError
from skerry.objects.federation import MEMBER_OBJECTS, MEMBERSHIP, NAMESPACE
from skerry.objects.meta import Key, Revision, Stamp
from skerry.wire.frames import ObjectState
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

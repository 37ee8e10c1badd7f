"""Sessions that share an engine: what happens to one is no matter of the others'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from devices.snmp import client
from devices.snmp.client import Engines
from devices.snmp.config import Access, Target
from skerry.errors import UnavailableError
from skerry.frozen import replace

pytestmark = pytest.mark.system

ACCESS = Access(version="2c", community="public")
OID = "1.3.6.1.2.1.1.3.0"


class Quiet(asyncio.DatagramProtocol):
    """A device that hears and says nothing."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard.set()


@asynccontextmanager
async def quiet() -> AsyncGenerator[tuple[Quiet, Target]]:
    transport, device = await asyncio.get_running_loop().create_datagram_endpoint(Quiet, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    try:
        yield device, Target(host="127.0.0.1", port=port, context="", timeout_s=0.2, retries=0)
    finally:
        transport.close()


async def test_a_host_that_is_not_found_takes_no_request_from_others_under_way() -> None:
    engines = Engines()
    async with quiet() as (device, target):
        other, bad = engines.session(ACCESS, target), engines.session(ACCESS, replace(target, host="no.invalid"))
        asking = asyncio.create_task(other.get([OID]))
        await asyncio.wait_for(device.heard.wait(), 30)
        with pytest.raises(UnavailableError, match=r"can't be asked: Bad IPv4/UDP transport address no\.invalid"):
            await bad.get([OID])
        with pytest.raises(UnavailableError, match=r"no answer within 0\.2 s"):
            await asyncio.wait_for(asking, 30)
        await other.close()
        await bad.close()


async def test_one_that_begins_anew_leaves_its_engine_to_the_others_and_the_last_ends_it() -> None:
    ended: list[Any] = []
    engines = Engines()
    target = Target(host="127.0.0.1", port=1, context="", timeout_s=0.1, retries=0)
    one, other = (client.PysnmpSession(engines, ACCESS, target) for _ in range(2))
    shared = engines.engine(ACCESS, one)
    assert engines.engine(ACCESS, other) is shared
    engines.renew(ACCESS, one)
    own = engines.engine(ACCESS, one)
    assert own is not shared and engines.engine(ACCESS, other) is shared
    for engine in (shared, own):
        engine.close_dispatcher = lambda engine=engine: ended.append(engine)
    engines.leave(ACCESS, one)
    assert ended == [own]
    engines.leave(ACCESS, one)
    engines.leave(ACCESS, other)
    assert ended == [own, shared]
    assert engines.engine(ACCESS, one) is not shared, "what has ended is not given out again"
    engines.leave(ACCESS, one)


async def test_one_that_is_alone_begins_anew_with_an_engine_to_share() -> None:
    engines = Engines()
    target = Target(host="127.0.0.1", port=1, context="", timeout_s=0.1, retries=0)
    one, other = (client.PysnmpSession(engines, ACCESS, target) for _ in range(2))
    first = engines.engine(ACCESS, one)
    engines.renew(ACCESS, one)
    assert engines.engine(ACCESS, one) is not first
    assert engines.engine(ACCESS, other) is engines.engine(ACCESS, one)
    engines.leave(ACCESS, one)
    engines.leave(ACCESS, other)


async def test_an_engine_that_says_nothing_any_more_has_a_deadline() -> None:
    engines = Engines()
    async with quiet() as (device, target):
        one = client.PysnmpSession(engines, ACCESS, target)
        asking = asyncio.create_task(one.get([OID]))
        await asyncio.wait_for(device.heard.wait(), 30)
        engines.engine(ACCESS, one).close_dispatcher()  # its timers are gone: nobody would ever wake it
        with pytest.raises(UnavailableError, match=r"no answer within 3\.6 s"):
            await asyncio.wait_for(asking, 60)
        with pytest.raises(UnavailableError, match=r"no answer within 0\.2 s"):
            await asyncio.wait_for(one.get([OID]), 60)
        await one.close()

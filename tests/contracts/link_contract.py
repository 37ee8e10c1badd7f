"""What every link promises, and what those do that carry streams apart. Collected by `test_link_forms.py` in memory
and by `tests/system/test_link_forms.py` for each transport on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass

import pytest

from skerry.errors import UnavailableError
from skerry.ports import Link
from skerry.sync.traffic import WireCounted
from skerry.wire.codec import FRAME_BYTES_MAX

NODE = "system:node:eu-1"
WAIT_S = 30
LOOKS = 12
"""At which a count is the same before it is taken to stand still."""


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Both ends of one link; the cloud's has received the edge's first frame, `hello`, already."""

    edge: Link
    cloud: Link
    edge_key: str
    """`pin_of` the key that the edge has; "" where a link proves none."""
    edge_issuer: str
    """Key identifier of who signed the edge's certificate, hex."""
    look_s: float = 0.0
    """Between two looks at what is on its way; 0 where nothing is that has not arrived."""

    async def still(self, count: Callable[[], int]) -> int:
        """Wait until a count does not move any more, however slowly it did; what it is then."""
        same, before = 0, -1
        async with asyncio.timeout(WAIT_S):
            while same < LOOKS:
                now = count()
                same, before = (same + 1 if now == before else 0), now
                await asyncio.sleep(self.look_s)
        return before


MakeEnds = Callable[[], AbstractAsyncContextManager[Ends]]


def arrived(link: Link) -> int:
    """Bytes that have come to this end, taken or not."""
    assert isinstance(link, WireCounted)
    counted = link.wire_bytes()
    assert counted is not None
    return counted[1]


async def taken(link: Link, count: int) -> list[bytes]:
    async with asyncio.timeout(WAIT_S):
        return [await link.receive() for _ in range(count)]


async def taken_until_end(link: Link) -> list[bytes]:
    found: list[bytes] = []
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                found.append(await link.receive())
            except UnavailableError:
                return found


class LinkContract:
    """Subclass, and provide the fixture `make`."""

    async def test_frames_arrive_whole_and_in_order_both_ways(self, make: MakeEnds) -> None:
        async with make() as ends:
            frames = [bytes([number % 256]) * (number * 37 % 9000) for number in range(200)]

            async def all_of(link: Link) -> None:
                for frame in frames:
                    await link.send(frame)

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(all_of(ends.edge))
                tasks.create_task(all_of(ends.cloud))
                at_cloud = tasks.create_task(taken(ends.cloud, len(frames)))
                at_edge = tasks.create_task(taken(ends.edge, len(frames)))
            assert at_cloud.result() == frames
            assert at_edge.result() == frames

    async def test_the_largest_frame_and_the_smallest_pass(self, make: MakeEnds) -> None:
        async with make() as ends:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(ends.edge.send(bytes(FRAME_BYTES_MAX)))
                whole = tasks.create_task(taken(ends.cloud, 1))
            assert len(whole.result()[0]) == FRAME_BYTES_MAX
            await ends.edge.send(b"")
            assert await taken(ends.cloud, 1) == [b""]

    async def test_the_cloud_knows_who_dialled(self, make: MakeEnds) -> None:
        async with make() as ends:
            assert ends.cloud.peer_name == NODE
            assert ends.edge.peer_name

    async def test_the_cloud_knows_the_key_of_who_dialled(self, make: MakeEnds) -> None:
        async with make() as ends:
            assert ends.cloud.peer_key == ends.edge_key
            assert ends.cloud.peer_issuer == ends.edge_issuer

    async def test_a_close_comes_after_what_was_sent_and_ends_both(self, make: MakeEnds) -> None:
        async with make() as ends:
            for number in range(20):
                await ends.edge.send(bytes([number]))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(ends.edge.close(code=1000, reason="the agent stops"))
                found = tasks.create_task(taken_until_end(ends.cloud))
            assert found.result() == [bytes([number]) for number in range(20)]
            for link in (ends.edge, ends.cloud):
                with pytest.raises(UnavailableError):
                    await link.receive()
                with pytest.raises(UnavailableError):
                    await link.send(b"late")

    async def test_closing_twice_is_nothing(self, make: MakeEnds) -> None:
        async with make() as ends:
            await ends.edge.close(code=1000, reason="")
            await ends.edge.close(code=1000, reason="")
            ends.edge.abort()

    async def test_an_abort_is_noticed_by_who_waits(self, make: MakeEnds) -> None:
        async with make() as ends:
            waiting = [asyncio.create_task(link.receive()) for link in (ends.edge, ends.cloud)]
            await asyncio.sleep(0)
            ends.edge.abort()
            async with asyncio.timeout(WAIT_S):
                done = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(each, UnavailableError) for each in done)

    async def test_a_receive_that_is_cancelled_loses_nothing(self, make: MakeEnds) -> None:
        async with make() as ends:
            for number in range(10):
                waiting = asyncio.create_task(ends.cloud.receive())
                await asyncio.sleep(0)
                waiting.cancel()
                with suppress(asyncio.CancelledError):
                    await waiting
                await ends.edge.send(bytes([number]))
                assert await taken(ends.cloud, 1) == [bytes([number])]

    async def test_a_sender_waits_for_a_reader_that_does_not_read(self, make: MakeEnds) -> None:
        async with make() as ends:
            sent = 0

            async def flood() -> None:
                nonlocal sent
                while True:
                    await ends.edge.send(bytes(64 * 1024))
                    sent += 1

            flooding = asyncio.create_task(flood())
            before = await ends.still(lambda: sent)
            assert sent * 64 * 1024 < 32 * 1024 * 1024
            read = 0
            while sent == before:
                await taken(ends.cloud, 1)
                read += 1
                await asyncio.sleep(ends.look_s / 10)
            assert read <= before + 1, "what was sent before, and what is being sent, is all that may lie on the way"
            flooding.cancel()
            with suppress(asyncio.CancelledError):
                await flooding

    async def test_each_stream_keeps_its_order_and_ends_with_its_last_frame(self, make: MakeEnds) -> None:
        async with make() as ends:
            async with asyncio.TaskGroup() as tasks:
                found = tasks.create_task(taken(ends.edge, 1 + 3 * 51))
                await ends.cloud.send(b"welcome")
                for number in range(50):
                    for stream in (1, 3, 5):
                        await ends.cloud.send(b"%d:%d" % (stream, number), stream=stream)
                for stream in (1, 3, 5):
                    await ends.cloud.send(b"%d:last" % stream, stream=stream, last=True)
            assert found.result()[0] == b"welcome"
            for stream in (1, 3, 5):
                own = [frame for frame in found.result() if frame.startswith(b"%d:" % stream)]
                assert own == [*(b"%d:%d" % (stream, number) for number in range(50)), b"%d:last" % stream]

    async def test_a_stream_is_answered_on_and_what_comes_after_its_end_is_dropped(self, make: MakeEnds) -> None:
        async with make() as ends:
            await ends.cloud.send(b"welcome")
            await ends.cloud.send(b"open", stream=1)
            assert await taken(ends.edge, 2) == [b"welcome", b"open"]
            await ends.edge.send(b"data", stream=1)
            assert await taken(ends.cloud, 1) == [b"data"]
            await ends.cloud.send(b"enough", stream=1, last=True)
            assert await taken(ends.edge, 1) == [b"enough"]
            await ends.edge.send(b"more", stream=1)
            await ends.edge.send(b"session")
            async with asyncio.timeout(WAIT_S):
                while await ends.cloud.receive() != b"session":
                    pass

    async def test_more_streams_come_and_go_than_may_be_open_at_once(self, make: MakeEnds) -> None:
        async with make() as ends:
            await ends.cloud.send(b"welcome")
            assert await taken(ends.edge, 1) == [b"welcome"]
            for stream in range(1, 401, 2):
                async with asyncio.timeout(WAIT_S):
                    await ends.cloud.send(b"open", stream=stream)
                    assert await ends.edge.receive() == b"open"
                    await ends.edge.send(b"last", stream=stream, last=True)
                    assert await ends.cloud.receive() == b"last"


class ApartLinkContract(LinkContract):
    """For links that carry streams apart from the session."""

    async def test_the_sessions_first_frame_is_received_before_any_stream(self, make: MakeEnds) -> None:
        async with make() as ends:
            before = arrived(ends.edge)
            await ends.cloud.send(b"open", stream=1)
            waiting = asyncio.create_task(taken(ends.edge, 2))
            async with asyncio.timeout(WAIT_S):
                while arrived(ends.edge) == before:
                    await asyncio.sleep(ends.look_s)
            await ends.still(lambda: arrived(ends.edge))
            await ends.cloud.send(b"welcome")
            assert await waiting == [b"welcome", b"open"]

    async def test_a_stream_that_is_stuck_does_not_hold_up_the_session(self, make: MakeEnds) -> None:
        async with make() as ends:
            await ends.cloud.send(b"welcome")
            assert await taken(ends.edge, 1) == [b"welcome"]

            sent = 0

            async def a_big_log() -> None:
                nonlocal sent
                while True:
                    await ends.cloud.send(bytes(8 * 1024), stream=1)
                    sent += 1

            flooding = asyncio.create_task(a_big_log())
            await ends.still(lambda: sent)  # nobody reads: the stream is stuck
            assert not flooding.done()
            async with asyncio.timeout(WAIT_S):
                before = arrived(ends.edge)
                await ends.cloud.send(b"heartbeat")
                while arrived(ends.edge) == before:
                    await asyncio.sleep(ends.look_s)
                assert await ends.edge.receive() == b"heartbeat", "before the log that came long before it"
                for _ in range(100):
                    assert len(await ends.edge.receive()) == 8 * 1024
            flooding.cancel()
            with suppress(asyncio.CancelledError):
                await flooding

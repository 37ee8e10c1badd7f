"""A gateway that obeys no rules: it has a link and a certificate's name, and says whatever a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from skerry.errors import ProtocolError, UnavailableError
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Revision
from skerry.transport.memory import MemoryLink, pair
from skerry.wire.codec import decode, encode
from skerry.wire.frames import Close, Frame, Hello, Ping, Pong, Receipt, Report, Reports, Welcome
from tests.cloudcore.hub.fleet import Fleet


class Intruder:
    """One link of one node, spoken by hand. Hears everything, answers pings only, unless it is deaf."""

    def __init__(self, link: MemoryLink, node: str) -> None:
        self.link = link
        self.node = node
        self.heard: list[Frame] = []
        self.ended = asyncio.Event()
        self.seq = 0

    async def say(self, *frames: Frame) -> None:
        for frame in frames:
            await self.link.send(encode(frame))

    async def hello(self, **fields: object) -> None:
        given: dict[str, object] = {
            "versions": (1,),
            "node": self.node,
            "agent_version": "0",
            "incarnation": f"{self.node}-1",
            "epoch": "",
            "revision": Revision(0),
            "root": 1,
            "outbox_head": 0,
        }
        await self.say(Hello(**{**given, **fields}))  # type: ignore[arg-type]

    async def listen(self) -> None:
        """Until the link ends."""
        try:
            while True:
                frame = decode(await self.link.receive())
                if frame is not None:
                    self.heard.append(frame)
                if isinstance(frame, Ping):
                    await self.say(Pong(number=frame.number))
        except (UnavailableError, ProtocolError):
            self.ended.set()

    async def hear(self, kind: type[Frame], within_s: float = 10.0) -> Frame:
        """The newest frame of a kind, once there is one."""
        found: list[Frame] = []

        def there() -> bool:
            found[:] = [frame for frame in self.heard if isinstance(frame, kind)]
            return bool(found)

        await self.until(there, within_s)
        return found[-1]

    async def until(self, holds: Callable[[], object], within_s: float = 10.0) -> None:
        async with asyncio.timeout(within_s):
            while not holds():
                await asyncio.sleep(0.002)

    async def closed(self) -> Close:
        frame = await self.hear(Close)
        assert isinstance(frame, Close)
        return frame

    async def tell(self, kind: str, body: JsonObject | bytes, key: str = "") -> None:
        """One report, and wait for its receipt."""
        self.seq += 1
        data = body if isinstance(body, bytes) else encode_object(body)
        report = Report(seq=self.seq, kind=kind, key=key, body=data, wall_ms=0, age_ms=0)
        await self.say(Reports(reports=(report,)))
        await self.until(
            lambda: any(isinstance(frame, Receipt) and frame.through >= report.seq for frame in self.heard)
        )

    async def welcomed(self, **fields: object) -> Welcome:
        await self.hello(**fields)
        frame = await self.hear(Welcome)
        assert isinstance(frame, Welcome)
        return frame


@asynccontextmanager
async def an_intruder(
    fleet: Fleet, node: str, *, certificate: str | None = None, deaf: bool = False
) -> AsyncGenerator[Intruder]:
    """A link to the fleet's hub whose transport proved `certificate` (by default, the node's own)."""
    edge, cloud = pair(edge_name=certificate if certificate is not None else f"system:node:{node}")
    intruder = Intruder(edge, node)
    serving = asyncio.create_task(fleet.hub.handle(cloud))
    listening = None if deaf else asyncio.create_task(intruder.listen())
    try:
        yield intruder
    finally:
        edge.cut()
        if listening is not None:
            await asyncio.gather(listening, return_exceptions=True)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

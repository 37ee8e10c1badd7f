"""The gateway's MQTT broker as a process of its own, for tests that kill it: PORT DIRECTORY [anybody]."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from pathlib import Path

from edgecore.broker.journal import SqliteJournal
from edgecore.broker.server import BrokerServer, Listener, OpenHouse, ServerParts
from edgecore.broker.users import UserBook
from skerry.clocks import SystemClock, SystemIds


async def serve(port: int, directory: Path, *, anybody: bool) -> None:
    clock = SystemClock()
    server = BrokerServer(
        ServerParts(
            version="test",
            listeners=[Listener(host="127.0.0.1", port=port)],
            journal=SqliteJournal(directory / "broker.db", clock),
            book=OpenHouse() if anybody else UserBook(directory / "users.json", b"agent's"),
            clock=clock,
            ids=SystemIds(),
        )
    )
    gc.freeze()
    await server.run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]), anybody=sys.argv[3:] == ["anybody"]))

"""Bytes of a reconnect with nothing changed: a real agent and a real cloud over WebSocket, until they are quiet.

    python -m benchmarks reconnect

A relay between them counts what their TCP connections carry, both directions together, without the headers of TCP and
IP, and cuts them. The full handshakes come about by a file of authorities that was written anew: the gateway then
offers no ticket. Medians of several reconnects.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final

from benchmarks.edge_memory import agent, process, run, until
from edgecore.link.membership import load_membership

TIMES: Final = 3
QUIET_S: Final = 3.0
"""Without a byte for so long, everything is said: well below a heartbeat."""
TARGET_BYTES: Final = 3_000


class Relay:
    """Carries connections to the hub, counts their bytes, and cuts them."""

    def __init__(self, hub: str) -> None:
        self._host, _, port = hub.rpartition(":")
        self._port = int(port)
        self._loop = asyncio.new_event_loop()
        self._writers: list[asyncio.StreamWriter] = []
        self._began = threading.Event()
        self.port = 0
        self.bytes = 0
        """Of the connections since the last cut."""
        self.heard_s = 0.0

    @contextlib.contextmanager
    def running(self) -> Generator[None]:
        thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        thread.start()
        self._began.wait()
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._end.set)
            thread.join()
            self._loop.close()

    def cut(self) -> None:
        """As a network does: nobody says a word."""
        done = threading.Event()

        def now() -> None:
            for writer in self._writers:
                writer.transport.abort()
            self._writers.clear()
            self.bytes = 0
            done.set()

        self._loop.call_soon_threadsafe(now)
        done.wait()

    def carried(self) -> int:
        """The bytes of one connection, once it has come about and all is quiet."""
        until(lambda: self.bytes > 0, "the gateway's return")
        until(lambda: time.monotonic() - self.heard_s > QUIET_S, "silence")
        return self.bytes

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._began.set()
        await self._end.wait()
        for writer in self._writers:
            writer.transport.abort()
        server.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, self._port)
        self._writers += [writer, back]
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while part := await reader.read(65_536):
                self.bytes += len(part)
                self.heard_s = time.monotonic()
                writer.write(part)
        writer.close()


def main() -> list[tuple[str, str]]:
    """Rows of (what, figure)."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        home = Path(directory)
        cloud, edge = home / "cloud", home / "edge"
        flags = ["--bind", "127.0.0.1", "--https-port", "0", "--hub-port", "0"]
        command = [sys.executable, "-m", "cloudcore.main", "--data", cloud, *flags]
        stack.enter_context(process(home / "cloud.log", *command, ready="cloudcore ready"))
        token = run("skerry.cli.main", "token", "create", "bench", "--data", cloud).strip()
        hub = str(json.loads((cloud / "endpoints.json").read_text())["hub"])
        run("edgecore.main", "join", "--data", edge, "--cloud", hub, "--token", token)
        relay = Relay(hub)
        stack.enter_context(relay.running())
        joined = edge / "join.json"
        joined.write_text(json.dumps({**json.loads(joined.read_text()), "clouds": [f"127.0.0.1:{relay.port}"]}))
        authorities = load_membership(edge).identity.ca_file
        short: list[int] = []
        full: list[int] = []
        for _ in range(TIMES):
            with agent(edge):  # each time anew, as who is cut off often comes back ever more slowly
                relay.carried()
                short.append(_reconnect(relay))
                authorities.write_text(authorities.read_text() + "\n")
                full.append(_reconnect(relay))
            relay.cut()
    return [
        ("reconnect with nothing changed, TLS resumed", f"{statistics.median(short):.0f} B"),
        ("... with a full handshake", f"{statistics.median(full):.0f} B"),
        ("target", f"{TARGET_BYTES} B"),
    ]


def _reconnect(relay: Relay) -> int:
    relay.cut()
    return relay.carried()

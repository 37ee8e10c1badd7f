"""What each process of the server does, from the moment that it was forked until it is told to end.

Who follows the cloud or fetches zones writes files, and tells the parent to read them (SIGHUP). Libraries that one of
them alone needs are loaded in that one. Keeps nothing of its own.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cloudcore.dns.access import Access, Peer
from cloudcore.dns.beat import Beat
from cloudcore.dns.counts import Counts
from cloudcore.dns.datagrams import Datagrams
from cloudcore.dns.follower import Follower
from cloudcore.dns.handover import WARM_S_MAX
from cloudcore.dns.processes import Processes
from cloudcore.dns.recent import Recent
from cloudcore.dns.responder import Desk, Responder
from cloudcore.dns.settings import DnsSettings, exporter_name
from cloudcore.dns.sockets import Sockets
from cloudcore.dns.streams import Streams, StreamSettings
from cloudcore.dns.table import HealthTable
from cloudcore.dns.zone import Zone


def answer_datagrams(udp: socket.socket, desk: Desk, counts: Counts, recent: Recent, processes: Processes) -> None:
    """Until SIGTERM; begins when those before it may leave."""
    gc.disable()  # answering leaves no cycles, and a look at all that is ready would keep questions waiting
    datagrams = Datagrams(udp, Responder(desk), counts, recent)
    if processes.follows_others:
        datagrams.warm(time.monotonic() + WARM_S_MAX)
    processes.wait_to_read()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: datagrams.stop())
    processes.say_reading()
    datagrams.run()


def answer_streams(
    sockets: Sockets,
    tls: ssl.SSLContext | None,
    desk: Desk,
    counts: Counts,
    settings: StreamSettings,
    processes: Processes,
) -> None:
    """The same over TCP and TLS."""
    streams = Streams(Responder(desk), counts, settings)
    processes.wait_to_read()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, streams.stop)
        await streams.run(sockets.tcp, sockets.tls, tls, processes.say_reading)

    asyncio.run(serve())


def follow(settings: DnsSettings, beat: Beat) -> None:
    """The cloud's zones, into files."""
    Follower(Path(settings.cloud), settings.state, _tells_parent(), beat).run()


def fetch(secondaries: Sequence[tuple[bytes, Peer]], settings: DnsSettings, access: Access, notified: int) -> None:
    """Zones of other servers, into files; `notified` is a pipe that tells which may have changed."""
    from cloudcore.dns.fetcher import Fetcher, Secondary

    key = next(iter(access.keys.values()), None)
    abouts = [Secondary(origin=origin, primary=peer) for origin, peer in secondaries]
    Fetcher(abouts, settings.state, key, notified, _tells_parent()).run()


def export(
    exports: Sequence[tuple[bytes, Peer]], zones: Mapping[bytes, Zone], table: HealthTable, settings: DnsSettings
) -> None:
    """Zones of ours into another server."""
    from cloudcore.dns.exporter import Export, Exporter, Exporting

    about = Exporting(
        owner=settings.export_owner,
        by=exporter_name(settings),
        keys=Path(settings.transfer_keys),
        state=settings.state,
    )
    Exporter([Export(origin=origin, server=server) for origin, server in exports], zones, table, about).run()


def _tells_parent() -> Callable[[], None]:
    parent = os.getppid()
    return lambda: os.kill(parent, signal.SIGHUP)

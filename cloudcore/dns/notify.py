"""Tells other servers that a zone has changed (NOTIFY, RFC 1996): in a process of its own, which ends when all have
answered or were asked often enough. Who was not reached looks by himself at the zone's refresh.
"""

from __future__ import annotations

import logging
import secrets
import select
import socket
import time
from collections.abc import Sequence
from typing import Final

from cloudcore.dns.access import Peer
from cloudcore.dns.tsig import Key, signed_query
from cloudcore.dns.zone import Zone
from skerry.dns.names import text_of
from skerry.dns.numbers import AA, HEADER, IN, NOTIFY, QUESTION_TAIL, SOA
from skerry.dns.records import Writer

LOG: Final = logging.getLogger(__name__)
WAITS_S: Final = (1.0, 2.0, 4.0, 8.0)
PACE_S: Final = 0.002
"""Between two packets: a thousand zones at once are no flood."""


def notify_query(zone: Zone, identity: int, key: Key | None, now_s: int) -> bytes:
    """With the SOA, so that who has it already need not ask (RFC 1996 section 3.7)."""
    writer = Writer(zone.origin)
    writer.rrset(zone.origin, zone.soa)
    head = HEADER.pack(identity, NOTIFY << 11 | AA, 1, 1, 0, 0)
    message = head + zone.origin + QUESTION_TAIL.pack(SOA, IN) + bytes(writer.out)
    return message if key is None else signed_query(message, key, now_s)


def notify_all(zones: Sequence[Zone], peers: Sequence[Peer], key: Key | None) -> None:
    """Every peer of every zone; blocks."""
    waiting = {(secrets.randbelow(1 << 16), peer): zone for peer in peers for zone in zones}
    for wait_s in WAITS_S:
        if not waiting:
            return
        sockets = {family: socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6)}
        try:
            for (identity, peer), zone in waiting.items():
                family = socket.AF_INET6 if ":" in peer.host else socket.AF_INET
                try:
                    sockets[family].sendto(
                        notify_query(zone, identity, key, int(time.time())), (peer.host, peer.port)
                    )
                except OSError as error:
                    LOG.warning("%s port %d can't be told of changes: %s", peer.host, peer.port, error.strerror)
                time.sleep(PACE_S)
            _hear(list(sockets.values()), waiting, time.monotonic() + wait_s)
        finally:
            for each in sockets.values():
                each.close()
    for (_, peer), zone in waiting.items():
        LOG.warning(
            "%s port %d was told %d times that %s has changed, and says nothing",
            peer.host,
            peer.port,
            len(WAITS_S),
            text_of(zone.origin),
        )


def _hear(sockets: Sequence[socket.socket], waiting: dict[tuple[int, Peer], Zone], deadline: float) -> None:
    while waiting and (left_s := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select(sockets, [], [], left_s)
        for each in ready:
            try:
                answer, sender = each.recvfrom(4096)
            except OSError:
                continue
            if len(answer) >= 12 and answer[2] & 0x80:
                heard = int.from_bytes(answer[:2], "big"), Peer(host=str(sender[0]), port=int(sender[1]))
                waiting.pop(heard, None)

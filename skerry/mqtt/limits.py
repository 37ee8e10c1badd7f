"""How much a broker holds, and what it counts. Pure; keeps numbers alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from skerry.frozen import Frozen


class Limits(Frozen):
    """Of everything that a broker holds. What each is for, and what happens there, stands beside it."""

    connections: int = 200
    """More are refused (0x97)."""
    sessions: int = 1000
    """That outlive their connection, too; a client that would need one more is refused (0x97)."""
    connections_user: int = 100
    """Of one user: nobody takes all there are."""
    sessions_user: int = 500
    reserved: int = 16
    """Connections and sessions that only those have who come first (`Guard`)."""
    subscriptions: int = 500
    """Of a session; more are refused (0x97)."""
    own_bytes: int = 2 << 20
    """Of what a session is itself, without messages: subscriptions, will, and packet ids that are not released. What
    is more is refused (0x97)."""
    own_bytes_user: int = 16 << 20
    """The same of all sessions of a user."""
    own_bytes_total: int = 40 << 20
    """The same of all sessions; who comes first has no bound but its sessions'."""
    packet_bytes: int = 1 << 20
    """Of one packet from a client; a longer one ends the connection (0x95)."""
    receive: int = 64
    """Messages of QoS 1 and 2 that a client may send without an answer (its Receive Maximum)."""
    inflight: int = 64
    """Messages sent to a client and not acknowledged; the rest waits in its queue."""
    inflight_bytes: int = 1 << 19
    """The same in bytes; one message may always be on its way."""
    queue: int = 10_000
    """Messages that wait for a client; then the oldest is dropped, and counted."""
    queue_bytes: int = 8 << 20
    total_bytes: int = 64 << 20
    """Of all queues: beyond, whoever holds most drops its oldest (`skerry.mqtt.room`)."""
    retained: int = 10_000
    """Topics of which something is retained; a message for one more is refused (0x97). Where its publisher can't be
    told, it is delivered, and nothing is retained of its topic: rather none than an old one."""
    retained_bytes: int = 16 << 20
    retained_reserved: float = 0.1
    """Of both, the share that only those have who come first."""
    aliases: int = 32
    """Topic aliases of a connection."""
    alias_bytes: int = 64 * 1024
    """Of all topics that they stand for; one more ends the connection (0x97)."""


@dataclass(slots=True)
class Totals:
    """Shared by all sessions of a broker."""

    queued_bytes: int = 0
    own_bytes: int = 0
    own_bytes_by_user: dict[str, int] = field(default_factory=dict[str, int])
    dropped: int = 0


@dataclass(slots=True)
class Counts:
    """Since it was started."""

    received: int = 0
    sent: int = 0
    refused: int = 0
    """Messages that their publisher had no right to, or that had no room."""
    unretained: int = 0
    """Messages to be retained that had no room, whose publisher could not be told."""

"""What is known of a broker's connection and of a device's life over it, and what follows for its health. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from devices.mqtt.config import Availability, Broker, MqttDevice
from devices.mqtt.port import Connection, Delivery
from devices.payload import at_path, text_of
from devices.port import DeviceHealth
from skerry.errors import InvalidError
from skerry.objects.json import read_json


@dataclass(slots=True, kw_only=True)
class Taken:
    """A message whose readings are not all durable yet."""

    delivery: Delivery
    waiting: int
    stored: bool = False


@dataclass(slots=True, kw_only=True)
class Backlog:
    """Messages that waited at the broker while nobody was connected come first; then what we publish to ourselves."""

    reason: str
    until_s: float
    marker: bytes
    marked: bool = False
    """The marker was published."""


@dataclass(slots=True, kw_only=True)
class Session:
    """One broker: its connection, and what came over it."""

    broker: Broker
    connection: Connection | None = None
    connected: bool = False
    reason: str = "not connected yet"
    away_since_s: float
    """When it was connected last, or first asked for."""
    unacknowledged: dict[int, Taken] = field(default_factory=dict[int, "Taken"])
    """By packet id."""
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """Topics that the broker does not let us hear, and why."""
    dropped: int = 0
    """Messages of QoS 0 that found no room."""
    seen_s: float | None = None
    """When it was connected last; None: not by this agent."""
    backlog: Backlog | None = None
    """What waited at the broker is still coming."""


@dataclass(slots=True, kw_only=True)
class Seen:
    """What is known of one device's life."""

    heard_s: float
    away: set[str] = field(default_factory=set[str])
    """Topics on which it is said to be offline."""
    stale: bool = False

    def take(self, said: Availability, payload: bytes) -> None:
        """Something came on a topic of its availability; what says neither changes nothing."""
        try:
            text = payload.decode().strip()
            if said.path is not None:
                text = text_of(at_path(read_json(text), said.path)) or ""
        except (InvalidError, UnicodeDecodeError):
            return
        if text == said.online:
            self.away.discard(said.topic)
        elif text == said.offline:
            self.away.add(said.topic)

    def is_expired(self, device: MqttDevice, now_s: float) -> bool:
        return device.expire_s > 0 and now_s - self.heard_s > device.expire_s


def health_of(device: MqttDevice, session: Session | None, seen: Seen, now_s: float) -> DeviceHealth:
    """`session`: with the device's broker, if there is one. `now_s`: monotonic."""
    reason = ""
    if session is None or not session.connected:
        reason = session.reason if session else "not connected yet"
    elif seen.away:
        reason = "the device is said to be offline"
    elif seen.is_expired(device, now_s):
        reason = f"no message for {device.expire_s:g} s"
    elif session.refused and all(prop.topic in session.refused for prop in device.properties.values() if prop.topic):
        reason = next(iter(session.refused.values()))
    return DeviceHealth(device=device.key, online=not reason, reason=reason)


def is_merely_unconnected(
    device: MqttDevice, session: Session | None, seen: Seen, now_s: float, *, away_s_max: float
) -> bool:
    """A broker that is away for a moment makes no value stale; the expiry does, if there is one."""
    away_s = now_s - session.away_since_s if session else 0.0
    away = session is None or (not session.connected and away_s < away_s_max)
    return away and not seen.away and not seen.is_expired(device, now_s)

"""The packets of MQTT 3.1.1 and 5 as values. Pure; keeps nothing.

One class serves both versions: what only MQTT 5 knows is a property, and there are none on a connection of 3.1.1.
Source: MQTT Version 5.0 and MQTT Version 3.1.1 (OASIS), chapters 2 and 3.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal, TypeAlias

from skerry.errors import ProtocolError
from skerry.frozen import Frozen

V3: Final = 4
"""Protocol level of MQTT 3.1.1."""
V5: Final = 5

FOREVER: Final = 0xFFFFFFFF
"""A session expiry interval that never ends (MQTT 5, 3.1.2.11.2)."""


class Kind(IntEnum):
    """Section 2.1.2."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15
    WILL = 16
    """No packet: the will inside a CONNECT has properties of its own."""


class Reason(IntEnum):
    """Section 2.4: what became of something. From 0x80 on it failed."""

    SUCCESS = 0x00
    WITH_WILL = 0x04
    NO_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION = 0x11
    UNSPECIFIED = 0x80
    MALFORMED = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION = 0x83
    UNSUPPORTED_VERSION = 0x84
    BAD_CLIENT = 0x85
    BAD_CREDENTIALS = 0x86
    NOT_AUTHORIZED = 0x87
    UNAVAILABLE = 0x88
    SHUTTING_DOWN = 0x8B
    BAD_METHOD = 0x8C
    SILENT = 0x8D
    TAKEN_OVER = 0x8E
    BAD_FILTER = 0x8F
    BAD_TOPIC = 0x90
    ID_IN_USE = 0x91
    ID_NOT_FOUND = 0x92
    RECEIVE_MAX = 0x93
    BAD_ALIAS = 0x94
    TOO_LARGE = 0x95
    QUOTA = 0x97
    ADMINISTRATIVE = 0x98


FAILURES: Final = 0x80


class PacketError(ProtocolError):
    """Bytes or a packet that MQTT does not allow; the connection ends with this reason."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Properties(Frozen):
    """Section 2.2.2; None: not said. What each means, and where it may stand, is in `skerry.mqtt.properties`."""

    payload_format: int | None = None
    message_expiry_s: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation: bytes | None = None
    subscription_ids: tuple[int, ...] = ()
    session_expiry_s: int | None = None
    assigned_client: str | None = None
    server_keepalive_s: int | None = None
    auth_method: str | None = None
    auth_data: bytes | None = None
    request_problem: int | None = None
    will_delay_s: int | None = None
    request_response: int | None = None
    response_information: str | None = None
    server_reference: str | None = None
    words: str | None = None
    """The reason string."""
    receive_max: int | None = None
    topic_alias_max: int | None = None
    topic_alias: int | None = None
    qos_max: int | None = None
    retain_available: int | None = None
    user: tuple[tuple[str, str], ...] = ()
    packet_bytes_max: int | None = None
    wildcards_available: int | None = None
    ids_available: int | None = None
    shared_available: int | None = None


NONE: Final = Properties()


class Will(Frozen):
    """What is published for a client that goes without a word."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = NONE


class Connect(Frozen):
    version: int = V5
    client: str = ""
    clean: bool = True
    keepalive_s: int = 0
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    properties: Properties = NONE


class Connack(Frozen):
    resumed: bool = False
    reason: Reason = Reason.SUCCESS
    properties: Properties = NONE


class Publish(Frozen):
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    again: bool = False
    """Sent before, with the same packet id."""
    packet_id: int = 0
    properties: Properties = NONE


AckKind: TypeAlias = Literal[Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP]


class Ack(Frozen):
    """PUBACK, PUBREC, PUBREL or PUBCOMP."""

    kind: AckKind
    packet_id: int
    reason: int = Reason.SUCCESS
    properties: Properties = NONE


class Wanted(Frozen):
    """One subscription of a SUBSCRIBE (3.8.3.1)."""

    filter: str
    qos: int = 0
    no_local: bool = False
    as_published: bool = False
    """Whether the retain flag is kept as the publisher set it."""
    retain_handling: int = 0
    """0: what is retained is sent; 1: if the subscription is new; 2: not."""


class Subscribe(Frozen):
    packet_id: int
    wanted: tuple[Wanted, ...]
    properties: Properties = NONE


class Unsubscribe(Frozen):
    packet_id: int
    filters: tuple[str, ...]
    properties: Properties = NONE


class Granted(Frozen):
    """SUBACK or UNSUBACK."""

    kind: Literal[Kind.SUBACK, Kind.UNSUBACK]
    packet_id: int
    reasons: tuple[int, ...]
    properties: Properties = NONE


class Ping(Frozen):
    kind: Literal[Kind.PINGREQ, Kind.PINGRESP] = Kind.PINGREQ


class Farewell(Frozen):
    """DISCONNECT or AUTH: a reason and properties, and nothing else."""

    kind: Literal[Kind.DISCONNECT, Kind.AUTH] = Kind.DISCONNECT
    reason: int = Reason.SUCCESS
    properties: Properties = NONE


Packet: TypeAlias = Connect | Connack | Publish | Ack | Subscribe | Unsubscribe | Granted | Ping | Farewell

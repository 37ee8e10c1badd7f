"""Packets as bytes, of MQTT 3.1.1 and 5, for the broker's side of a connection.

`Decoder` takes bytes as they come and gives packets; `encode` makes bytes of one. A `Decoder` keeps what is not yet
a whole packet, never more than one packet at its limit: a longer one is refused when its length is read.

Source: MQTT Version 5.0 and MQTT Version 3.1.1 (OASIS), chapters 2 and 3.
"""

from __future__ import annotations

from typing import Final, assert_never, cast

from skerry.mqtt.fields import Fields, text, varint
from skerry.mqtt.packets import (
    FAILURES,
    NONE,
    V3,
    V5,
    Ack,
    AckKind,
    Connack,
    Connect,
    Farewell,
    Granted,
    Kind,
    Packet,
    PacketError,
    Ping,
    Properties,
    Publish,
    Reason,
    Subscribe,
    Unsubscribe,
    Wanted,
    Will,
)
from skerry.mqtt.properties import read_properties, write_properties
from skerry.mqtt.topics import check_topic

FILTERS_MAX: Final = 256
"""In one SUBSCRIBE or UNSUBSCRIBE."""
GREETING_BYTES_MAX: Final = 128 * 1024
"""Of a CONNECT: a will has room, and somebody who has not shown who he is takes no more."""

_FLAGS: Final = {Kind.PUBREL: 2, Kind.SUBSCRIBE: 2, Kind.UNSUBSCRIBE: 2}
"""What the lower half of the first byte must be (2.1.3); else 0."""
_REFUSALS: Final = {
    Reason.UNSUPPORTED_VERSION: 1, Reason.BAD_CLIENT: 2, Reason.UNAVAILABLE: 3, Reason.BAD_CREDENTIALS: 4,
    Reason.NOT_AUTHORIZED: 5, Reason.QUOTA: 3, Reason.SHUTTING_DOWN: 3,
}  # fmt: skip
"""CONNACK's return codes in MQTT 3.1.1 (3.2.2.3)."""
_CLIENTS: Final = frozenset(Kind) - {Kind.CONNACK, Kind.SUBACK, Kind.UNSUBACK, Kind.PINGRESP, Kind.WILL}
"""What a client may send."""


class Decoder:
    """See the module."""

    def __init__(self, *, packet_bytes_max: int) -> None:
        self._bytes_max = packet_bytes_max
        self._buffer = bytearray()
        self.version = 0
        """0 until the CONNECT has said it."""

    @property
    def pending(self) -> int:
        """Bytes that are not yet a packet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> Packet | None:
        """The next packet; None: more bytes are needed. Raises `PacketError`; nothing after that makes sense."""
        buffer = self._buffer
        if not self.version and buffer and buffer[0] != Kind.CONNECT << 4:
            raise PacketError(Reason.PROTOCOL_ERROR, "the first packet must be CONNECT")
        length, at = self._length(buffer)
        if length < 0:
            return None
        limit = self._bytes_max if self.version else min(GREETING_BYTES_MAX, self._bytes_max)
        if at + length > limit:
            raise PacketError(Reason.TOO_LARGE, f"a packet of {at + length} bytes; {limit} are allowed")
        if len(buffer) < at + length:
            return None
        first, body = buffer[0], bytes(buffer[at : at + length])
        del buffer[: at + length]
        packet = decode(first, body, self.version)
        if isinstance(packet, Connect):
            if self.version:
                raise PacketError(Reason.PROTOCOL_ERROR, "a second CONNECT")
            self.version = packet.version
        return packet

    @staticmethod
    def _length(buffer: bytearray) -> tuple[int, int]:
        """Of the body, and where it begins; -1 when that is not known yet."""
        length = 0
        for at in range(1, 5):
            if len(buffer) <= at:
                return -1, 0
            digit = buffer[at]
            length |= (digit & 0x7F) << 7 * (at - 1)
            if not digit & 0x80:
                return length, at + 1
        raise PacketError(Reason.MALFORMED, "a length of more than four bytes")


def decode(first: int, body: bytes, version: int) -> Packet:
    """A client's packet of these bytes; `version` is 0 for the first one. Raises `PacketError`."""
    kind, flags = first >> 4, first & 15
    if kind not in _CLIENTS:
        raise PacketError(Reason.MALFORMED, f"packet type {kind} is not a client's to send")
    kind = Kind(kind)
    fields = Fields(body)
    if kind == Kind.PUBLISH:
        return _publish(fields, flags, version)
    if flags != _FLAGS.get(kind, 0):
        raise PacketError(Reason.MALFORMED, f"flags {flags} of {kind.name}")
    packet = _decode_other(kind, fields, version)
    if fields.left:
        raise PacketError(Reason.MALFORMED, f"{fields.left} bytes too many in {kind.name}")
    return packet


def _decode_other(kind: Kind, fields: Fields, version: int) -> Packet:
    match kind:
        case Kind.CONNECT:
            return _connect(fields)
        case Kind.SUBSCRIBE:
            return _subscribe(fields, version)
        case Kind.UNSUBSCRIBE:
            return _unsubscribe(fields, version)
        case Kind.PINGREQ:
            return Ping()
        case Kind.DISCONNECT:
            return _farewell(Kind.DISCONNECT, fields, version)
        case Kind.AUTH:
            if version != V5:
                raise PacketError(Reason.MALFORMED, "AUTH is of MQTT 5")
            return _farewell(Kind.AUTH, fields, version)
        case _:
            return _ack(cast(AckKind, kind), fields, version)


def _connect(fields: Fields) -> Connect:
    name, version = fields.text(), fields.byte()
    if name != "MQTT" or version not in (V3, V5):
        # What follows may be laid out in another way (3.1.2.2).
        raise PacketError(Reason.UNSUPPORTED_VERSION, f"protocol {name[:16]!r} of level {version}")
    flags, keepalive_s = fields.byte(), fields.number()
    will_qos = flags >> 3 & 3
    if flags & 1 or will_qos == 3 or (not flags & 4 and flags & 0x38):
        raise PacketError(Reason.MALFORMED, f"connect flags 0x{flags:02x}")
    if version == V3 and flags & 0x40 and not flags & 0x80:
        raise PacketError(Reason.MALFORMED, "a password without a user")
    properties = read_properties(fields, Kind.CONNECT) if version == V5 else NONE
    client = fields.text()
    will = _will(fields, flags, version) if flags & 4 else None
    username = fields.text() if flags & 0x80 else None
    password = fields.blob() if flags & 0x40 else None
    return Connect(
        version=version,
        client=client,
        clean=bool(flags & 2),
        keepalive_s=keepalive_s,
        username=username,
        password=password,
        will=will,
        properties=properties,
    )


def _will(fields: Fields, flags: int, version: int) -> Will:
    properties = read_properties(fields, Kind.WILL) if version == V5 else NONE
    topic, payload = fields.text(), fields.blob()
    check_topic(topic)
    return Will(topic=topic, payload=payload, qos=flags >> 3 & 3, retain=bool(flags & 0x20), properties=properties)


def _publish(fields: Fields, flags: int, version: int) -> Publish:
    qos = flags >> 1 & 3
    if qos == 3 or (flags & 8 and not qos):
        raise PacketError(Reason.MALFORMED, f"flags {flags} of PUBLISH")
    topic = fields.text()
    packet_id = _packet_id(fields) if qos else 0
    properties = read_properties(fields, Kind.PUBLISH) if version == V5 else NONE
    if properties.subscription_ids:
        raise PacketError(Reason.PROTOCOL_ERROR, "a subscription identifier from a client")
    if properties.topic_alias == 0:
        raise PacketError(Reason.BAD_ALIAS, "topic alias 0")
    if topic or properties.topic_alias is None:
        check_topic(topic)
    if properties.response_topic is not None:
        check_topic(properties.response_topic)
    return Publish(
        topic=topic,
        payload=fields.rest(),
        qos=qos,
        retain=bool(flags & 1),
        again=bool(flags & 8),
        packet_id=packet_id,
        properties=properties,
    )


def _packet_id(fields: Fields) -> int:
    number = fields.number()
    if not number:
        raise PacketError(Reason.PROTOCOL_ERROR, "packet id 0")
    return number


def _ack(kind: AckKind, fields: Fields, version: int) -> Ack:
    packet_id, reason, properties = _packet_id(fields), 0, NONE
    if version == V5 and fields.left:
        reason = fields.byte()
        if fields.left:
            properties = read_properties(fields, kind)
    return Ack(kind=kind, packet_id=packet_id, reason=reason, properties=properties)


def _subscribe(fields: Fields, version: int) -> Subscribe:
    packet_id = _packet_id(fields)
    properties = read_properties(fields, Kind.SUBSCRIBE) if version == V5 else NONE
    if len(properties.subscription_ids) > 1:
        raise PacketError(Reason.PROTOCOL_ERROR, "two subscription identifiers")
    wanted: list[Wanted] = []
    while fields.left:
        filter, options = fields.text(), fields.byte()
        handling = options >> 4 & 3
        if options & 3 == 3 or options & 0xC0 or handling == 3 or (version == V3 and options & 0xFC):
            raise PacketError(Reason.MALFORMED, f"subscription options 0x{options:02x}")
        wanted.append(
            Wanted(
                filter=filter,
                qos=options & 3,
                no_local=bool(options & 4),
                as_published=bool(options & 8),
                retain_handling=handling,
            )
        )
        _check_count(len(wanted))
    if not wanted:
        raise PacketError(Reason.PROTOCOL_ERROR, "SUBSCRIBE to nothing")
    return Subscribe(packet_id=packet_id, wanted=tuple(wanted), properties=properties)


def _unsubscribe(fields: Fields, version: int) -> Unsubscribe:
    packet_id = _packet_id(fields)
    properties = read_properties(fields, Kind.UNSUBSCRIBE) if version == V5 else NONE
    filters: list[str] = []
    while fields.left:
        filters.append(fields.text())
        _check_count(len(filters))
    if not filters:
        raise PacketError(Reason.PROTOCOL_ERROR, "UNSUBSCRIBE from nothing")
    return Unsubscribe(packet_id=packet_id, filters=tuple(filters), properties=properties)


def _check_count(count: int) -> None:
    if count > FILTERS_MAX:
        raise PacketError(Reason.QUOTA, f"more than {FILTERS_MAX} filters in one packet")


def _farewell(kind: Kind, fields: Fields, version: int) -> Farewell:
    assert kind in (Kind.DISCONNECT, Kind.AUTH), "the caller's match"
    reason, properties = 0, NONE
    if version == V5 and fields.left:
        reason = fields.byte()
        if fields.left:
            properties = read_properties(fields, kind)
    return Farewell(kind=Kind.AUTH if kind == Kind.AUTH else Kind.DISCONNECT, reason=reason, properties=properties)


# --- what the broker sends ------------------------------------------------------------------------------------


def encode(packet: Packet, version: int) -> bytes:
    """Bytes of a packet on a connection of this version. What MQTT 3.1.1 can't say is left out."""
    five = version == V5
    match packet:
        case Publish():
            return _encode_publish(packet, five=five)
        case Ack():
            body = packet.packet_id.to_bytes(2, "big")
            if five and (packet.reason or packet.properties is not NONE):
                body += bytes((packet.reason,)) + write_properties(packet.properties)
            return _framed(packet.kind, body, _FLAGS.get(packet.kind, 0))
        case Granted():
            return _encode_granted(packet, five=five)
        case Connack():
            code = packet.reason if five else _REFUSALS.get(packet.reason, min(packet.reason, 1) * 5)
            body = bytes((int(packet.resumed), code))
            return _framed(Kind.CONNACK, body + (write_properties(packet.properties) if five else b""))
        case Ping():
            return _framed(packet.kind, b"")
        case Farewell():
            said = packet.reason or packet.properties is not NONE
            body = bytes((packet.reason,)) + write_properties(packet.properties) if five and said else b""
            return _framed(packet.kind, body)
        case Connect() | Subscribe() | Unsubscribe():
            raise AssertionError("a client's to send")
        case _:
            assert_never(packet)


def _framed(kind: Kind, body: bytes, flags: int = 0) -> bytes:
    return bytes((kind << 4 | flags,)) + varint(len(body)) + body


def _encode_publish(packet: Publish, *, five: bool) -> bytes:
    flags = (8 if packet.again else 0) | packet.qos << 1 | packet.retain
    head = text(packet.topic)
    if packet.qos:
        head += packet.packet_id.to_bytes(2, "big")
    if five:
        head += write_properties(packet.properties)
    return bytes((Kind.PUBLISH << 4 | flags,)) + varint(len(head) + len(packet.payload)) + head + packet.payload


def _encode_granted(packet: Granted, *, five: bool) -> bytes:
    body = packet.packet_id.to_bytes(2, "big")
    if five:
        return _framed(packet.kind, body + write_properties(packet.properties) + bytes(packet.reasons))
    if packet.kind == Kind.UNSUBACK:
        return _framed(packet.kind, body)
    return _framed(packet.kind, body + bytes(0x80 if code >= FAILURES else code for code in packet.reasons))


def forwarded(properties: Properties) -> Properties:
    """Of a message, what travels on to those who hear it (3.3.2.3)."""
    if properties is NONE:
        return NONE
    return Properties(
        payload_format=properties.payload_format,
        message_expiry_s=properties.message_expiry_s,
        content_type=properties.content_type,
        response_topic=properties.response_topic,
        correlation=properties.correlation,
        user=properties.user,
    )

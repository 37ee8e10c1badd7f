"""The properties of MQTT 5: which number means what, of what type, and in which packets it may stand. A table.

Pure; keeps nothing. Source: MQTT Version 5.0 (OASIS), section 2.2.2.2, table 2-4, and the sections it names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from skerry.frozen import Frozen
from skerry.mqtt.fields import Fields, blob, text, varint
from skerry.mqtt.packets import NONE, Kind, PacketError, Properties, Reason

USER_MAX: Final = 64
"""User properties in one packet: they travel on with a message, to everyone who hears it."""

_ACKS: Final = frozenset({Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP, Kind.SUBACK, Kind.UNSUBACK})
_MESSAGES: Final = frozenset({Kind.PUBLISH, Kind.WILL})
_ENDS: Final = frozenset({Kind.CONNECT, Kind.CONNACK})
_CONNACK: Final = frozenset({Kind.CONNACK})
_CONNECT: Final = frozenset({Kind.CONNECT})
_AUTHS: Final = _ENDS | {Kind.AUTH}
_EVERYWHERE: Final = (
    _ACKS | _MESSAGES | _AUTHS | {Kind.SUBSCRIBE, Kind.UNSUBSCRIBE, Kind.DISCONNECT}
)  # fmt: skip


class _Type(Frozen, kw_only=False):
    read: Callable[[Fields], Any]
    write: Callable[[Any], bytes]


_BYTE: Final = _Type(Fields.byte, lambda value: bytes((value,)))
_TWO: Final = _Type(Fields.number, lambda value: value.to_bytes(2, "big"))
_FOUR: Final = _Type(lambda fields: fields.number(4), lambda value: value.to_bytes(4, "big"))
_VARINT: Final = _Type(Fields.varint, varint)
_TEXT: Final = _Type(Fields.text, text)
_BLOB: Final = _Type(Fields.blob, blob)
_PAIR: Final = _Type(lambda fields: (fields.text(), fields.text()), lambda pair: text(pair[0]) + text(pair[1]))


class _Row(Frozen, kw_only=False):
    name: str
    type: _Type
    packets: frozenset[Kind]
    many: bool = False
    flag: bool = False
    """0 or 1."""
    positive: bool = False
    """0 is a protocol error."""


TABLE: Final[dict[int, _Row]] = {
    0x01: _Row("payload_format", _BYTE, _MESSAGES, flag=True),
    0x02: _Row("message_expiry_s", _FOUR, _MESSAGES),
    0x03: _Row("content_type", _TEXT, _MESSAGES),
    0x08: _Row("response_topic", _TEXT, _MESSAGES),
    0x09: _Row("correlation", _BLOB, _MESSAGES),
    0x0B: _Row("subscription_ids", _VARINT, frozenset({Kind.PUBLISH, Kind.SUBSCRIBE}), many=True, positive=True),
    0x11: _Row("session_expiry_s", _FOUR, _ENDS | {Kind.DISCONNECT}),
    0x12: _Row("assigned_client", _TEXT, _CONNACK),
    0x13: _Row("server_keepalive_s", _TWO, _CONNACK),
    0x15: _Row("auth_method", _TEXT, _AUTHS),
    0x16: _Row("auth_data", _BLOB, _AUTHS),
    0x17: _Row("request_problem", _BYTE, _CONNECT, flag=True),
    0x18: _Row("will_delay_s", _FOUR, frozenset({Kind.WILL})),
    0x19: _Row("request_response", _BYTE, _CONNECT, flag=True),
    0x1A: _Row("response_information", _TEXT, _CONNACK),
    0x1C: _Row("server_reference", _TEXT, _CONNACK | {Kind.DISCONNECT}),
    0x1F: _Row("words", _TEXT, _ACKS | _CONNACK | {Kind.DISCONNECT, Kind.AUTH}),
    0x21: _Row("receive_max", _TWO, _ENDS, positive=True),
    0x22: _Row("topic_alias_max", _TWO, _ENDS),
    0x23: _Row("topic_alias", _TWO, frozenset({Kind.PUBLISH})),
    0x24: _Row("qos_max", _BYTE, _CONNACK, flag=True),
    0x25: _Row("retain_available", _BYTE, _CONNACK, flag=True),
    0x26: _Row("user", _PAIR, _EVERYWHERE, many=True),
    0x27: _Row("packet_bytes_max", _FOUR, _ENDS, positive=True),
    0x28: _Row("wildcards_available", _BYTE, _CONNACK, flag=True),
    0x29: _Row("ids_available", _BYTE, _CONNACK, flag=True),
    0x2A: _Row("shared_available", _BYTE, _CONNACK, flag=True),
}


def read_properties(fields: Fields, kind: Kind) -> Properties:
    """Raises `PacketError` for what may not stand in this packet, or not so, or not twice."""
    length = fields.varint()
    if not length:
        return NONE
    section = fields.section(length)
    found: dict[str, Any] = {}
    many: dict[str, list[Any]] = {}
    while section.left:
        number = section.varint()
        row = TABLE.get(number)
        if row is None or kind not in row.packets:
            raise PacketError(Reason.MALFORMED, f"property 0x{number:02x} in {kind.name}")
        value = row.type.read(section)
        if (row.flag and value > 1) or (row.positive and not value):
            raise PacketError(Reason.PROTOCOL_ERROR, f"{row.name} of {value}")
        if not row.many:
            if row.name in found:
                raise PacketError(Reason.PROTOCOL_ERROR, f"{row.name} twice in {kind.name}")
            found[row.name] = value
            continue
        values = many.setdefault(row.name, [])
        values.append(value)
        if len(values) > USER_MAX:
            raise PacketError(Reason.QUOTA, f"more than {USER_MAX} of {row.name}")
    found.update((name, tuple(values)) for name, values in many.items())
    return Properties(**found)


def write_properties(properties: Properties) -> bytes:
    """With the length before them."""
    if properties is NONE:
        return b"\x00"
    out = bytearray()
    for number, row in TABLE.items():
        value = getattr(properties, row.name)
        if row.many:
            for each in value:
                out += bytes((number,)) + row.type.write(each)
        elif value is not None:
            out += bytes((number,)) + row.type.write(value)
    return varint(len(out)) + out

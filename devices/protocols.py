"""Which driver speaks a protocol by the name that a Device gives it.

Pure. What no driver here speaks is left to mappers and apps (`devices.external`): KubeEdge lets anybody invent a
protocol, so a name that we do not know is no mistake.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

PROTOCOLS: Final[dict[str, str]] = {
    "modbus": "modbus",
    "modbus-tcp": "modbus",
    "mqtt": "mqtt",
    "http": "http",
    "https": "http",
    "snmp": "snmp",
    "virtual": "virtual",
}
"""Names that manifests use, in lower case, and the driver that is meant."""

WITHOUT_SECRET: Final = frozenset({"modbus", "mqtt", "virtual"})
"""Drivers that have no use for a Secret; a `secretRef` of their devices is a mistake."""

EXTERNAL: Final = "external"
"""The driver of all other protocols."""


def driver_of(protocol: str, others: Container[str] = ()) -> str:
    """The driver for `spec.protocol.protocolName`. `others`: protocols of which somebody has added a driver, in lower
    case; asked for those alone that none of ours speaks."""
    name = protocol.lower()
    return PROTOCOLS.get(name) or (name if name in others else EXTERNAL)

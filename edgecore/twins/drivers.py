"""Which drivers this agent has, made when the first device needs them.

Importing this costs nothing: a driver is imported when the first device needs it, and a protocol's library (paho,
pyserial, h11, pysnmp) when a first broker, port or device is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from devices.mapper import Drivers, Services
from devices.port import Driver, Notes
from edgecore.twins.configuring import DriverFactory
from skerry.ports import Clock, Ids

if TYPE_CHECKING:
    from devices.mqtt.config import Broker
    from devices.mqtt.port import Connect


def driver_factories(
    *,
    clock: Clock,
    ids: Ids,
    node: str,
    broker: Broker | None = None,
    brokers: Connect | None = None,
    notes: Notes | None = None,
    credentials: Path | None = None,
) -> Mapping[str, DriverFactory]:
    """By protocol, for `Keeper`, with those that installed packages add. `node` names this gateway to MQTT brokers;
    `broker` is its own (None: there is none), `brokers` connects to them (None: over the network), `notes` outlive
    the agent, `credentials` has the files with secrets and certificates that devices may name (None: anywhere)."""

    def modbus() -> Driver:
        from devices.modbus.driver import ModbusDriver

        return ModbusDriver(clock=clock, ids=ids, notes=notes, credentials=credentials)

    def mqtt() -> Driver:
        from devices.mqtt.driver import MqttDriver

        return MqttDriver(
            clock=clock, client_id=f"skerry-{node}", connect=brokers, gateways=broker, credentials=credentials
        )

    def http() -> Driver:
        from devices.http.driver import http_driver

        return http_driver(clock=clock, ids=ids, credentials=credentials)

    def snmp() -> Driver:
        from devices.snmp.driver import snmp_driver

        return snmp_driver(clock=clock, ids=ids)

    def virtual() -> Driver:
        from devices.virtual.driver import VirtualDriver

        return VirtualDriver(clock=clock)

    own: Mapping[str, DriverFactory] = {
        "modbus": modbus,
        "mqtt": mqtt,
        "http": http,
        "snmp": snmp,
        "virtual": virtual,
    }
    return Drivers(own, Services(clock=clock, ids=ids, node=node))

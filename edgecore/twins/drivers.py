"""Which drivers this agent has, made when the first device needs them.

Importing this costs no protocol library: pymodbus and paho are imported when a first line or broker is connected.
"""

from __future__ import annotations

from collections.abc import Mapping

from devices.modbus.driver import ModbusDriver
from devices.mqtt.driver import MqttDriver
from devices.mqtt.port import Connect
from devices.virtual import VirtualDriver
from edgecore.twins.configuring import DriverFactory
from skerry.ports import Clock, Ids


def driver_factories(
    *, clock: Clock, ids: Ids, node: str, brokers: Connect | None = None
) -> Mapping[str, DriverFactory]:
    """By protocol, for `Keeper`. `node` names this gateway to MQTT brokers; `brokers` connects to them (None: over
    the network)."""
    return {
        "modbus": lambda: ModbusDriver(clock=clock, ids=ids),
        "mqtt": lambda: MqttDriver(clock=clock, client_id=f"skerry-{node}", connect=brokers),
        "virtual": lambda: VirtualDriver(clock=clock),
    }

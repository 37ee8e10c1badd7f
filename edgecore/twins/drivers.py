"""Which drivers this agent has, made when the first device needs them.

Importing this costs no protocol library: paho, pyserial, h11 and pysnmp are imported when a first broker, port or
device is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from devices.http.driver import http_driver
from devices.mapper import Drivers, Services
from devices.modbus.driver import ModbusDriver
from devices.mqtt.config import Broker
from devices.mqtt.driver import MqttDriver
from devices.mqtt.port import Connect
from devices.port import Notes
from devices.snmp.driver import snmp_driver
from devices.virtual.driver import VirtualDriver
from edgecore.twins.configuring import DriverFactory
from skerry.ports import Clock, Ids


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
    own: Mapping[str, DriverFactory] = {
        "modbus": lambda: ModbusDriver(clock=clock, ids=ids, notes=notes, credentials=credentials),
        "mqtt": lambda: MqttDriver(
            clock=clock, client_id=f"skerry-{node}", connect=brokers, gateways=broker, credentials=credentials
        ),
        "http": lambda: http_driver(clock=clock, ids=ids, credentials=credentials),
        "snmp": lambda: snmp_driver(clock=clock, ids=ids),
        "virtual": lambda: VirtualDriver(clock=clock),
    }
    return Drivers(own, Services(clock=clock, ids=ids, node=node))

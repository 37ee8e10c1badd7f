"""Every driver keeps the contract: virtual in memory, the others on real sockets."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from devices.http.driver import http_driver
from devices.modbus.driver import ModbusDriver
from devices.mqtt.driver import MqttDriver
from devices.port import DeviceConfig, PropertyConfig
from devices.snmp.driver import snmp_driver
from devices.virtual.driver import VirtualDriver
from skerry.clocks import SeededIds, SystemClock
from skerry.frozen import replace
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.testkit.drivers import DriverContract, Form, MakeForm
from skerry.transport.mqtt_ends import end
from tests.devices.http.nginx import NGINX, nginx
from tests.devices.raw_slave import Slave, running
from tests.devices.snmp.snmpd import LEVEL, SETPOINT, SNMPD, snmpd

MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")


def config(protocol: str, protocol_config: JsonObject, level: JsonObject, setpoint: JsonObject) -> DeviceConfig:
    def prop(name: str, visitor: JsonObject, *, writable: bool) -> PropertyConfig:
        return PropertyConfig(
            name=name,
            type="INT",
            writable=writable,
            unit="",
            minimum=0.0,
            maximum=90.0,
            collect_ms=20,
            visitor=visitor,
        )

    return DeviceConfig(
        device=Key("devices.devices.kubeedge.io", "default", "one"),
        protocol=protocol,
        protocol_config=protocol_config,
        properties=(prop("level", level, writable=False), prop("setpoint", setpoint, writable=True)),
    )


def broken(good: DeviceConfig) -> DeviceConfig:
    level, setpoint = good.properties
    return replace(good, properties=(replace(level, visitor={**level.visitor, "nonsense": 1}), setpoint))


class TestVirtual(DriverContract):
    @pytest.fixture
    def make(self) -> MakeForm:
        @asynccontextmanager
        async def made() -> AsyncGenerator[Form]:
            good = config("virtual", {}, {"initial": 7}, {"initial": 1})
            yield Form(driver=VirtualDriver(clock=SystemClock()), config=good, broken=broken(good))

        return made


@pytest.mark.system
class TestModbus(DriverContract):
    @pytest.fixture
    def make(self) -> MakeForm:
        @asynccontextmanager
        async def made() -> AsyncGenerator[Form]:
            async with running(Slave()) as slave:
                tcp: JsonObject = {"tcp": {"ip": "127.0.0.1", "port": slave.port}, "timeoutMs": 5000}
                good = config("modbus", tcp, {"address": "hr:7"}, {"address": "hr:20"})
                yield Form(
                    driver=ModbusDriver(clock=SystemClock(), ids=SeededIds(1)), config=good, broken=broken(good)
                )

        return made


@pytest.mark.system
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
class TestHttp(DriverContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> MakeForm:
        @asynccontextmanager
        async def made() -> AsyncGenerator[Form]:
            with nginx(tmp_path) as server:
                server.put("level", "7")
                server.put("setpoint", "1")
                good = config(
                    "http",
                    {"url": f"http://127.0.0.1:{server.port}/"},
                    {"url": "level"},
                    {"url": "setpoint", "writeTemplate": "${value}"},
                )
                yield Form(
                    driver=http_driver(clock=SystemClock(), ids=SeededIds(1)), config=good, broken=broken(good)
                )

        return made


@pytest.mark.system
@pytest.mark.skipif(SNMPD is None, reason="snmpd is not installed")
class TestSnmp(DriverContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> MakeForm:
        @asynccontextmanager
        async def made() -> AsyncGenerator[Form]:
            with snmpd(tmp_path) as agent:
                protocol: JsonObject = {"host": "127.0.0.1", "port": agent.port, "timeoutMs": 5000}
                good = config("snmp", protocol, {"oid": LEVEL}, {"oid": SETPOINT})
                secret = {"username": b"ann", "authPassword": b"authpass12", "privPassword": b"privpass12"}
                good = replace(good, secret=secret)
                driver = snmp_driver(clock=SystemClock(), ids=SeededIds(1))
                yield Form(driver=driver, config=good, broken=broken(good))

        return made


@pytest.mark.system
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
class TestMqtt(DriverContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> MakeForm:
        @asynccontextmanager
        async def made() -> AsyncGenerator[Form]:
            with closing(socket.socket()) as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            written = tmp_path / "mosquitto.conf"
            written.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
            assert MOSQUITTO is not None
            process = subprocess.Popen([MOSQUITTO, "-c", str(written)], stderr=subprocess.DEVNULL)
            device = _device_that_answers(port)
            talking = asyncio.create_task(_tell_level(device))
            good = config(
                "mqtt",
                {"host": "127.0.0.1", "port": port},
                {"topic": "one/level"},
                {"topic": "one/setpoint", "commandTopic": "one/setpoint/set"},
            )
            try:
                yield Form(driver=MqttDriver(clock=SystemClock(), client_id="x"), config=good, broken=broken(good))
            finally:
                talking.cancel()
                device.disconnect()
                await asyncio.to_thread(end, device)
                process.terminate()
                process.wait(10)

        return made


def _device_that_answers(port: int) -> paho.Client:
    device = paho.Client(CallbackAPIVersion.VERSION2)
    device.reconnect_delay_set(1, 1)

    def subscribe(client: paho.Client, *_: object) -> None:
        client.subscribe("one/setpoint/set", 1)

    def answer(client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        client.publish("one/setpoint", message.payload, qos=1)

    device.on_connect, device.on_message = subscribe, answer
    device.connect_async("127.0.0.1", port)
    device.loop_start()
    return device


async def _tell_level(device: paho.Client) -> None:
    while True:
        device.publish("one/level", "7")
        await asyncio.sleep(0.05)

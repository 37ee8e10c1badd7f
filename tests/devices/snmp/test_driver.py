"""The SNMP driver against net-snmp's snmpd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from devices.polling import PollingDriver
from devices.port import DeviceConfig, PropertyConfig, Reading
from devices.snmp.client import Engines
from devices.snmp.config import Target, Written, parse_device
from devices.snmp.driver import snmp_driver
from skerry.clocks import SeededIds, SystemClock
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from tests.devices.raw_slave import until
from tests.devices.snmp.relay import Relay, relaying
from tests.devices.snmp.snmpd import (
    ABSENT,
    ADDRESS,
    BIG,
    FIXED,
    LAMP,
    LEVEL,
    LOAD,
    NAME,
    OBJECT,
    SETPOINT,
    SNMPD,
    UPTIME,
    Snmpd,
    snmpd,
)

pytestmark = [pytest.mark.system, pytest.mark.skipif(SNMPD is None, reason="snmpd is not installed")]
DEVICE = Key("devices.devices.kubeedge.io", "default", "one")
V3: Mapping[str, bytes] = {"username": b"ann", "authPassword": b"authpass12", "privPassword": b"privpass12"}
V2: JsonObject = {"version": "2c"}
PRIVATE: Mapping[str, bytes] = {"community": b"private"}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Generator[Snmpd]:
    with snmpd(tmp_path_factory.mktemp("snmpd")) as made:
        yield made


def prop(name: str, visitor: JsonObject, type: str = "INT", *, writable: bool = False) -> PropertyConfig:
    return PropertyConfig(
        name=name,
        type=type,
        writable=writable,
        unit="",
        minimum=None,
        maximum=None,
        collect_ms=50,
        visitor=visitor,
    )


LEVEL_PROP = prop("level", {"oid": LEVEL})


def config(
    port: int,
    *properties: PropertyConfig,
    secret: Mapping[str, bytes] = V3,
    name: str = "one",
    **data: int | str,
) -> DeviceConfig:
    protocol: JsonObject = {"host": "127.0.0.1", "port": port, "timeoutMs": 5000, **data}
    return DeviceConfig(
        device=Key(DEVICE.resource, "default", name),
        protocol="snmp",
        protocol_config=protocol,
        properties=properties,
        secret=secret,
    )


class Running:
    """A driver at work, and its readings."""

    def __init__(self, driver: PollingDriver) -> None:
        self.driver = driver
        self.newest: dict[str, Reading] = {}
        self.values: list[tuple[str, object]] = []

    async def listen(self) -> None:
        async for reading in self.driver.readings():
            self.newest[reading.prop] = reading
            self.values.append((reading.prop, reading.value))

    async def value(self, name: str, value: object) -> None:
        await until(lambda: name in self.newest and self.newest[name].value == value, deadline_s=30)

    async def reason(self, name: str, said: str) -> None:
        await until(lambda: name in self.newest and said in self.newest[name].reason, deadline_s=30)


@asynccontextmanager
async def running(*made: DeviceConfig) -> AsyncGenerator[Running]:
    driver = snmp_driver(clock=SystemClock(), ids=SeededIds(1))
    assert list(await driver.configure(made)) == []
    at_work = Running(driver)
    tasks = [asyncio.create_task(driver.run()), asyncio.create_task(at_work.listen())]
    try:
        yield at_work
    finally:
        await driver.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


EVERYTHING = (
    LEVEL_PROP,
    prop("big", {"oid": BIG}, "DOUBLE"),
    prop("fixed", {"oid": FIXED, "scale": 0.1}, "DOUBLE"),
    prop("name", {"oid": NAME}, "STRING"),
    prop("bytes", {"oid": NAME}, "BYTES"),
    prop("lamp", {"oid": LAMP}, "BOOLEAN"),
    prop("mode", {"oid": LAMP, "values": {"1": "day", "2": "night"}}, "STRING"),
    prop("address", {"oid": ADDRESS}, "STRING"),
    prop("object", {"oid": OBJECT}, "STRING"),
    prop("uptime", {"oid": UPTIME, "scale": 0.01}, "DOUBLE"),
    prop("load", {"oid": LOAD}, "DOUBLE"),
    prop("absent", {"oid": ABSENT}),
    prop("wrong", {"oid": NAME}),
)


@pytest.mark.parametrize("version", ["1", "2c", "3"])
async def test_objects_of_every_kind_are_values_whatever_the_version(agent: Snmpd, version: str) -> None:
    secret = V3 if version == "3" else PRIVATE
    async with running(config(agent.port, *EVERYTHING, secret=secret, version=version)) as device:
        await device.value("level", 7)
        await device.value("fixed", -21.5)
        await device.value("name", "boiler")
        await device.value("bytes", b"boiler")
        await device.value("lamp", False)
        await device.value("mode", "night")
        await device.value("address", "127.0.0.1")
        await device.value("object", "1.3.6.1.4.1.8072.3.2.10")
        await until(lambda: "uptime" in device.newest and device.newest["uptime"].quality == "good", deadline_s=30)
        await until(lambda: "load" in device.newest, deadline_s=30)
        load = device.newest["load"]
        assert isinstance(load.value, float) and 0 <= load.value < 1000
        await device.reason("wrong", "(it is OctetString)")
        if version == "1":
            await device.reason("absent", "the device answers noSuchName")
            await device.reason("big", "the device answers noSuchName")  # SNMP 1 has no number of 64 bits
        else:
            await device.reason("absent", "the device has no such object")
            await until(lambda: device.newest["big"].quality == "good", deadline_s=30)
            told = device.driver.explain(DEVICE, "big")
            assert told is not None and told.raw["syntax"] == "Counter64"
        assert [(each.online, each.reason) for each in device.driver.health()] == [(True, "")]
        told = device.driver.explain(DEVICE, "fixed")
        assert told is not None
        assert [(step.name, step.says) for step in told.steps] == [
            ("object", "Integer32: -215"),
            ("scale", "0.1"),
            ("value", "-21.5 (DOUBLE)"),
        ]


async def test_what_is_set_is_read_back_and_what_can_t_be_is_refused(agent: Snmpd) -> None:
    made = config(
        agent.port,
        prop("setpoint", {"oid": SETPOINT, "scale": 0.1}, "DOUBLE", writable=True),
        prop("name", {"oid": NAME}, "STRING", writable=True),
        prop("level", {"oid": LEVEL}, writable=True),
        prop("text", {"oid": NAME, "writeType": "integer"}, "STRING", writable=True),
    )
    async with running(made) as device:
        result = await device.driver.write(DEVICE, "setpoint", 21.5)
        assert (result.state, result.read_back and result.read_back.value) == ("verified", 21.5)
        assert (await device.driver.write(DEVICE, "name", "kettle")).state == "verified"
        assert (await device.driver.write(DEVICE, "name", "boiler", once=True)).state == "verified"
        result = await device.driver.write(DEVICE, "setpoint", 21.55)
        assert (result.state, "between two steps" in result.reason) == ("refused", True)
        result = await device.driver.write(DEVICE, "level", 8)
        assert (result.state, result.reason) == ("refused", "the device answers notWritable")
        result = await device.driver.write(DEVICE, "text", "5")
        assert (result.state, result.reason) == ("refused", "the device answers wrongType")
        told = device.driver.rehearse(DEVICE, "setpoint", 21.5)
        assert told is not None and told.requests == ({"oid": SETPOINT, "type": "integer", "value": "215"},)


async def test_who_we_are_is_proven_and_what_is_wrong_is_said(agent: Snmpd) -> None:
    level = LEVEL_PROP
    ben = {"username": b"ben", "authPassword": b"authpass34"}
    async with running(
        config(agent.port, level, name="one"),
        config(agent.port, level, name="ben", secret=ben, securityLevel="authNoPriv", authProtocol="SHA512"),
        config(agent.port, level, name="wrong", secret={**V3, "authPassword": b"wrongpass1"}),
        config(agent.port, level, name="nobody", secret={**V3, "username": b"cid"}),
        config(agent.port, level, name="weak", secret=V3, securityLevel="authNoPriv"),
        config(agent.port, level, name="public", version="2c", secret={}, timeoutMs=200, retries=0),
    ) as device:

        def reasons() -> dict[str, str]:
            return {each.device.name: each.reason for each in device.driver.health()}

        await until(lambda: len(reasons()) == 6, deadline_s=30)
        said = reasons()
        assert said["one"] == said["ben"] == ""
        assert "digest" in said["wrong"].lower()
        assert "unknown" in said["nobody"].lower()
        assert said["public"] == "no answer within 0.2 s"
        reading = await device.driver.read(Key(DEVICE.resource, "default", "weak"), "level")
        assert reading.value is None and "authorizationError" in reading.reason
        shown = repr(device.driver.explain(DEVICE, "level")) + repr(said)
        assert "authpass" not in shown and "privpass" not in shown


async def test_many_objects_are_asked_for_together(agent: Snmpd) -> None:
    many = [prop(f"level{number}", {"oid": LEVEL}) for number in range(30)]
    async with relaying(agent.port) as relay:
        made = config(relay.port, *many, secret=PRIVATE, version="2c", oidsMax=10)
        async with running(made) as device:
            await until(lambda: len(device.newest) == 30, deadline_s=30)
            assert all(reading.value == 7 for reading in device.newest.values())
            assert relay.requests <= 3 * (len(device.values) / 30 + 1), "three requests a cycle"


@pytest.mark.parametrize(("secret", "version"), [(PRIVATE, "2c"), (V3, "3")])
async def test_late_lost_and_repeated_answers_make_no_wrong_value(
    agent: Snmpd, secret: Mapping[str, bytes], version: str
) -> None:
    made = (prop("level", {"oid": LEVEL}), prop("fixed", {"oid": FIXED}), prop("name", {"oid": NAME}, "STRING"))

    def fault(number: int) -> Relay.Fault:
        return {3: "late", 5: "lost", 7: "twice", 9: "cut"}.get(number % 10, "")  # pyright: ignore[reportReturnType]

    async with relaying(agent.port, fault, late_s=0.3) as relay:
        one = config(relay.port, *made, secret=secret, version=version, timeoutMs=150, retries=0)
        async with running(one) as device:
            good = {("level", 7), ("fixed", -215), ("name", "boiler")}
            for _ in range(10):
                for name in ("level", "fixed", "name"):
                    await device.driver.read(DEVICE, name)
            await until(lambda: sum(each in good for each in device.values) >= 20, deadline_s=60)
            assert {each for each in device.values if each[1] is not None} <= good
            assert relay.spoiled > 5


@pytest.mark.parametrize(("secret", "version"), [(PRIVATE, "2c"), (V3, "3")])
async def test_a_late_answer_is_never_that_to_the_question_after(
    agent: Snmpd, secret: Mapping[str, bytes], version: str
) -> None:
    async with relaying(agent.port, lambda number: "late" if number % 2 else "", late_s=0.25) as relay:
        made = config(relay.port, prop("setpoint", {"oid": SETPOINT}), secret=secret, version=version)
        access, engines = parse_device(made).access, Engines()
        target = Target(host="127.0.0.1", port=agent.port, context="", timeout_s=5, retries=0)
        direct = engines.session(access, target)
        asked = Engines().session(access, replace(target, port=relay.port, timeout_s=0.2))
        right = none = 0
        for number in range(40):
            assert await direct.set(SETPOINT, Written(kind="integer", value=number), once=False) is None
            try:
                (bound,) = await asked.get([SETPOINT])  # pyright: ignore[reportGeneralTypeIssues]
            except UnavailableError:
                none += 1
            else:
                assert bound.value == number
                right += 1
        await direct.close()
        await asked.close()
        assert right >= 5 and none >= 5


async def test_a_device_that_is_gone_is_left_alone(tmp_path: Path) -> None:
    with snmpd(tmp_path) as agent:
        async with running(config(agent.port, LEVEL_PROP, timeoutMs=300, retries=0)) as device:
            await device.value("level", 7)
            agent.stop()
            await device.reason("level", "no answer within 0.3 s")
            await device.reason("level", "it is asked again in")
            assert not device.driver.health()[0].online

"""The HTTP driver against nginx: what it reads, shares, writes and does not do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from devices.http.driver import http_driver
from devices.polling import PollingDriver
from devices.port import DeviceConfig, PropertyConfig, Reading
from skerry.clocks import SeededIds, SystemClock
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from tests.devices.http.nginx import NGINX, Nginx, nginx
from tests.devices.raw_slave import until
from tests.system.certificates import Site

pytestmark = [pytest.mark.system, pytest.mark.skipif(NGINX is None, reason="nginx is not installed")]
DEVICE = Key("devices.devices.kubeedge.io", "default", "one")


@pytest.fixture
def server(tmp_path: Path) -> Generator[Nginx]:
    with nginx(tmp_path) as made:
        yield made


def prop(name: str, visitor: JsonObject, type: str = "DOUBLE", *, writable: bool = False) -> PropertyConfig:
    return PropertyConfig(
        name=name,
        type=type,
        writable=writable,
        unit="",
        minimum=None,
        maximum=100.0,
        collect_ms=50,
        visitor=visitor,
    )


def config(
    url: str, *properties: PropertyConfig, secret: dict[str, bytes] | None = None, **data: int | JsonObject
) -> DeviceConfig:
    protocol: JsonObject = {"url": url, "timeoutMs": 5000, **data}
    return DeviceConfig(
        device=DEVICE, protocol="http", protocol_config=protocol, properties=properties, secret=secret or {}
    )


class Running:
    """A driver at work, and the newest reading of each property."""

    def __init__(self, driver: PollingDriver) -> None:
        self.driver = driver
        self.newest: dict[str, Reading] = {}
        self.count = 0

    async def listen(self) -> None:
        async for reading in self.driver.readings():
            self.newest[reading.prop] = reading
            self.count += 1

    async def value(self, name: str, value: object) -> Reading:
        await until(lambda: name in self.newest and self.newest[name].value == value, deadline_s=20)
        return self.newest[name]

    async def reason(self, name: str, said: str) -> Reading:
        await until(lambda: name in self.newest and said in self.newest[name].reason, deadline_s=20)
        return self.newest[name]


@asynccontextmanager
async def running(made: DeviceConfig) -> AsyncGenerator[Running]:
    driver = http_driver(clock=SystemClock(), ids=SeededIds(1))
    assert list(await driver.configure([made])) == []
    at_work = Running(driver)
    tasks = [asyncio.create_task(driver.run()), asyncio.create_task(at_work.listen())]
    try:
        yield at_work
    finally:
        await driver.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_properties_of_one_page_share_its_requests_and_what_is_unchanged_is_not_sent_again(
    server: Nginx,
) -> None:
    server.put("state.json", '{"sensors": [{"t": 21.5}], "pump": "ON", "at": "2026-01-01T00:00:00Z"}')
    made = config(
        server_url(server),
        prop("temperature", {"url": "state.json", "path": "$.sensors[0].t", "timestampPath": "$.at"}),
        prop("pump", {"url": "state.json", "path": "$.pump", "values": {"ON": True, "OFF": False}}, "BOOLEAN"),
    )
    async with running(made) as device:
        reading = await device.value("temperature", 21.5)
        assert reading.quality == "good" and reading.source_ms == 1_767_225_600_000
        await device.value("pump", True)
        await until(lambda: device.count >= 10, deadline_s=20)
        statuses = [line.split()[2] for line in server.requests()]
        assert statuses[0] == "200" and set(statuses[1:]) == {"304"}
        assert len(statuses) <= device.count / 2 + 1, "one request for both"
        server.put("state.json", '{"sensors": [{"t": 140}], "pump": "OFF"}')
        reading = await device.value("temperature", None)
        assert "the timestamp" in reading.reason
        await device.value("pump", False)
        told = device.driver.explain(DEVICE, "pump")
        assert told is not None and told.place == f"GET {server_url(server)}state.json"
        assert [step.name for step in told.steps] == ["payload", "path", "values", "value"]


def server_url(server: Nginx) -> str:
    return f"http://127.0.0.1:{server.port}/"


SETPOINT = prop(
    "setpoint", {"url": "setpoint.json", "path": "$.set", "writeTemplate": '{"set": ${json}}'}, writable=True
)


async def test_what_is_written_is_read_back(server: Nginx) -> None:
    server.put("setpoint.json", '{"set": 20}')
    async with running(config(server_url(server), SETPOINT)) as device:
        await device.value("setpoint", 20)
        told = device.driver.rehearse(DEVICE, "setpoint", 42.5)
        assert told is not None and told.requests[0]["body"] == '{"set": 42.5}'
        result = await device.driver.write(DEVICE, "setpoint", 42.5)
        assert (result.state, result.read_back and result.read_back.value) == ("verified", 42.5)
        assert (server.files / "setpoint.json").read_text() == '{"set": 42.5}'
        assert sum(line.startswith("PUT") for line in server.requests()) == 1


async def test_refusals_of_a_value_are_final_and_those_of_a_request_are_not(server: Nginx) -> None:
    server.put("setpoint.json", '{"set": 20}')
    made = config(
        server_url(server),
        prop("never", {"url": "setpoint.json", "path": "$.set", "writeUrl": "never"}, writable=True),
        prop("blind", {"writeUrl": "blind.json", "writeTemplate": "${value}"}, writable=True),
        prop("lost", {"url": "setpoint.json", "path": "$.set", "writeUrl": "kept.json"}, writable=True),
        prop("denied", {"writeUrl": "setpoint.json", "writeMethod": "PATCH"}, writable=True),
    )
    async with running(made) as device:
        result = await device.driver.write(DEVICE, "never", 5.0)
        assert (result.state, result.reason) == ("refused", "it answers 422 Unprocessable Entity: not now")
        result = await device.driver.write(DEVICE, "blind", 5.0)
        assert (result.state, "no url to be read back" in result.reason) == ("applied", True)
        result = await device.driver.write(DEVICE, "lost", 5.0)
        assert (result.state, result.reason) == ("failed", "read back 20.0 in place of 5.0")
        result = await device.driver.write(DEVICE, "denied", 5.0)
        assert (result.state, "405" in result.reason) == ("refused", True)


async def test_redirects_are_followed_within_the_device_alone(server: Nginx) -> None:
    server.put("state.json", "5")
    made = config(
        server_url(server),
        *(prop(name, {"url": name}) for name in ("moved", "elsewhere", "circle", "absent.json")),
    )
    async with running(made) as device:
        await device.value("moved", 5)
        await device.reason("elsewhere", "it sends to http://127.0.0.1:1: let the device's url begin with that")
        await device.reason("circle", "it sends elsewhere")
        await device.reason("absent.json", "it answers 404 Not Found")
        assert device.driver.health()[0].online


async def test_a_device_that_wants_to_be_left_alone_is(server: Nginx) -> None:
    async with running(config(server_url(server), prop("level", {"url": "busy"}))) as device:
        await device.reason("level", "it answers 503 Service Unavailable: warming up")
        await device.reason("level", "it answers 503 and wants to be left alone; it is asked again in")
        assert len(server.requests()) == 1


async def test_a_device_that_does_not_answer_is_left_alone_ever_longer(tmp_path: Path) -> None:
    with nginx(tmp_path) as server:
        server.put("state.json", "5")
        made = config(
            server_url(server), prop("level", {"url": "state.json", "writeTemplate": "${value}"}, writable=True)
        )
        async with running(made) as device:
            await device.value("level", 5)
            server.stop()
            await device.reason("level", "can't be reached")
            await device.reason("level", "it is asked again in")
            assert not device.driver.health()[0].online
            result = await device.driver.write(DEVICE, "level", 5.0)
            assert (result.state, "asked again" in result.reason) == ("failed", True)


async def test_a_page_that_is_too_large_is_no_value(server: Nginx) -> None:
    server.put("state.json", "5" * 5000)
    made = config(server_url(server), prop("level", {"url": "state.json"}), responseBytesMax=1000)
    async with running(made) as device:
        await device.reason("level", "the answer is larger than 1000 bytes (responseBytesMax)")


async def test_a_password_is_sent_to_the_device_alone(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("ann:{PLAIN}s3cret\n")
    guard = f'auth_basic "device"; auth_basic_user_file {passwords};'
    with nginx(tmp_path, server=guard) as server:
        server.put("state.json", "5")
        level = prop("level", {"url": "state.json"})
        async with running(config(server_url(server), level)) as device:
            await device.reason("level", "it answers 401 Unauthorized")
            fixed = config(server_url(server), level, secret={"username": b"ann", "password": b"s3cret"})
            assert list(await device.driver.configure([fixed])) == []
            await device.value("level", 5)
            told = device.driver.explain(DEVICE, "level")
            assert "s3cret" not in repr(told) and "YW5u" not in repr(told)


async def test_a_proxy_of_the_environment_is_not_taken(server: Nginx, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.put("state.json", "5")
    async with running(config(server_url(server), prop("level", {"url": "state.json"}))) as device:
        await device.value("level", 5)


async def test_over_tls_both_sides_prove_who_they_are(tmp_path: Path) -> None:
    site = Site(tmp_path)
    tls = f"ssl_certificate {tmp_path}/server.pem; ssl_certificate_key {tmp_path}/server.pem;"
    tls += f"ssl_client_certificate {tmp_path}/ca.pem; ssl_verify_client on;"
    room = tmp_path / "nginx"
    room.mkdir()
    with nginx(room, tls=tls) as server:
        server.put("state.json", "5")
        url = f"https://127.0.0.1:{server.port}/"
        level = prop("level", {"url": "state.json"})
        ca, identity = (tmp_path / "ca.pem").read_bytes(), site.identity
        async with running(config(url, level, tls={})) as device:
            await device.reason("level", "its certificate is not trusted")
        async with running(config(url, level, tls={"caFile": f"{tmp_path}/ca.pem"})) as device:
            await device.reason("level", "it answers 400")
        secret = {
            "ca.crt": ca,
            "tls.crt": identity.certificate_file.read_bytes(),
            "tls.key": identity.key_file.read_bytes(),
        }
        async with running(config(url, level, secret=secret)) as device:
            await device.value("level", 5)
        async with running(config(url, level, secret=secret, tls={"serverName": "other"})) as device:
            await device.reason("level", "its certificate is not trusted")

"""MQTT over TLS, against mosquitto: both sides prove who they are, and what is wrong is said."""

from __future__ import annotations

import asyncio
import gc
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from devices.mqtt.driver import MqttDriver
from devices.port import DeviceConfig, PropertyConfig
from skerry.clocks import SystemClock
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from tests.devices.raw_slave import until
from tests.system.certificates import Site

MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")

pytestmark = [pytest.mark.system, pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def port(site: Site) -> Iterator[int]:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = site.path / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\ncafile {site.path}/ca.pem\ncertfile {site.path}/server.pem\n"
        f"keyfile {site.path}/server.pem\nrequire_certificate true\nuse_identity_as_username true\nuser root\n"
    )
    assert MOSQUITTO is not None
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stderr=subprocess.DEVNULL)
    yield port
    process.terminate()
    process.wait(10)


async def reason_with(port: int, tls: JsonObject) -> str:
    """Why the device is offline after some time; "" when it is not."""
    visitor: JsonObject = {"topic": "t"}
    prop = PropertyConfig(
        name="t", type="INT", writable=False, unit="", minimum=None, maximum=None, collect_ms=1000, visitor=visitor
    )
    protocol: JsonObject = {"host": "127.0.0.1", "port": port, "tls": tls}
    config = DeviceConfig(
        device=Key("d", "default", "x"), protocol="mqtt", protocol_config=protocol, properties=(prop,)
    )
    driver = MqttDriver(clock=SystemClock(), client_id="eu-1")
    assert await driver.configure([config]) == []
    task = asyncio.create_task(driver.run())
    try:
        await until(lambda: driver.health()[0].reason not in ("not connected yet",), deadline_s=20)
        await until(lambda: "Connection refused" not in driver.health()[0].reason, deadline_s=20)
        return driver.health()[0].reason
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_both_sides_prove_who_they_are(site: Site, port: int) -> None:
    files: JsonObject = {
        "caFile": str(site.identity.ca_file),
        "certFile": str(site.identity.certificate_file),
        "keyFile": str(site.identity.key_file),
    }
    assert await reason_with(port, files) == ""


async def test_a_broker_whose_authority_is_not_trusted_is_not_spoken_to(port: int) -> None:
    said = await reason_with(port, {})
    assert said.startswith(f"cannot connect to broker 127.0.0.1:{port}: its certificate is not good: "), said
    gc.collect()


async def test_a_file_that_is_not_there_is_named(port: int) -> None:
    said = await reason_with(port, {"caFile": "/nowhere/ca.pem"})
    assert said == f"broker 127.0.0.1:{port}: /nowhere/ca.pem can't be read: No such file or directory"

"""The driver keeps every promise of the port: Skerry's own suite, on a controller that is played here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from acme_skerry import driver

from devices.mapper import DeviceConfig, PropertyConfig, Services
from skerry.clocks import SystemClock, SystemIds
from skerry.frozen import replace
from skerry.objects.meta import Key
from skerry.testkit.drivers import DriverContract, Form, MakeForm


def prop(name: str, *, writable: bool) -> PropertyConfig:
    return PropertyConfig(
        name=name, type="INT", writable=writable, unit="", minimum=0, maximum=90, collect_ms=20, visitor={}
    )


@asynccontextmanager
async def controller() -> AsyncGenerator[int]:
    held = {"level": "7", "setpoint": "1"}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := (await reader.readline()).decode().split():
            if line[0] == "SET":
                held[line[1]] = line[2]
            writer.write(("OK" if line[0] == "SET" else held.get(line[1], "?")).encode() + b"\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class TestAcme(DriverContract):
    @pytest.fixture
    def make(self) -> MakeForm:
        @asynccontextmanager
        async def made() -> AsyncGenerator[Form]:
            async with controller() as port:
                level, setpoint = prop("level", writable=False), prop("setpoint", writable=True)
                config = DeviceConfig(
                    device=Key("devices.devices.kubeedge.io", "default", "one"),
                    protocol="acme",
                    protocol_config={"host": "127.0.0.1", "port": port},
                    properties=(level, setpoint),
                )
                broken = replace(config, properties=(replace(level, visitor={"nmae": "level"}), setpoint))
                services = Services(clock=SystemClock(), ids=SystemIds(), node="here")
                yield Form(driver=driver(services), config=config, broken=broken)

        return made

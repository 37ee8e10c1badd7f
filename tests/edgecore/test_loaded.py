"""What an agent has loaded when it begins, and keeps for good: a few megabytes more are soon there."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIBRARIES = (
    *("aiohttp", "aioquic", "cryptography", "dns", "grpclib", "h11", "h2", "jwt", "multidict", "orjson", "paho"),
    *("pymodbus", "pysnmp", "serial", "sqlalchemy", "websockets", "yaml", "click"),
)
STANDARD = (
    *(
        "csv",
        "difflib",
        "email",
        "http.client",
        "http.server",
        "importlib.metadata",
        "importlib.resources",
        "logging.config",
        "unittest",
    ),
    *("urllib.request", "xml", "zipfile", "zoneinfo", "multiprocessing", "tarfile", "pickle", "pydoc"),
)
OWN = (
    *("cloudcore", "devices.modbus", "devices.mqtt.driver", "devices.mqtt.client", "devices.snmp.driver"),
    *("devices.http.driver", "devices.virtual", "devices.dmi", "edgecore.broker", "edgecore.bus.shell"),
    *("edgecore.bus.discovery", "edgecore.device_rules.engine", "edgecore.dmi", "edgecore.push.shell"),
    *("edgecore.local_api.connection", "edgecore.local_api.sockets", "edgecore.network.keeper"),
    *("edgecore.pods.runtimes.cri", "edgecore.pods.runtimes.process", "edgecore.rules.service_bus"),
    *("edgecore.rules.shell", "skerry.objects.cel", "skerry.transport.quic", "skerry.transport.websocket"),
    *("skerry.transport.grpc", "skerry.validation"),
)
MODULES_MAX = 524
"""Of all kinds, the interpreter's own among them. Another one is 20 to 40 KB: what is not for every gateway belongs
into the function that needs it."""


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    program = "import sys, edgecore.main, edgecore.agent; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", [*LIBRARIES, *STANDARD, *OWN])
def test_an_agent_begins_without(loaded: set[str], name: str) -> None:
    assert [each for each in sorted(loaded) if each == name or each.startswith(f"{name}.")] == []


def test_an_agent_begins_with_no_more_modules_than_it_had(loaded: set[str]) -> None:
    assert len(loaded) <= MODULES_MAX

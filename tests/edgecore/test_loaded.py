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
    *("edgecore.cleanup", "edgecore.config.commands", "edgecore.store.memory", "edgecore.store.salvage"),
    *("edgecore.store.taking_over", "devices.credentials", "skerry.objects.line_protocol"),
    *("skerry.transport.grpc", "skerry.validation"),
)
LATER = (
    *("devices", "edgecore.commands", "edgecore.composition.real", "edgecore.composition.whole", "edgecore.history"),
    *("edgecore.device_rules", "edgecore.link.dial", "edgecore.link.session", "edgecore.local_api.routes"),
    *("edgecore.local_api.secure", "edgecore.network.programs", "edgecore.push", "edgecore.rules", "edgecore.twins"),
    *("skerry.sync.edge", "skerry.sync.streams", "skerry.transport.dialled"),
)
"""What pods begin without."""
FIRST = "import edgecore.main, edgecore.agent"
SECOND = """
from importlib import import_module
for name in edgecore.agent.REST:
    import_module(name)
"""
MODULES_MAX = 541
"""Of all kinds, the interpreter's own among them. Another one is 20 to 40 KB: what is not for every gateway belongs
into the function that needs it."""


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    return modules_of(f"{FIRST}\n{SECOND}")


@pytest.fixture(scope="module")
def first_loaded() -> set[str]:
    return modules_of(FIRST)


def modules_of(program: str) -> set[str]:
    program = f"import sys\n{program}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", [*LIBRARIES, *STANDARD, *OWN])
def test_an_agent_begins_without(loaded: set[str], name: str) -> None:
    assert [each for each in sorted(loaded) if each == name or each.startswith(f"{name}.")] == []


@pytest.mark.parametrize("name", LATER)
def test_pods_begin_without(first_loaded: set[str], name: str) -> None:
    assert [each for each in sorted(first_loaded) if each == name or each.startswith(f"{name}.")] == []


def test_an_agent_begins_with_no_more_modules_than_it_had(loaded: set[str]) -> None:
    assert len(loaded) <= MODULES_MAX

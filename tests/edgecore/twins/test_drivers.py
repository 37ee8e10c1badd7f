"""What a gateway pays for devices that it does not have."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import sys
from edgecore.twins.drivers import driver_factories
from skerry.clocks import SeededIds, SystemClock
made = driver_factories(clock=SystemClock(), ids=SeededIds(1), node="eu-1")
assert set(made) == {"http", "modbus", "mqtt", "virtual"}
heavy = ("pymodbus", "paho", "serial", "aiohttp", "sqlalchemy", "cryptography")
print([name for name in heavy if name in sys.modules])
"""


def test_no_protocol_library_is_imported_before_a_device_needs_it() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_grpc_is_imported_by_an_agent_that_serves_mappers_alone() -> None:
    look = "import sys, edgecore.agent; print([name for name in ('grpclib', 'h2') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

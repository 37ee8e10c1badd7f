"""What comes with the MQTT library, and what does not."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import devices.mqtt.client
print(*(name for name in ("dns.resolver", "aioquic", "cryptography") if name in sys.modules))
import dns.resolver
print(dns.resolver.Resolver.__name__)
"""


def test_libraries_of_the_cloud_are_not_loaded_with_it_and_can_be_later() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == ["", "Resolver"]

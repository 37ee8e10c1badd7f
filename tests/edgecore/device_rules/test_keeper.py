"""What most gateways don't need they don't load."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import sys
import edgecore.agent
print(*(name for name in ("edgecore.device_rules.engine", "skerry.objects.cel", "zoneinfo") if name in sys.modules))
"""


def test_an_agent_that_has_no_rule_has_not_loaded_what_carries_them_out() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []

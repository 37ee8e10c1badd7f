"""paho-mqtt, loaded without what is never used of it here.

It looks for dnspython, to find brokers by SRV records, which nobody asks it for. Where the cloud's libraries are
installed beside the agent's, it finds it, and dnspython's resolver loads QUIC and `cryptography`: 15 MB of memory.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Final, cast

_UNUSED: Final = "dns.resolver"

_modules = cast("dict[str, ModuleType | None]", sys.modules)
_is_hidden = _UNUSED not in _modules
if _is_hidden:
    _modules[_UNUSED] = None  # "not to be found", as the import system has it (Python reference, 5.3.1)
try:
    import paho.mqtt.client as paho
finally:
    if _is_hidden:
        del _modules[_UNUSED]

__all__ = ["paho"]

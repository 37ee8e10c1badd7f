"""The manners of a line: times, quiet, and what its units need.

Pure; made from what its devices say of themselves (`devices.modbus.endpoints`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from skerry.frozen import Frozen, field

SILENCE_S_MIN: Final = 0.00175
"""3.5 characters are no shorter than this, however fast the line (MODBUS over Serial Line 1.02, 2.5.1.1)."""


class WireSettings(Frozen):
    """How a line is spoken to."""

    timeout_s: float = 1.0
    """An answer that is later than this does not count."""
    timeouts_s: Mapping[int, float] = field(default_factory=dict[int, float])
    """By unit, where it differs."""
    drain_s: float = 1.0
    """How long a line without transaction ids must be quiet after a disturbance."""
    pause_after_connect_s: float = 0.0
    """Some gateways and slaves lose what is sent in the first moments."""
    silence_chars: float = 3.5
    """What tells frames apart on a line without lengths."""
    character_s: float = 0.0
    """One character on the line; 0 where nobody knows."""
    local_echo: bool = False
    """The adapter hears what it sends."""
    barriers: frozenset[int] = frozenset()
    """Units asked to return a nonce after a disturbance."""

    @property
    def silence_s(self) -> float:
        return max(self.silence_chars * self.character_s, SILENCE_S_MIN)

"""How much of a line's time a plan of polls needs, before it is tried and found too slow.

Pure. A request costs the characters that it and its answer take on the line, the silence around them, the pause that
devices ask for, and the time a device takes to answer. What more than `WARN` of a line needs is told to its devices,
with the device that takes most and what to change; beyond the whole of it values come later than asked for.

Sources: MODBUS over Serial Line 1.02, 2.5.1.1 (silence); 6.1 to 6.4 of the application protocol (sizes).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from devices.plan import Block
from skerry.frozen import Frozen

WARN: Final = 0.8
"""Writes, retries and probes of silent units need room too."""
ANSWER_S_ASSUMED: Final = 0.005
"""Until it is known how long devices on a serial line think."""


class LineCosts(Frozen):
    """What a request costs on one line."""

    character_s: float
    """0 on TCP, where bytes cost nothing beside the round trip."""
    characters_a_byte: int = 1
    """2 in ASCII."""
    frame_bytes: int = 3
    """About a request, and about an answer."""
    silence_s: float = 0.0
    """Between frames."""
    pause_s: float = 0.0
    answer_s: float = ANSWER_S_ASSUMED
    """From the end of a request to the beginning of its answer."""


def cost_s(block: Block, costs: LineCosts) -> float:
    """Of one poll."""
    bits = block.table in ("coil", "discrete")
    data = (block.count + 7) // 8 if bits else 2 * block.count
    sent = (5 + costs.frame_bytes) + (2 + data + costs.frame_bytes)
    on_line_s = sent * costs.characters_a_byte * costs.character_s
    return on_line_s + 2 * costs.silence_s + costs.pause_s + costs.answer_s


class Budget(Frozen):
    """What a plan needs of its line; 1.0 is all of it."""

    needs: float
    by_device: Mapping[str, float]
    """Each device's part, the greatest first; of a block that devices share, by their values in it."""
    requests_s: float
    """Requests a second."""
    periods_s: Mapping[str, float]
    """By device, the shortest period of its polls."""

    def warning(self, line: str) -> str:
        """ "" while there is room; else what is wrong and what would do, for people."""
        if self.needs <= WARN or not self.by_device:
            return ""
        device, share = next(iter(self.by_device.items()))
        late = "; values come later than asked for" if self.needs > 1 else ""
        return f"its polls need {self.needs:.0%} of the line {line}{late}: {self._remedy(device, share)}"

    def _remedy(self, device: str, share: float) -> str:
        room = WARN - (self.needs - share)
        period_s = self.periods_s[device]
        if room > share / 10:
            now_ms, enough_ms = period_s * 1000, round_up_ms(period_s * share / room * 1000)
            return f"{device} takes {share:.0%}; a collectCycle of {enough_ms} ms in place of {now_ms:.0f} would do"
        factor = self.needs / WARN
        return f"{len(self.by_device)} devices share it; collectCycles {factor:.1f} times as long would do"


def round_up_ms(period_ms: float) -> int:
    """To two digits that people would write."""
    unit = 10 ** max(0, len(str(int(period_ms))) - 2)
    return -int(-period_ms // unit) * unit


def budget(polls: Iterable[tuple[Block, float]], costs: LineCosts) -> Budget:
    """Of blocks, each with its period in seconds."""
    shares: dict[str, float] = {}
    periods_s: dict[str, float] = {}
    needs = requests_s = 0.0
    for block, period_s in polls:
        share = cost_s(block, costs) / period_s
        needs += share
        requests_s += 1 / period_s
        for device, part in _parts(block).items():
            shares[device] = shares.get(device, 0.0) + share * part
            periods_s[device] = min(period_s, periods_s.get(device, period_s))
    ordered = dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))
    return Budget(needs=needs, by_device=ordered, requests_s=requests_s, periods_s=periods_s)


def _parts(block: Block) -> dict[str, float]:
    devices: Sequence[str] = [point.device for point in block.points]
    return {device: devices.count(device) / len(devices) for device in dict.fromkeys(devices)}

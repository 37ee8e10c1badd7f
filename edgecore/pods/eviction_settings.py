"""Thresholds of eviction as a kubelet's flags and configuration write them: pure.

`memory.available<100Mi`, `nodefs.available<10%`; grace periods `memory.available=1m30s`; minimums of what is to be
reclaimed `nodefs.available=500Mi`. A share of 0% or 100% is no threshold, as a kubelet has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

from edgecore.pods.eviction import CONDITIONS, Amount, EvictionSettings, Signal, Threshold
from skerry.errors import InvalidError
from skerry.objects.quantity import parse_quantity

HARD: Final = (
    "memory.available<64Mi",
    "nodefs.available<10%",
    "nodefs.inodesFree<5%",
    "imagefs.available<15%",
    "imagefs.inodesFree<5%",
    "pid.available<5%",
)
"""A kubelet's own, but for memory, of which a board has little (100Mi there), and process ids (none there)."""
NONE: Final = "none"
_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)
_ITEM: Final = re.compile(r"\s*([A-Za-z.]+)\s*([<=])\s*(\S+)\s*", re.ASCII)


def eviction_settings(
    *,
    hard: Sequence[str],
    soft: Sequence[str],
    soft_grace: Sequence[str],
    minimum_reclaim: Sequence[str],
    transition_s: float,
    grace_s_max: int,
) -> EvictionSettings:
    """Raises `InvalidError` naming the setting."""
    at_once = _thresholds("--eviction-hard", hard)
    later = _thresholds("--eviction-soft", soft)
    graces: dict[Signal, float] = {
        signal: _grace(signal, text) for signal, text in _items("--eviction-soft-grace-period", soft_grace).items()
    }
    least: dict[Signal, Amount] = {
        signal: _amount("--eviction-minimum-reclaim", signal, text)
        for signal, text in _items("--eviction-minimum-reclaim", minimum_reclaim).items()
    }
    for signal in later:
        if signal not in graces:
            raise InvalidError(
                f"--eviction-soft {signal}: give its grace period too, --eviction-soft-grace-period {signal}=1m30s"
            )
    for signal in graces:
        if signal not in later:
            raise InvalidError(
                f"--eviction-soft-grace-period {signal}: of no use without --eviction-soft {signal}<..."
            )
    return EvictionSettings(
        thresholds=(
            *(_threshold(signal, amount, 0.0, least) for signal, amount in at_once.items()),
            *(_threshold(signal, amount, graces[signal], least) for signal, amount in later.items()),
        ),
        transition_s=transition_s,
        grace_s_max=grace_s_max,
    )


def _threshold(signal: Signal, amount: Amount, grace_s: float, least: Mapping[Signal, Amount]) -> Threshold:
    return Threshold(signal=signal, amount=amount, grace_s=grace_s, reclaim=least.get(signal, Amount()))


def _thresholds(flag: str, texts: Sequence[str]) -> dict[Signal, Amount]:
    found: dict[Signal, Amount] = {}
    for signal, text in _items(flag, texts).items():
        amount = _amount(flag, signal, text)
        if text.endswith("%") and amount.share in (0, 1):
            continue
        if not amount.share and not amount.units:
            raise InvalidError(f"{flag} {signal}: has to be more than 0")
        found[signal] = amount
    return found


def _items(flag: str, texts: Sequence[str]) -> Mapping[Signal, str]:
    if list(texts) == [NONE]:
        return {}
    found: dict[Signal, str] = {}
    for text in texts:
        item = _ITEM.fullmatch(text)
        sign = "<" if flag in ("--eviction-hard", "--eviction-soft") else "="
        if item is None or item[2] not in (sign, "="):
            raise InvalidError(
                f"{flag} {text!r}: write SIGNAL{sign}VALUE, e.g. memory.available{sign}{_EXAMPLES[flag]}"
            )
        if item[1] not in CONDITIONS:
            raise InvalidError(f"{flag} {text!r}: there is no signal {item[1]}, there are {', '.join(CONDITIONS)}")
        signal = cast("Signal", item[1])
        if signal in found:
            raise InvalidError(f"{flag} {signal}: given twice")
        found[signal] = item[3]
    return found


def _amount(flag: str, signal: Signal, text: str) -> Amount:
    if text.endswith("%"):
        try:
            percent = float(text[:-1])
        except ValueError:
            percent = -1.0
        if not 0 <= percent <= 100:
            raise InvalidError(f"{flag} {signal}: {text!r} is no share from 0% to 100%")
        return Amount(share=percent / 100)
    try:
        quantity = parse_quantity(text)
    except InvalidError:
        raise InvalidError(
            f"{flag} {signal}: {text!r} is neither a quantity, as 100Mi, nor a share, as 10%"
        ) from None
    if quantity.nano < 0:
        raise InvalidError(f"{flag} {signal}: {text!r} is below 0")
    return Amount(units=quantity.units)


def _grace(signal: Signal, text: str) -> float:
    parts = _DURATION.fullmatch(text)
    if parts is None or not any(parts.groups()):
        raise InvalidError(f"--eviction-soft-grace-period {signal}: {text!r} is no duration, as 90s or 1m30s")
    hours, minutes, seconds = (float(each or 0) for each in parts.groups())
    found_s = hours * 3600 + minutes * 60 + seconds
    if not found_s:
        raise InvalidError(f"--eviction-soft-grace-period {signal}: 0 is what --eviction-hard is for")
    return found_s


_EXAMPLES: Final = {
    "--eviction-hard": "64Mi",
    "--eviction-soft": "128Mi",
    "--eviction-soft-grace-period": "1m30s",
    "--eviction-minimum-reclaim": "32Mi",
}

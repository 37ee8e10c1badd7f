"""When probes make somebody down, and up again: gdnsd's counters. Pure; keeps nothing.

Failures count until `down_threshold`; only `ok_threshold` successes in a row make them forgotten. Who is down is up
after `up_threshold` successes in a row; who went down often of late, after more: twice as many for each time, so that
what flaps each minute is down until it holds, and what fails once a day is back as soon as can be.

Who has just failed is asked again a little sooner, so that the last failure that counts has ended `down_threshold`
intervals after the last success began.
"""

from __future__ import annotations

from typing import Final, Literal

from skerry.frozen import Frozen, replace
from skerry.probing.probe import Probe

State = Literal["up", "down"]
ATTEMPTS: Final = 5
"""In one probe, begun one after the other while none has succeeded: a lost packet is no failure."""
COUNT_MAX: Final = 255
FLAPS_MAX: Final = 6
FORGIVEN: Final = 120
"""Successes in a row after which one time of having gone down is forgotten: ten minutes of probes each 5 s."""
NEEDED_MAX: Final = 120
HELD_S_MAX: Final = 600.0
"""Who is tried once an hour would else be held down, and remembered, for days."""


class Counter(Frozen):
    """What was seen of one target."""

    state: State = "up"
    failures: int = 0
    """While it is up: those that are not forgotten."""
    successes: int = 0
    """In a row."""
    flaps: int = 0
    """How often it went down, as far as that is not forgotten."""
    proven: bool = False
    """False: the state is from before, or a guess, and was not confirmed by as many probes as a change takes."""

    @property
    def unsure(self) -> bool:
        """Whether it may be another soon."""
        return not self.proven or (self.failures > 0 if self.state == "up" else self.successes > 0)


def counted(counter: Counter, probe: Probe, *, good: bool) -> Counter:
    """After one probe more."""
    if counter.state == "down":
        successes = counter.successes + 1 if good else 0
        if successes >= needed(counter, probe):
            # It has begun to be forgotten with the first of them that a steady one would not have needed.
            return Counter(state="up", successes=probe.up_threshold, flaps=counter.flaps, proven=True)
        return replace(counter, successes=successes, proven=counter.proven or not good)
    if not good:
        failures = counter.failures + 1
        if failures >= probe.down_threshold:
            return Counter(state="down", flaps=min(counter.flaps + 1, FLAPS_MAX), proven=True)
        return replace(counter, failures=failures, successes=0)
    successes = min(counter.successes + 1, COUNT_MAX)
    forgotten = successes >= probe.ok_threshold
    forgiven = counter.flaps > 0 and successes >= forgiven_after(probe)
    return replace(
        counter,
        successes=probe.up_threshold if forgiven else successes,
        flaps=counter.flaps - forgiven,
        failures=0 if forgotten else counter.failures,
        proven=counter.proven or successes >= probe.up_threshold,
    )


def needed(counter: Counter, probe: Probe) -> int:
    """Successes in a row until who is down is up."""
    held = min(NEEDED_MAX, int(HELD_S_MAX / probe.interval_s))
    return max(probe.up_threshold, min(probe.up_threshold << max(counter.flaps - 1, 0), held))


def forgiven_after(probe: Probe) -> int:
    """Successes in a row after which one time of having gone down is forgotten."""
    return max(probe.up_threshold + 1, min(FORGIVEN, int(HELD_S_MAX / probe.interval_s)))


def period_s(counter: Counter, probe: Probe) -> float:
    """From the beginning of one probe to that of the next."""
    if counter.state == "up" and counter.failures and probe.down_threshold > 1:
        return max(probe.interval_s - probe.timeout_s / (probe.down_threshold - 1), probe.interval_s / 4)
    return probe.interval_s


def attempt_starts_s(probe: Probe) -> list[float]:
    """When the attempts of one probe begin; each has until the probe's end."""
    return [number * probe.timeout_s / (ATTEMPTS + 1) for number in range(ATTEMPTS)]


def answer_ttl(ttl: int, *, unsure: bool) -> int:
    """How long an answer may be kept: half as long while it may soon be another."""
    return max(1, ttl // 2) if unsure and ttl else ttl

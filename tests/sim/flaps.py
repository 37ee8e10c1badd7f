"""A simulated net of endpoints, DNS servers that try them and gateways that vote: the observers are the real machines
(`cloudcore.dns.observer`, `cloudcore.controllers.gslb.vantage`), time is a heap of events, chance has a seed.

    python -m tests.sim.flaps --hours 24 --seeds 3         the figures of docs/reference/dns.md

A `Weather` says what is the case: packets that are lost, who is cut off, who is really down, who lies, whose clock
jumps and who starts anew. `Day.wrong` counts seconds in which somebody was answered with what is not so.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count

from cloudcore.controllers.gslb.vantage import Ballot, Target, target_of
from cloudcore.dns.beat import SILENT_S_MAX
from cloudcore.dns.exchange import SKEW_MS_MAX, Told
from cloudcore.dns.observer import Judged, Observer, Watched
from skerry.frozen import replace
from skerry.objects.json import JsonObject
from skerry.probing.asking import Try
from skerry.probing.monitor import ATTEMPTS, Counter, State, period_s
from skerry.probing.probe import Probe, probe_of

GIVEN: JsonObject = {"type": "TCP", "port": 80, "intervalSeconds": 5}
PROBE: Probe = probe_of(GIVEN, "probe", "www.example.com")
Truth = Callable[[int, float], bool]


@dataclass(slots=True)
class Weather:
    """What is the case at a time; observers and targets are numbers."""

    loss: float = 0.0
    slow: float = 0.0
    """The share of datagrams between observers that come three seconds late."""
    up: Truth = lambda target, now_s: True
    cut: Callable[[int, float], bool] = lambda observer, now_s: False
    """Who sees nothing and is heard by nobody, but by others that are cut off with him."""
    lies: dict[int, State] = field(default_factory=dict[int, State])
    """What an observer says of everything, whatever it sees."""
    restarts: Callable[[int, float], bool] = lambda observer, now_s: False
    """Looked at each second."""
    clock_ms: Callable[[int, float], int] = lambda observer, now_s: int(now_s * 1000)
    gateways: int = 0
    cloud_ends_s: float = float("inf")
    """From then on the votes of gateways are those of before; servers know that after `stale_s`."""
    stale_s: float = SILENT_S_MAX


@dataclass(slots=True)
class Seen:
    """What came of it."""

    transitions: dict[tuple[int, int], list[tuple[float, State]]] = field(
        default_factory=dict[tuple[int, int], list[tuple[float, State]]]
    )
    """By observer and target: each change of a verdict."""
    probes: int = 0

    def flaps(self) -> int:
        return sum(len(each) for each in self.transitions.values())

    def ends(self, observer: int, target: int) -> State:
        told = self.transitions.get((observer, target))
        return told[-1][1] if told else "up"


class Day:
    """`run` for so many seconds."""

    def __init__(self, seed: int, observers: int, targets: int, weather: Weather, probe: Probe = PROBE) -> None:
        self._chance = random.Random(seed)
        self._weather = weather
        self._probe = probe
        self._ids = [number.to_bytes(8, "big") for number in range(targets)]
        self._watched = {
            each: Watched(address=f"192.0.2.{number}", probe=probe) for number, each in enumerate(self._ids)
        }
        self._observers = [self._begun(number, observers, 0.0, {}, {}) for number in range(observers)]
        self._lives = [0] * observers
        self._seen = Seen()
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = count()
        self._ballot = Ballot()
        self._gateways = [f"g{number}" for number in range(weather.gateways)]
        self._tried = [
            target_of(Try(address=f"192.0.2.{number}", host="www.example.com", given={**GIVEN}))
            for number in range(targets)
        ]
        self._votes: dict[bytes, tuple[int, int]] = {}
        self._votes_end_s = min(weather.cloud_ends_s + weather.stale_s, float("inf"))
        self._now_s = 0.0

    def _begun(
        self,
        number: int,
        observers: int,
        now_s: float,
        counters: Mapping[bytes, Counter],
        held: Mapping[bytes, State],
    ) -> Observer:
        return Observer(
            f"ns{number}",
            self._watched,
            observers - 1,
            now_s,
            counters=counters,
            held=held,
            votes=self._gateway_votes,
        )

    def _gateway_votes(self, target: bytes) -> tuple[int, int]:
        return self._votes.get(target, (0, 0)) if self._now_s < self._votes_end_s else (0, 0)

    def _at(self, when_s: float, what: Callable[[float], None]) -> None:
        heapq.heappush(self._heap, (when_s, next(self._number), what))

    def run(self, seconds: float) -> Seen:
        for number in range(len(self._observers)):
            for target in range(len(self._ids)):
                self._watch(number, target, self._chance.random())
            self._at(self._chance.random(), lambda now_s, number=number: self._second(number, now_s))
        for gateway in self._gateways:
            for target in self._tried:
                self._at(
                    self._chance.random() * self._probe.interval_s,
                    lambda now_s, gateway=gateway, target=target: self._gateway(gateway, target, now_s),
                )
        while self._heap and self._heap[0][0] <= seconds:
            now_s, _, what = heapq.heappop(self._heap)
            self._now_s = now_s
            what(now_s)
        return self._seen

    # --- probes ---

    def _answers(self, target: int, now_s: float) -> bool:
        loss = self._weather.loss
        return self._weather.up(target, now_s) and any(self._chance.random() >= loss for _ in range(ATTEMPTS))

    def _watch(self, number: int, target: int, begin_s: float) -> None:
        """One probe, which ends at once where it is good, and with its time where not."""

        def begun(now_s: float) -> None:
            self._seen.probes += 1
            good = not self._weather.cut(number, now_s) and self._answers(target, now_s)
            self._at(now_s + (0.05 if good else self._probe.timeout_s), lambda end_s: ended(now_s, end_s, good=good))

        def ended(began_s: float, now_s: float, *, good: bool) -> None:
            observer, identity = self._observers[number], self._ids[target]
            before = observer.counter(identity).state
            self._note(number, observer.seen(identity, now_s, good=good), now_s)
            if observer.counter(identity).state != before:
                self._tell(number, now_s)
            again_s = began_s + period_s(observer.counter(identity), self._probe)
            self._watch(number, target, max(now_s, again_s))

        self._at(begin_s, begun)

    def _note(self, number: int, judged: Iterable[bytes], now_s: float) -> None:
        for identity in judged:
            target = int.from_bytes(identity, "big")
            told: Judged = self._observers[number].judged(identity)
            if told.state != self._seen.ends(number, target):
                self._seen.transitions.setdefault((number, target), []).append((now_s, told.state))

    # --- what observers tell each other ---

    def _second(self, number: int, now_s: float) -> None:
        if self._weather.restarts(number, now_s):
            old = self._observers[number]
            counters = {each: old.counter(each) for each in self._ids}
            held: dict[bytes, State] = {each: old.judged(each).state for each in self._ids}
            self._observers[number] = self._begun(number, len(self._observers), now_s, counters, held)
        self._tell(number, now_s)
        self._note(number, self._observers[number].tick(now_s), now_s)
        self._at(now_s + 1.0, lambda later_s: self._second(number, later_s))

    def _tell(self, number: int, now_s: float) -> None:
        word = self._chance.randbytes(8)
        told = self._observers[number].tell(now_s, self._weather.clock_ms(number, now_s), word)
        if number in self._weather.lies:
            said = self._weather.lies[number]
            told = replace(told, isolated=False, votes=dict.fromkeys(told.votes, said))
        for other in range(len(self._observers)):
            together = self._weather.cut(number, now_s) == self._weather.cut(other, now_s)
            if other == number or not together or self._chance.random() < self._weather.loss:
                continue
            late_s = 3.0 if self._chance.random() < self._weather.slow else 0.02
            self._at(now_s + late_s, lambda at_s, other=other: self._hear(other, told, at_s))

    def _hear(self, number: int, told: Told, now_s: float) -> None:
        if abs(told.at_ms - self._weather.clock_ms(number, now_s)) > SKEW_MS_MAX:
            return  # as the shell does
        self._note(number, self._observers[number].take(told, now_s), now_s)

    # --- gateways, through the cloud ---

    def _gateway(self, gateway: str, target: Target, now_s: float) -> None:
        number = self._tried.index(target)
        self._ballot.take(gateway, [(target, self._answers(number, now_s))], now_s)
        if now_s < self._weather.cloud_ends_s:
            self._votes[self._ids[number]] = self._ballot.votes(target, self._gateways, now_s)
        self._at(now_s + self._probe.interval_s, lambda later_s: self._gateway(gateway, target, later_s))


def flapping(period_s: float, up_s: float) -> Truth:
    """Target 0 is up for so long of each period; the others always."""
    return lambda target, now_s: target > 0 or now_s % period_s < up_s


def main() -> None:
    parser = argparse.ArgumentParser(description="simulated days of probes; prints what came of them")
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    cases = {
        "30 % of packets lost": Weather(loss=0.3),
        "the same, half of the observers cut off": Weather(loss=0.3, cut=lambda number, now_s: number >= 2),
        "one of four says that all is down": Weather(loss=0.3, lies={3: "down"}),
        "clocks jump by an hour, each hour": Weather(
            loss=0.3, clock_ms=lambda number, now_s: int(now_s * 1000) + int(now_s // 3600 % 2) * (number * 3_600_000)
        ),
        "each observer starts anew each ten minutes": Weather(
            loss=0.3, restarts=lambda number, now_s: int(now_s) % 600 == number * 150
        ),
        "a target that is up for 30 s of each minute": Weather(loss=0.1, up=flapping(60, 30)),
    }
    for words, weather in cases.items():
        seen = [Day(seed, 4, 4, weather).run(asked.hours * 3600) for seed in range(asked.seeds)]
        changes = [max((len(each) for each in one.transitions.values()), default=0) for one in seen]
        probes = sum(one.probes for one in seen)
        print(f"{words}: {probes:,} probes, at most {max(changes)} changes of a verdict in {asked.hours:g} h")


if __name__ == "__main__":
    main()

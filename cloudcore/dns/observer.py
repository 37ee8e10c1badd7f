"""What one observer of endpoints comes to: by what it has tried, what the others say, and what gateways say. Pure:
times and words are arguments, and what it has decided is asked for.

The shell (`prober`) tries and sends; simulations (tests/sim/flaps.py) run the same machine for days.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from cloudcore.dns.exchange import Told
from cloudcore.dns.hearing import Hearing
from cloudcore.dns.quorum import is_isolated, verdict
from skerry.frozen import Frozen
from skerry.probing.monitor import Counter, State, counted
from skerry.probing.probe import Probe

NO_VOTES: Final = (0, 0)
GOOD_S_MAX: Final = 3600.0
"""What was known good so long ago, or two dozen probes, is no better than what was down before."""


class Watched(Frozen):
    """A target as far as a verdict needs it."""

    address: str
    probe: Probe


class Judged(Frozen):
    state: State
    unsure: bool
    """Whether it may be another soon."""
    counter: Counter
    good_s: int | None
    """When it was known good last; None where that is too long ago to go by."""


class Observer:
    """`votes` are those of gateways on a target (up, down); `good_s`: when each was known good last."""

    def __init__(
        self,
        name: str,
        targets: Mapping[bytes, Watched],
        peers: int,
        now_s: float,
        *,
        counters: Mapping[bytes, Counter],
        held: Mapping[bytes, State],
        votes: Callable[[bytes], tuple[int, int]] = lambda _: NO_VOTES,
        good_s: Mapping[bytes, int] | None = None,
    ) -> None:
        self.name = name
        self._targets = targets
        self._peers = peers
        self._counters = {target: counters.get(target, Counter()) for target in targets}
        self._held: dict[bytes, State] = {target: held.get(target, "up") for target in targets}
        self._votes = votes
        self._good_s: dict[bytes, int] = {**(good_s or {})}
        self._unseen: set[bytes] = set()
        """What this observer may not try."""
        self._hearing = Hearing(name, peers, now_s)
        self._addresses = Tally(each.address for each in targets.values())
        """Of what it may try: how many targets each has."""
        self._failing = sum(_fails(counter) for counter in self._counters.values())
        """Of what it may try."""
        self.isolated = False

    def counter(self, target: bytes) -> Counter:
        return self._counters[target]

    def judged(self, target: bytes) -> Judged:
        counter, held = self._counters[target], self._held[target]
        unsure = counter.unsure or counter.state != held
        return Judged(state=held, unsure=unsure, counter=counter, good_s=self._good_s.get(target))

    def seen(self, target: bytes, now_s: float, *, good: bool) -> Collection[bytes]:
        """One probe more. Targets that were judged for it."""
        self._may_see(target)
        before = self._counters[target]
        after = self._counters[target] = counted(before, self._targets[target].probe, good=good)
        self._failing += _fails(after) - _fails(before)
        self._note_good(target, now_s, good=good)
        return self._judge_all({target, *self._look(now_s)}, now_s)

    def cannot_see(self, target: bytes, now_s: float) -> Collection[bytes]:
        """It has no vote on it, and is told by this alone that time has passed: what the others say is looked at each
        time. Targets that were judged for it."""
        if target not in self._unseen:
            self._unseen.add(target)
            self._failing -= _fails(self._counters[target])
            address = self._targets[target].address
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]
        return self._judge_all({target, *self._look(now_s)}, now_s)

    def take(self, told: Told, now_s: float) -> Collection[bytes]:
        """What another says. Targets that were judged for it."""
        changed = self._hearing.take(told, now_s)
        return self._judge_all([target for target in changed if target in self._targets], now_s)

    def tick(self, now_s: float) -> Collection[bytes]:
        """Once a second: who is not heard any more has no vote. Targets that were judged."""
        self._look(now_s)
        return self._judge_all(self._targets, now_s)

    def tell(self, now_s: float, at_ms: int, word: bytes) -> Told:
        """For the others, with a word that nobody can know before."""
        self._hearing.say(word, now_s)
        return Told(
            observer=self.name,
            at_ms=at_ms,
            isolated=self.isolated,
            votes={target: counter.state for target, counter in self._counters.items() if target not in self._unseen},
            word=word,
            echoes=self._hearing.echoes(now_s),
        )

    def knows_us(self, told: Told) -> bool:
        return self._hearing.knows_us(told)

    def _may_see(self, target: bytes) -> None:
        if target in self._unseen:
            self._unseen.remove(target)
            self._failing += _fails(self._counters[target])
            self._addresses[self._targets[target].address] += 1

    def _look(self, now_s: float) -> Iterable[bytes]:
        """Whether this observer had better not be believed; all are judged anew where that changes."""
        if not self._hearing.settled(now_s):
            return ()  # who is there to be heard is not known yet
        isolated = len(self._addresses) > 1 and is_isolated(
            failing=self._failing,
            targets=len(self._counters) - len(self._unseen),
            peers_heard=len(self._hearing.present(now_s)),
            peers=self._peers,
        )
        if isolated == self.isolated:
            return ()
        self.isolated = isolated
        if not isolated:
            self._begin_anew()
        return self._targets

    def _begin_anew(self) -> None:
        """What was counted while it was cut off was of its own line: it goes on from what the others came to, else
        two that are back together would overrule those who saw."""
        for target, before in self._counters.items():
            held = self._held[target]
            if before.state != held and target not in self._unseen:
                flaps = max(0, before.flaps - 1) if before.state == "down" else before.flaps
                after = self._counters[target] = Counter(state=held, flaps=flaps)
                self._failing += _fails(after) - _fails(before)

    def _judge_all(self, targets: Collection[bytes], now_s: float) -> Collection[bytes]:
        # Who has just begun waits until the others are heard, or are not there: alone it would overrule them.
        if targets and self._hearing.settled(now_s):
            others = [told for told in self._hearing.present(now_s) if not told.isolated]
            for target in targets:
                self._judge(target, others, now_s)
        return targets

    def _judge(self, target: bytes, others: Iterable[Told], now_s: float) -> None:
        own: list[State] = [] if self.isolated or target in self._unseen else [self._counters[target].state]
        up, down = self._votes(target)
        given = _repeated("up", up) + [told.votes[target] for told in others if target in told.votes]
        given = _repeated("down", down) + given
        self._held[target] = verdict([*own, *given], self._held[target])
        self._note_good(target, now_s, good="up" in given)

    def _note_good(self, target: bytes, now_s: float, *, good: bool) -> None:
        """What somebody reaches is good, whoever else does not: it is asked for when nobody is up."""
        if good:
            self._good_s[target] = int(now_s)
        elif target in self._good_s and now_s > self._good_s[target] + good_for_s(self._targets[target].probe):
            del self._good_s[target]


def good_for_s(probe: Probe) -> float:
    """How long it counts that a target was good."""
    return max(GOOD_S_MAX, 24 * probe.interval_s)


def _fails(counter: Counter) -> bool:
    return counter.state == "down" or counter.failures > 0


def _repeated(state: State, times: int) -> list[State]:
    return [state] * times

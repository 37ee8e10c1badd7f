"""Which observers are heard just now: those that can show a word that we have said within the last seconds.

Pure: times and words are arguments. Each observer says a new word each second and repeats the last ones that it heard
of others. So what somebody recorded and sends again is of no use after a few seconds, whatever the clocks say; and
whom we hear without being heard is not heard, since its word about us can't be told from an old one.

Keeps words and votes of some seconds; an observer that begins has heard nobody, and waits before it decides alone.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Final

from cloudcore.dns.exchange import Told
from skerry.probing.monitor import State

HEARD_S_MAX: Final = 5.0
"""An observer that was not heard for so long is not heard."""


def observer_id(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


class Hearing:
    """Of one observer; `peers` is how many others there are to be heard."""

    def __init__(self, name: str, peers: int, now_s: float) -> None:
        self._name = name
        self._id = observer_id(name)
        self._peers = peers
        self._began_s = now_s
        self._said: deque[tuple[float, bytes]] = deque()
        self._heard: dict[str, tuple[float, Told]] = {}
        """When the word was said that it has shown, and its votes."""
        self._words: dict[bytes, tuple[float, int, bytes]] = {}
        """The last word of each, to be repeated; when it was heard, and its date by the clock of who said it."""

    def say(self, word: bytes, now_s: float) -> None:
        """A word that nobody can know before it is told."""
        self._said.append((now_s, word))
        while self._said[0][0] < now_s - HEARD_S_MAX:
            self._said.popleft()

    def echoes(self, now_s: float) -> dict[bytes, bytes]:
        """What is repeated of others."""
        return {who: word for who, (at, _, word) in self._words.items() if at >= now_s - HEARD_S_MAX}

    def knows_us(self, told: Told) -> bool:
        """Whether it has heard us in this life of ours."""
        return self._said_at(told) is not None

    def take(self, told: Told, now_s: float) -> frozenset[bytes]:
        """Targets of which it says something else than before."""
        if told.observer == self._name:
            return frozenset()
        self._note(told, now_s)
        said_s = self._said_at(told)
        before = self._heard.get(told.observer)
        if said_s is None or said_s < now_s - HEARD_S_MAX:
            return frozenset()
        # A clock that was set back is believed again once nothing newer was heard for so long.
        if before is not None and told.at_ms < before[1].at_ms and before[0] >= now_s - HEARD_S_MAX:
            return frozenset()
        same = before is not None and told.at_ms == before[1].at_ms and told.word == before[1].word
        votes: dict[bytes, State] = {**before[1].votes} if before is not None and same else {}
        votes.update(told.votes)
        made = Told(
            observer=told.observer, at_ms=told.at_ms, isolated=told.isolated, votes=votes, word=told.word, echoes={}
        )
        said_s = max(said_s, before[0]) if before is not None else said_s
        self._heard[told.observer] = said_s, made
        if before is None or before[1].isolated != told.isolated:
            return frozenset(votes)
        return frozenset(target for target, vote in votes.items() if before[1].votes.get(target) != vote)

    def _note(self, told: Told, now_s: float) -> None:
        """Its newest word. One that is older, or that was heard already, was recorded and sent again: repeated, it
        would tell the other that we don't hear it."""
        who = observer_id(told.observer)
        at_s, at_ms, word = self._words.get(who, (-HEARD_S_MAX, 0, b""))
        if word == told.word or (told.at_ms < at_ms and at_s >= now_s - HEARD_S_MAX):
            return
        self._words[who] = now_s, told.at_ms, told.word

    def _said_at(self, told: Told) -> float | None:
        shown = told.echoes.get(self._id)
        return next((at for at, word in self._said if word == shown), None)

    def present(self, now_s: float) -> list[Told]:
        """What those say who are heard."""
        return [told for at, told in self._heard.values() if at >= now_s - HEARD_S_MAX]

    def settled(self, now_s: float) -> bool:
        """Whether all are heard that are there, as far as can be known."""
        return len(self.present(now_s)) >= self._peers or now_s >= self._began_s + HEARD_S_MAX

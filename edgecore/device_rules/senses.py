"""What device rules see of values: as they are, and what became of them since the rules looked last.

Readings come at any time, also while the engine commits. Each change waits for its turn here, so that a button that
was pressed and let go meanwhile was pressed, and a limit that was left for a moment was left. Where values change
faster than rules can look, the changes in between are left out; the first and the last are not. In memory: after a
restart values are read again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, TypeAlias

from skerry.frozen import replace
from skerry.objects.device_rule_values import Seen, View

CHANGES_MAX: Final = 8
"""Of one value, that wait to be looked at."""

Place: TypeAlias = "tuple[str, str, str]"
"""Namespace, device and property."""


@dataclass(slots=True)
class _Change:
    place: Place
    seen: Seen


class Senses:
    """See the module."""

    def __init__(self) -> None:
        self._views: dict[str, dict[tuple[str, str], Seen]] = {}
        """By namespace, then device and property."""
        self._waiting: deque[_Change] = deque()
        self._newest: dict[Place, _Change] = {}
        """Of those that wait."""
        self._counts: Counter[Place] = Counter()
        self._taken: list[tuple[_Change, Seen | None]] = []
        """What was taken in since the last `settle`, with what was seen before."""

    def view(self, namespace: str) -> View:
        """What rules of a namespace look at."""
        return self._views.get(namespace, {})

    def newest(self, place: Place) -> Seen | None:
        """What was read last, looked at or not."""
        waits = self._newest.get(place)
        return waits.seen if waits is not None else self._views.get(place[0], {}).get(place[1:])

    def hear(self, place: Place, seen: Seen) -> bool:
        """A value was read: whether it is another one, or of another quality, so that it has to be looked at."""
        held, waits = self.newest(place), self._newest.get(place)
        previous = None if held is None else held.previous
        if held is not None and held.value is not None and held.value != seen.value:
            previous = held.value
        seen = replace(seen, previous=previous)
        changed = held is None or (held.value, held.quality) != (seen.value, seen.quality)
        if waits is not None and (not changed or self._counts[place] >= CHANGES_MAX):
            waits.seen = seen
        elif not changed:
            self._views[place[0]][place[1:]] = seen
        else:
            self._append(_Change(place, seen))
        return changed

    def _append(self, change: _Change) -> None:
        self._waiting.append(change)
        self._newest[change.place] = change
        self._counts[change.place] += 1

    def next(self) -> Place | None:
        """What changed first of what waits."""
        return self._waiting[0].place if self._waiting else None

    def take_in(self) -> None:
        """Rules see the first change that waits from now on."""
        change = self._waiting.popleft()
        self._counts[change.place] -= 1
        if self._newest[change.place] is change:
            del self._newest[change.place], self._counts[change.place]
        view = self._views.setdefault(change.place[0], {})
        self._taken.append((change, view.get(change.place[1:])))
        view[change.place[1:]] = change.seen

    def settle(self) -> None:
        """What was taken in was looked at."""
        self._taken.clear()

    def put_back(self) -> None:
        """What was taken in waits again: what it led to could not be stored."""
        later, self._waiting = self._waiting, deque()
        self._newest.clear()
        self._counts.clear()
        for change, before in reversed(self._taken):
            view = self._views[change.place[0]]
            if before is None:
                del view[change.place[1:]]
            else:
                view[change.place[1:]] = before
        for change in (*(change for change, _ in self._taken), *later):
            self._append(change)
        self._taken.clear()

    def forget(self, named: Collection[Place]) -> None:
        """Keep what is named."""
        for namespace, view in self._views.items():
            for place in [place for place in view if (namespace, *place) not in named]:
                del view[place]
        later, self._waiting = self._waiting, deque()
        self._newest.clear()
        self._counts.clear()
        for change in later:
            if change.place in named:
                self._append(change)

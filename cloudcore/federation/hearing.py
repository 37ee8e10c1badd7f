"""For how long members have been heard, or silent, or have had their seats, by a clock that nobody sets.

What conditions say of that is by the wall clock of whoever wrote them: an hour that a clock is set forward would be
an hour of silence, and replace whom nobody misses; one that it is set back would replace nobody for as long. Kept in
memory, from when it was seen first: after a crash, or at another replica, delays begin again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cloudcore.federation.policy_lookup import Chosen
from skerry.frozen import Frozen, replace
from skerry.objects.federation import is_ready
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, name_of
from skerry.ports import Clock


class _Since(Frozen, kw_only=False):
    heard: bool
    at_s: float
    turned: bool
    """It was otherwise before, and that was seen."""


class Hearing:
    """See the module."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[str, _Since] = {}

    def see(self, members: Iterable[JsonObject]) -> None:
        """All that there are, KubeFedClusters, as they are now."""
        now_s, before = self._clock.monotonic_s(), self._since
        self._since = {}
        for member in members:
            name, heard = name_of(member), is_ready(member)
            known = before.get(name)
            if known is None or known.heard != heard:
                known = _Since(heard, now_s, turned=known is not None)
            self._since[name] = known

    def ms(self, name: str) -> int:
        """How long it has been as it is; 0 for one that was not seen."""
        known = self._since.get(name)
        return 0 if known is None else round((self._clock.monotonic_s() - known.at_s) * 1000)

    def silent_s(self, name: str) -> float | None:
        """How long it has been silent; None: it is heard, or no member."""
        known = self._since.get(name)
        return None if known is None or known.heard else self._clock.monotonic_s() - known.at_s

    @property
    def back_ms(self) -> dict[str, int]:
        """Of members that were silent, and are heard again: for how long."""
        return {name: self.ms(name) for name, each in self._since.items() if each.heard and each.turned}

    @property
    def silent(self) -> frozenset[str]:
        return frozenset(name for name, each in self._since.items() if not each.heard)


class Seated:
    """The same of members that policies chose: since when they have their seats, as it was seen here. Keeps what it
    saw of the objects that are there."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[Key, dict[str, tuple[int, float]]] = {}
        """By object and member: what was written of it, and when that was seen first."""

    def counted(self, key: Key, chosen: Chosen | None, now_ms: int) -> Chosen | None:
        """Who was chosen for the object, since moments that can be compared with `now_ms`, the wall clock."""
        if chosen is None:
            self.forget(key)
            return None
        now_s, before = self._clock.monotonic_s(), self._seen.get(key, {})
        seen: dict[str, tuple[int, float]] = {}
        for name, written_ms in chosen.since_ms.items():
            known = before.get(name)
            seen[name] = known if known is not None and known[0] == written_ms else (written_ms, now_s)
        self._seen[key] = seen
        since_ms = {name: now_ms - round((now_s - at_s) * 1000) for name, (_, at_s) in seen.items()}
        return replace(chosen, since_ms=since_ms)

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._seen.pop(key, None)

    def keep(self, is_there: Callable[[Key], bool]) -> None:
        """Forget all others."""
        self._seen = {key: seen for key, seen in self._seen.items() if is_there(key)}


class Moving:
    """The same of members that keep more than their share for a while: since when each does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_s: dict[Key, dict[str, float]] = {}
        """By preference and member."""

    def ms(self, key: Key) -> dict[str, int]:
        """How long each of a preference has kept more."""
        now_s = self._clock.monotonic_s()
        return {name: round((now_s - at_s) * 1000) for name, at_s in self._since_s.get(key, {}).items()}

    def see(self, key: Key, names: Iterable[str]) -> None:
        """Those that do now."""
        now_s, before = self._clock.monotonic_s(), self._since_s.pop(key, {})
        if found := {name: before.get(name, now_s) for name in names}:
            self._since_s[key] = found

"""This gateway's own log of what was wanted of its devices: who wanted what instead of what, and what became of it.

The cloud has one too, and it may be out of reach just when somebody on site asks who changed a setpoint. So each
change of a desired value and the answer to it is kept here as well, in the same form (`skerry.objects.desired_log`),
in the transaction of the change itself: what a power cut leaves is either both or neither.

It is a ring of `SLOTS` rows beside the twins of a device in the edge store, one row an entry, so that an entry costs
a card one small row and the log never grows. It goes with the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from edgecore.store.port import BESIDE, TwinRow
from edgecore.twins.stage import Place
from skerry.frozen import Frozen, replace
from skerry.objects.desired import HLC_ZERO, Desired, Vector, vector_of
from skerry.objects.desired_log import FINAL_ANSWERS, answer_body, change_body
from skerry.objects.json import JsonObject, decode_object, encode_object, int_at, map_at
from skerry.objects.meta import Key
from skerry.objects.times import micro_time_text
from skerry.objects.twins import Ack, TwinState

SLOTS: Final = 128
"""Entries of one device; half of them, say, are answers."""
LOG_ROW: Final = f"{BESIDE}log-"
"""Names of the rows begin with this."""

RevisionOf = Callable[[Key, Mapping[Place, TwinState]], str]
"""Of all that is wanted of a device, with these twins in place of those that are known."""


class _Logged(Frozen):
    """What the log says of a property at last."""

    uid: str = ""
    desired: Desired | None = None
    ack: Ack | None = None
    answered: tuple[Vector, int] | None = None
    """The version that the newest answer is to, and its number: a later answer to the same takes its place."""


class Noted(Frozen):
    """Rows to commit, and what is true once they are."""

    rows: tuple[TwinRow, ...]
    logged: Mapping[Place, _Logged]
    next: Mapping[Key, int]


class DesiredLog:
    """Numbers and rows; what they say is read from the store when somebody asks."""

    def __init__(self, rows: Iterable[TwinRow], twins: Mapping[Place, TwinState], revision_of: RevisionOf) -> None:
        self._revision_of = revision_of
        self._next: dict[Key, int] = {}
        answered: dict[Place, tuple[Vector, int]] = {}
        entries = sorted(((row.device, *_read(row)) for row in rows if is_log_row(row)), key=lambda entry: entry[1])
        for device, number, _, body in entries:
            self._next[device] = number + 1
            if (version := _answers(body)) is not None:
                answered[device, str(body.get("prop"))] = (version, number)
        self._logged = {
            place: _Logged(uid=state.uid, desired=state.desired, ack=state.ack, answered=answered.get(place))
            for place, state in twins.items()
        }

    def note(
        self, states: Mapping[Place, TwinState], answers: Iterable[tuple[Place, TwinState]] = (), *, now_ms: int
    ) -> Noted:
        """What these twins, which are about to be committed, change of the log. `answers`: twins as they were
        answered since the last commit, in order; another value may be wanted of them by now."""
        rows: dict[tuple[Key, int], TwinRow] = {}
        logged: dict[Place, _Logged] = {}
        following = dict[Key, int]()

        def add(place: Place, body: JsonObject, number: int | None = None) -> int:
            device = place[0]
            if number is None:
                number = following.get(device, self._next.get(device, 1))
                following[device] = number + 1
            rows[device, number % SLOTS] = _row(device, number, now_ms, body)
            return number

        def answer(place: Place, state: TwinState, known: _Logged) -> tuple[Vector, int] | None:
            if state.ack is None or not _says_more(state.ack, known.ack):
                return known.answered
            version, number = known.answered or (None, 0)
            held = version == state.ack.for_ver and number > self._next.get(place[0], 1) - SLOTS
            body = answer_body(place[1], state.ack, uid=state.uid)
            return state.ack.for_ver, add(place, body, number if held else None)

        for place, state in answers:
            known = logged.get(place) or self._logged.get(place, _Logged())
            if known.uid == state.uid and state.desired == known.desired:
                logged[place] = replace(known, answered=answer(place, state, known), ack=state.ack)
        moved = [entry for entry in states.items() if self._moved(*entry)]
        for place, state in sorted(moved, key=lambda entry: _wanted_at(entry[1])):
            known = logged.get(place) or self._logged.get(place, _Logged())
            if known.uid != state.uid:
                known = _Logged(uid=state.uid)
            if state.desired is not None and state.desired != known.desired:
                revision = self._revision_of(place[0], states)
                add(place, change_body(place[1], known.desired, state.desired, revision=revision, uid=state.uid))
            answered = answer(place, state, known)
            logged[place] = _Logged(uid=state.uid, desired=state.desired, ack=state.ack, answered=answered)
        return Noted(rows=tuple(rows.values()), logged=logged, next=following)

    def _moved(self, place: Place, state: TwinState) -> bool:
        """Most twins that are committed have a new reading and nothing else: these are told by a glance."""
        known = self._logged.get(place)
        if known is None:
            return state.desired is not None or state.ack is not None
        return known.desired is not state.desired or known.ack is not state.ack or known.uid != state.uid

    def keep(self, noted: Noted) -> None:
        """Its rows are committed."""
        self._logged.update(noted.logged)
        self._next.update(noted.next)

    def forget(self, device: Key) -> None:
        """It is gone from this gateway, and its rows with it."""
        self._next.pop(device, None)
        self._logged = {place: logged for place, logged in self._logged.items() if place[0] != device}


def is_log_row(row: TwinRow) -> bool:
    return row.prop.startswith(LOG_ROW)


def log_entries(rows: Iterable[TwinRow], *, since_ms: int = 0) -> list[tuple[int, str, JsonObject]]:
    """(number, time, body), the newest first, as `skerry.objects.desired_log.shown` takes them."""
    entries = (_read(row) for row in rows if is_log_row(row))
    found = sorted((entry for entry in entries if entry[1] >= since_ms), key=lambda entry: -entry[0])
    return [(number, micro_time_text(at_ms), body) for number, at_ms, body in found]


def _row(device: Key, number: int, at_ms: int, body: JsonObject) -> TwinRow:
    held: JsonObject = {"number": number, "at": at_ms, "entry": body}
    return TwinRow(device=device, prop=f"{LOG_ROW}{number % SLOTS:03d}", body=encode_object(held))


def _read(row: TwinRow) -> tuple[int, int, JsonObject]:
    held = decode_object(row.body)
    return int_at(held, "number"), int_at(held, "at"), map_at(held, "entry")


def _answers(body: JsonObject) -> Vector | None:
    """The version that an entry is an answer to; None for a change."""
    told = map_at(body, "ack").get("for")
    return vector_of(told) if isinstance(told, str) else None


def _wanted_at(state: TwinState) -> tuple[int, int]:
    hlc = state.desired.hlc if state.desired is not None else HLC_ZERO
    return hlc.wall_ms, hlc.counter


def _says_more(ack: Ack, known: Ack | None) -> bool:
    if ack.state not in FINAL_ANSWERS:
        return False
    return known is None or (known.for_ver, known.state, known.reason) != (ack.for_ver, ack.state, ack.reason)

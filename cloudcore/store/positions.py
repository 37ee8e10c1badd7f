"""How a node's sessions and outbox positions move on, decided without touching a disk.

Every form of the store keeps, for each node, the lives of its outbox that entered last (`Life`), and asks here what
entering or committing makes of them; so fencing and exactly once mean the same in memory and in a database. Pure:
it keeps no data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from cloudcore.store.dates import Dates
from cloudcore.store.port import Advance, Entry, Position, Record
from skerry.errors import FencedError
from skerry.frozen import Frozen, field, replace
from skerry.sync.received import Received
from skerry.sync.starts import Starts
from skerry.wire.frames import BULK, Start

LIVES: Final = 4
"""Lives of one node's outbox that are remembered: more than a swapped card and its return need."""


class Life(Frozen):
    """One life of a node's outbox."""

    session: int
    """The newest session that it entered."""
    received: Received
    dates: Dates = field(default_factory=Dates)
    """Of the bulk lane."""
    starts: Starts = field(default_factory=Starts)
    """Of the agent that writes it."""


Lives = Mapping[str, Life]
"""By incarnation: all that a store keeps of one node."""


def entered(lives: Lives, incarnation: str, starts: Sequence[Start] = ()) -> tuple[dict[str, Life], int]:
    """With a new session of this life; the life that entered longest ago goes when there are too many. And up to
    where what was received is the past of the store that tells these starts; 0 where it may have sent all of it."""
    session = newest(lives) + 1
    held = lives.get(incarnation, Life(session=session, received=Received()))
    top = held.received.top
    known_starts, common = held.starts.met(starts, top)
    known = {**lives, incarnation: replace(held, session=session, starts=known_starts)}
    kept = sorted(known, key=lambda name: known[name].session)[-LIVES:]
    return {name: known[name] for name in kept}, common if starts and top >= starts[0].first else 0


def advanced(lives: Lives, advance: Advance, records: Sequence[Record]) -> tuple[dict[str, Life], tuple[Record, ...]]:
    """With what the advance covers; and the records that come with it, at their places in time.

    Raises `FencedError`, and then nothing of it counts.
    """
    if advance.session == 0 and not lives and not advance.covered:
        return {}, tuple(records)
    life = lives.get(advance.incarnation)
    if life is None or advance.session != newest(lives) or advance.session != life.session:
        raise FencedError(
            f"session {advance.session} of node {advance.node} is over: session {newest(lives)} took its place"
        )
    received = life.received
    for lane, span in advance.covered:
        if received.lanes[lane].meets(span):
            raise FencedError(
                f"reports {span.first} to {span.through} of node {advance.node}, lane {lane}, took effect before"
            )
        received = received.add(lane, span)
    dates, placed = life.dates.placed(records, received.lanes[BULK])
    return {**lives, advance.incarnation: replace(life, received=received, dates=dates)}, placed


def newest(lives: Lives) -> int:
    """The number of the node's newest session; 0 before the first."""
    return max((life.session for life in lives.values()), default=0)


def position_of(node: str, lives: Lives) -> Position | None:
    """The newest session's."""
    for incarnation, life in lives.items():
        if life.session == newest(lives):
            return Position(node=node, incarnation=incarnation, session=life.session, received=life.received)
    return None


def entry_of(position: Position, *, hub: str, number: int) -> Entry:
    """Where the session of a position is."""
    return Entry(
        number=number, node=position.node, incarnation=position.incarnation, session=position.session, hub=hub
    )

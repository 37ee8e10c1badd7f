"""What the session machines ask of their shells: two closed unions.

A shell drains `effects()`, carries each out in order, and tells the machine what became of it. `Send` needs
no answer; `Write` is answered by `written`, `Commit` by `committed` or `close`, `Admit` by `admitted` or
`close`. Nothing here is kept; after a crash the next session compares again.
"""

from __future__ import annotations

from typing import TypeAlias

from skerry.frozen import Frozen
from skerry.objects.meta import Key, Revision
from skerry.objects.spans import Span
from skerry.sync.ports import Reading
from skerry.sync.priorities import Priority
from skerry.wire.frames import Frame, Hello, ObjectState, Report


class Send(Frozen):
    frame: Frame
    priority: Priority | None = None
    """None: the frame's own class (`priority_of`)."""


class Welcomed(Frozen):
    """Edge: the cloud took us in; the session counts from now on."""

    session: int
    server_ms: int
    """The cloud's wall clock, milliseconds since the epoch of Unix."""
    in_step: bool
    reading: Reading
    """The same time, with the moments on this side between which it was read."""


class Write(Frozen):
    """Edge: commit this in one durable transaction, then call `written(number)`. In order, none skipped."""

    number: int
    puts: tuple[ObjectState, ...] = ()
    deletes: tuple[Key, ...] = ()
    epoch: str = ""
    """Keep as the epoch of what is held; "" leaves it."""
    revision: Revision | None = None
    """Keep as the newest cloud revision acted on; None leaves it."""
    leaving: bool = False
    """Keep that reports leave from now on."""
    void: bool = False
    """Set the revision in every held stamp to 0, keeping uid and body: another epoch's numbers mean nothing."""

    @property
    def empty(self) -> bool:
        """Nothing to commit: call `written` at once."""
        return not (self.puts or self.deletes or self.epoch or self.void or self.leaving)


class BeginLife(Frozen):
    """Edge: this store is an older copy of one that reported more. Give its outbox a new life, and in the same
    transaction forget what the cloud has of what both had in common. The session ends after it."""

    settled: tuple[tuple[int, Span], ...]
    """By lane."""


class Prune(Frozen):
    """Edge: the outbox may forget these numbers of a lane. Needs no answer and no haste."""

    lane: int | None
    """None: whatever the lane."""
    first: int
    through: int


class Admit(Frozen):
    """Cloud: somebody says hello. Check who it is, end its older session, enter it in the store; then `admitted`."""

    hello: Hello


class DatedReport(Frozen):
    """A report and when it happened, by the cloud's clock minus the report's age."""

    report: Report
    at_ms: int


class Commit(Frozen):
    """Cloud: apply these reports and add to the received set what they cover, in one transaction. One at a time."""

    incarnation: str
    reports: tuple[DatedReport, ...]
    covered: tuple[tuple[int, Span], ...]
    """By lane. Nothing of it has taken effect before."""


class Settled(Frozen):
    """Cloud: the edge is in step, which it was not a moment ago. Needs no answer."""


class Heard(Frozen):
    """Cloud: the edge said something after Welcome, for the first time, and neither Close nor nonsense: it is there,
    and takes part. Needs no answer."""


class CloseLink(Frozen):
    """Close the link once everything before this is sent. The last effect of a session."""

    code: int
    reason: str
    by_peer: bool = False
    """The peer said `Close`."""
    retry_after_s: float = 0.0
    """What the peer asked for, when it did."""


class StreamOpened(Frozen):
    """The peer opened a stream; `streams.send` and `streams.close` may be used on it now."""

    stream: int
    kind: str
    params: bytes


class StreamArrived(Frozen):
    """Bytes came; call `streams.consumed` when they are used up."""

    stream: int
    data: bytes


class StreamWritable(Frozen):
    """The peer can take more."""

    stream: int


class StreamInputEnded(Frozen):
    """The peer sends nothing more on it, and still takes what is sent."""

    stream: int


class StreamEnded(Frozen):
    """The peer (or the end of the session) ended it."""

    stream: int
    code: int
    reason: str


StreamEffect: TypeAlias = StreamOpened | StreamArrived | StreamWritable | StreamInputEnded | StreamEnded
EdgeEffect: TypeAlias = Send | Welcomed | Write | BeginLife | Prune | CloseLink | StreamEffect
CloudEffect: TypeAlias = Send | Admit | Commit | Settled | Heard | CloseLink | StreamEffect

"""The frames of a session: everything that cloud and edge can say to each other.

A frame is a value; `codec` turns it into bytes and back. The module keeps no data, so a crash leaves nothing.
Field numbers, limits and the byte form are in `codec`; the same in Protocol Buffers' language is
docs/reference/wire.proto. The order of a conversation is the business of `skerry.sync`.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from skerry.frozen import Frozen
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.spans import Span

PROTOCOL_VERSIONS: Final = (2, 1)
"""Versions this code speaks, best first. Version 1 has no lanes: its reports travel in one order."""

PROMPT: Final = 0
"""The lane of what someone waits for: state, events, alarms, results. Strictly in order."""
BULK: Final = 1
"""The lane of telemetry and logs: what is new may overtake what waited long."""
LANES: Final = (PROMPT, BULK)
SPANS_MAX: Final = 64
"""Of one lane's received set: an edge that would need more sends in order instead."""


class CloseCode:
    """Why a session ends, as said in `Close`. Numbers are for machines, the reason beside them for people."""

    DONE: Final = 1
    """A clean end: the agent stops, or the cloud restarts. Dial again at once."""
    PROTOCOL: Final = 2
    """The peer broke the protocol, or speaks no common version."""
    FENCED: Final = 3
    """A newer session of the same node took over."""
    SILENT: Final = 4
    """Nothing was heard for two heartbeats."""
    BUSY: Final = 5
    """Come back after `retry_after_ms`: too many at once, or this replica is behind what the node has seen."""
    REFUSED: Final = 6
    """The node is not who it says, or may not connect."""
    FAILED: Final = 7
    """This side could not go on (its store is unavailable)."""
    CUT: Final = 8
    """An operator cut the link."""


class Start(Frozen):
    """One start of an edge's agent, as its outbox knows it (`skerry.sync.starts`)."""

    mark: int
    """Random."""
    first: int
    """The lowest number that it may give out."""


class Hello(Frozen):
    """Edge to cloud, first: who I am and what I hold."""

    versions: tuple[int, ...]
    """Protocol versions spoken, best first."""
    node: str
    agent_version: str
    incarnation: str
    """Which life of the edge's outbox the sequence numbers belong to."""
    epoch: str
    """The life of the cloud's store that the stamps come from; "" when nothing was ever received."""
    revision: Revision
    """The newest cloud revision this edge has acted on, in that epoch. A replica behind it must wait."""
    root: int
    """Root hash of the inventory (`skerry.sync.hashes`)."""
    outbox_head: int
    capabilities: tuple[str, ...] = ()
    dictionaries: tuple[int, ...] = ()
    """Numbers of the dictionaries known (`skerry.wire.dictionary`), best first."""
    starts: tuple[Start, ...] = ()
    """Since reports may have left this store, oldest first; told until they may."""


class LaneReceived(Frozen):
    """What of one lane has taken effect."""

    lane: int
    spans: tuple[Span, ...]


class Welcome(Frozen):
    """Cloud to edge, first: this session counts."""

    version: int
    session: int
    """Grows with each session of a node; an older session is fenced."""
    server_ms: int
    """The cloud's wall clock, milliseconds since the epoch of Unix."""
    heartbeat_ms: int
    epoch: str
    revision: Revision
    """The view's revision as this was written."""
    received: int
    """Up to which every report of the incarnation in `Hello` took effect, in whatever lane; 0 for a new one."""
    in_step: bool
    """Root hashes are equal. False asks for `Compare` with buckets."""
    lanes: tuple[LaneReceived, ...] = ()
    """Version 2: the lanes of which more took effect than 1 to `received`, whole."""
    dictionary: int = 0
    """Both sides deflate with it from now on, where that is smaller; 0 for none."""
    common: int = 0
    """Up to which what was received is the past of the store that said `Hello`, whatever it has sent itself; 0 where
    nothing was received that it may not have sent, or nothing is known."""
    capabilities: tuple[str, ...] = ()
    """What the cloud can besides keeping in step: `blocks`, to unpack blocks of readings."""


class Compare(Frozen):
    """Edge to cloud: the hashes of what I hold after your batch `batch`. Cloud to edge (empty): tell me yours.

    With buckets the cloud answers with `Stamps`; with the root alone it answers only where that differs.
    """

    batch: int = 0
    root: int = 0
    buckets: tuple[int, ...] = ()
    """All 64, or none."""


class Stamped(Frozen):
    """One entry of a view: this object, in this state."""

    key: Key
    stamp: Stamp


class Stamps(Frozen):
    """Cloud to edge: all that you should hold in these buckets, referenced objects before those that refer."""

    revision: Revision
    """As of which the view was read."""
    buckets: tuple[int, ...]
    entries: tuple[Stamped, ...]
    more: bool
    """The same answer goes on in the next `Stamps`."""


class Fetch(Frozen):
    """Edge to cloud: send me these."""

    keys: tuple[Key, ...]


class ObjectState(Frozen):
    """One object in one state, its body as the JSON bytes that the API serves."""

    key: Key
    stamp: Stamp
    body: bytes


class Objects(Frozen):
    """Cloud to edge: commit this together with the other parts of the same batch, then `Ack`."""

    batch: int
    """Counts from 1 within a session."""
    revision: Revision
    """The view's revision as of which this was read; deletions hold up to it."""
    puts: tuple[ObjectState, ...]
    deletes: tuple[Key, ...]
    more: bool
    """The batch goes on in the next `Objects`."""


class Ack(Frozen):
    """Edge to cloud: every batch up to this one is durable here."""

    batch: int


class Report(Frozen):
    """One item of the edge's outbox."""

    seq: int
    """The last of its numbers: a block of readings has one for each."""
    kind: str
    """`pod_status`, `node_status`, `twin_reported`, `telemetry`, `telemetry_block`, `event` ..."""
    key: str
    body: bytes
    wall_ms: int
    """The gateway's own clock when it was written, right or wrong."""
    age_ms: int
    """How old it was when this frame was made."""
    estimated: bool = False
    """The report is from an earlier boot of the gateway that never heard the cloud's clock: no clock that was known
    to be right counted the age."""
    error_ms: int = 0
    """How far off the age may be, either way. 0: it is exact, or (`estimated`) nobody knows. Not in version 1."""


class Reports(Frozen):
    """Edge to cloud: what happened, in order of `seq`.

    In version 2 it accounts for every number of its lane from `first` to `through`: what is not among the reports
    was replaced or dropped, and will never be sent. Version 1 says the reports alone, and means all lanes.
    """

    reports: tuple[Report, ...]
    lane: int = PROMPT
    first: int = 0
    """At least 1 in version 2."""
    through: int = 0
    """0: the last report's number."""
    late: bool = False
    """From the backlog, and in no hurry."""

    @property
    def span(self) -> Span:
        """What a version 2 frame accounts for."""
        last = self.reports[-1].seq if self.reports else 0
        return Span(self.first, self.through or last)


class Receipt(Frozen):
    """Cloud to edge: every report of `lane` from `first` to `through` has taken effect, durably.

    In version 1, every report up to `through`.
    """

    through: int
    lane: int = PROMPT
    first: int = 0


class Ping(Frozen):
    """Either way: are you there?"""

    number: int


class Pong(Frozen):
    """The answer to the ping of that number."""

    number: int


class Close(Frozen):
    """Either way, last: why this session ends and when to come back."""

    code: int
    reason: str
    retry_after_ms: int = 0


class StreamOpen(Frozen):
    """Either way: open a stream of bytes beside the state. The cloud's ids are odd, the edge's even."""

    stream: int
    kind: str
    """`logs` ..."""
    params: bytes
    """What the kind needs, as JSON."""
    credit: int
    """Bytes the opener is ready to take."""


class StreamData(Frozen):
    stream: int
    data: bytes
    last: bool = False
    """The sender sends nothing more on this stream, and still takes what comes."""


class StreamCredit(Frozen):
    """Either way: I can take this many bytes more."""

    stream: int
    credit: int


class StreamClose(Frozen):
    """Either way: nothing more comes, nothing more is wanted. Code 0 is a good end."""

    stream: int
    code: int
    reason: str


Frame: TypeAlias = (
    Hello
    | Welcome
    | Compare
    | Stamps
    | Fetch
    | Objects
    | Ack
    | Reports
    | Receipt
    | Ping
    | Pong
    | Close
    | StreamOpen
    | StreamData
    | StreamCredit
    | StreamClose
)

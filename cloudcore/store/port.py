"""The spine's port: one revisioned log of changes, and everything that must commit together with them.

A store keeps current objects as the JSON bytes that the API serves, an append-only log of changes (one dense
revision a change), the sessions and outbox positions of nodes, and records (append-only readings and history).
`commit` is one transaction over all of them: after a crash all of it is there, or nothing. Revisions become visible
in order. History below the compacted revision is gone, and asking for it says so (`GoneError`).

Forms: `memory` (tests, simulation), `failing` (errors on plan), `sql` (SQLAlchemy on SQLite or PostgreSQL). All pass
`tests/contracts/store_contract.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple, Protocol

from skerry.frozen import Frozen
from skerry.objects.meta import Key, Revision
from skerry.objects.spans import Span
from skerry.sync.received import Received
from skerry.wire.frames import Start

ABSENT: Final = Revision(0)
"""As `Put.expected`: the object must not exist."""


class Put(Frozen):
    """Create or replace one object.

    `body` is the object as JSON bytes *without* `metadata.resourceVersion`: the store assigns the revision and
    splices it in with `with_revision`, so that the bytes it keeps are the bytes the API serves.
    """

    key: Key
    uid: str
    body: bytes
    expected: Revision | None
    """The revision the object must have now; ABSENT: it must not exist; None: whatever is there."""


class Delete(Frozen):
    """Remove one object. The log keeps its last state, stamped with the deletion's revision."""

    key: Key
    expected: Revision | None
    body: bytes | None = None
    """The last state to log where it differs from the stored one (a final status); None: as stored."""


class Position(Frozen):
    """What of a node's outbox has taken effect, and which of the node's sessions may say more."""

    node: str
    incarnation: str
    """The life of the outbox that entered last."""
    session: int
    """Counts the node's sessions from 1, whatever replica they came to."""
    received: Received
    common: int = 0
    """Where a session has just entered and more was received than its store may have sent: up to which that is the
    store's own past (`skerry.sync.starts`)."""


class Entry(Frozen):
    """Where a node's newest session is, of those that entered through a hub that gave its name."""

    number: int
    """Ascending in the order in which sessions entered, whatever node they are of; not dense."""
    node: str
    incarnation: str
    session: int
    hub: str


class Advance(Frozen):
    """What of a node's outbox takes effect with a batch. Numbers that took effect before are a `FencedError`."""

    node: str
    """Or whoever else has sessions of which only the newest may write: the leader of several replicas."""
    incarnation: str
    session: int
    """The number that `enter` gave. Once it has given a newer one for the node, this is a `FencedError`. 0, of a node
    that never entered and for nothing of its outbox: once it has entered."""
    covered: tuple[tuple[int, Span], ...]
    """By lane."""


class Record(Frozen):
    """One row of a series (a device property's history, say)."""

    series: str
    at_ms: int
    """When it happened, milliseconds since the epoch, by the cloud's reckoning. With a batch that advances an
    outbox it is moved to where `seq` belongs (`cloudcore.store.dates`)."""
    body: bytes
    seq: int = 0
    """Its number in the outbox that the batch advances; 0: it came from none."""
    error_ms: int | None = 0
    """How far off `at_ms` may be, besides the time that it was on the way; None: nobody knows."""
    hole: bool = False
    """What is told is that there is nothing at `seq`: it takes its place among its neighbours and gives them none."""


class Place(NamedTuple):
    """Where a record stands in its series, in order of time. No two stand in one place, and none ever moves."""

    at_ms: int
    seq: int
    number: int


class StoredRecord(Frozen):
    series: str
    number: int
    """Dense within a store, ascending in the order committed."""
    at_ms: int
    body: bytes
    seq: int = 0

    @property
    def place(self) -> Place:
        return Place(self.at_ms, self.seq, self.number)


class Basis(Frozen):
    """All objects of a resource, as a batch was decided on them: an address that none of them had, say."""

    resource: str
    revision: Revision
    """Of what the decider saw."""


class Standing(Frozen):
    """An object as somebody saw it."""

    key: Key
    revision: Revision
    """ABSENT: it was not there."""


class Batch(Frozen):
    """What commits together, or not at all."""

    writes: tuple[Put | Delete, ...] = ()
    advance: Advance | None = None
    records: tuple[Record, ...] = ()
    basis: Basis | None = None
    """When any object of its resource was written since, this is a `ConflictError`."""
    urgent: bool = False
    """Before others that wait to be committed: what is too late does harm (a leader's renewal)."""


class Stored(Frozen):
    """One current object."""

    key: Key
    uid: str
    revision: Revision
    body: bytes
    """JSON as served, `metadata.resourceVersion` included."""


class Change(Frozen):
    """One row of the log: what an object was, and what it became.

    `before` is None for a creation, `after` is None for a deletion; then `before` is the last state, its
    `metadata.resourceVersion` already that of the deletion (what a DELETED watch event shows).
    """

    revision: Revision
    key: Key
    uid: str
    before: bytes | None
    after: bytes | None


class Page(Frozen):
    """A slice of a list, all at one revision, in order of (namespace, name)."""

    items: tuple[Stored, ...]
    revision: Revision
    next_after: tuple[str, str] | None
    """(namespace, name) of the last item when more follow."""
    remaining: int
    """How many follow."""


_LATER: Final = "r-"


def later_epoch(uid: str) -> str:
    """The epoch of a store that was restored from a backup."""
    return _LATER + uid


def life_of(epoch: str) -> str:
    """A short name for a later life of a store; "" for its first one."""
    return epoch.removeprefix(_LATER).replace("-", "")[:8] if epoch.startswith(_LATER) else ""


class Store(Protocol):
    """See the module. Every method raises `UnavailableError` when the store can't answer now (locked, disk
    full: `StorageFullError`), with nothing half-applied."""

    @property
    def epoch(self) -> str:
        """Names this life of the store; a restored backup has another one."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other processes may write to it: then what was seen last may be older than what is there."""
        ...

    async def commit(self, batch: Batch) -> tuple[Revision, ...]:
        """Apply all or nothing; the revision of each write, in order.

        Durable when this returns (power loss included). Raises `AlreadyExistsError` (expected ABSENT),
        `NotFoundError` (a Delete or an expected revision of an object that is not there), `ConflictError` (also where
        the batch's basis has changed, which is looked at first), and of those `FencedError` when a newer session of
        the node has entered, or the advance took effect before.
        A Put never changes the uid of an object that is there (`ConflictError`): a new life begins with a Delete.
        A write that leaves the body unchanged still takes a revision: callers drop no-ops before they come.
        """
        ...

    async def get(self, key: Key) -> Stored | None: ...

    async def resources(self) -> Sequence[str]:
        """The resources that have objects now, sorted."""
        ...

    async def list(
        self,
        resource: str,
        *,
        namespace: str = "",
        at: Revision | None = None,
        after: tuple[str, str] | None = None,
        limit: int = 0,
    ) -> Page:
        """Objects of a resource ("" namespace: in all), as of `at` (None: now). `limit` 0 means all.

        Raises `GoneError` when `at` is below the compacted revision.
        """
        ...

    async def changes(self, *, after: Revision, limit: int = 1000) -> Sequence[Change]:
        """The log after a revision, oldest first, at most `limit`. Raises `GoneError` below the compacted one."""
        ...

    def watch(self, *, after: Revision) -> AsyncIterator[Change]:
        """Every change after a revision, for ever, in order, none missing. Raises `GoneError` as `changes`."""
        ...

    async def revision(self) -> Revision:
        """The newest committed revision."""
        ...

    async def compacted(self) -> Revision:
        """History at and below this revision is gone. 0 when nothing was compacted."""
        ...

    async def compact(self, to: Revision) -> None:
        """Forget superseded states and deletions at or below `to`; current objects stay. Never goes back."""
        ...

    async def enter(
        self,
        node: str,
        incarnation: str,
        *,
        hub: str = "",
        while_at: Standing | None = None,
        starts: Sequence[Start] = (),
    ) -> Position:
        """Begin a session of this node: its number, and what took effect of this life of its outbox, of which the
        node tells these starts.

        Durable when it returns. From then on nothing is committed for an older session of the node, so what this
        says has taken effect is all that ever will but for the new session's own commits. The lives that entered
        last are remembered (`LIVES`), so that two gateways that share a name do not make the cloud forget.

        A hub that is one of several gives its name, and is found by it (`Entry`) from the same moment on. When the
        object of `while_at` is not so any more, nobody enters: `ConflictError`.
        """
        ...

    async def entry(self, node: str) -> Entry | None:
        """Where the node entered last; None: through no hub that gave its name."""
        ...

    async def entries(self, *, after: int = 0, limit: int = 1000) -> Sequence[Entry]:
        """The newest entry of each node, those with `number` > `after`, in order."""
        ...

    def watch_entries(self, *, after: int) -> AsyncIterator[Entry]:
        """Every entry after a number, for ever, in order, whichever process it came to; of one node that enters
        again and again perhaps only the newest. Raises `UnavailableError` when the store can't answer."""
        ...

    async def position(self, node: str) -> Position | None:
        """Of the life that entered last; None: none ever did."""
        ...

    async def records(
        self,
        series: str,
        *,
        after: Place | None = None,
        since_ms: int = 0,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> Sequence[StoredRecord]:
        """Records of a series in order of time (`Place`), those behind `after` in that order.

        A page shows nothing twice. What is committed later may belong before a place that was read already, and is
        then not in the pages after it: whoever must have every record follows `arrivals`.
        """
        ...

    async def arrivals(
        self, series: str, *, after: int = 0, since_ms: int = 0, limit: int = 1000
    ) -> Sequence[StoredRecord]:
        """Records of a series with `number` > `after`, in the order in which they were committed: what is committed
        later comes later."""
        ...

    async def tail(self, *, after: int, limit: int = 1000) -> Sequence[StoredRecord]:
        """Records of all series with `number` > `after`, in order. A number that lacks between them was trimmed."""
        ...

    async def newest_record(self) -> int:
        """The highest `number` that was given; 0 before the first."""
        ...

    async def trim_records(self, *, before_ms: int, keep_per_series: int) -> int:
        """Drop records older than `before_ms` or beyond the `keep_per_series` of the latest times; how many were
        dropped."""
        ...

    async def close(self) -> None:
        """Finish what was accepted, and let go of the files."""
        ...


def with_revision(body: bytes, revision: Revision) -> bytes:
    """Splice `resourceVersion` into the metadata of a stored body.

    Bodies begin with `{"metadata":{` by contract (`body_of` in `cloudcore.registry.bodies` writes them so),
    which makes this a copy instead of a parse.
    """
    head = b'{"metadata":{'
    assert body.startswith(head), "bodies begin with their metadata"
    rest = body[len(head) :]
    comma = b"" if rest.startswith(b"}") else b","
    return b'%s"resourceVersion":"%d"%s%s' % (head, revision, comma, rest)


def without_revision(body: bytes) -> bytes:
    """Undo `with_revision`."""
    head = b'{"metadata":{"resourceVersion":"'
    assert body.startswith(head), "stored bodies begin with their revision"
    end = body.index(b'"', len(head)) + 1
    if body[end : end + 1] == b",":
        end += 1
    return b'{"metadata":{' + body[end:]

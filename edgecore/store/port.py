"""The edge's memory: what it holds from the cloud, what it must tell the cloud, and what it is doing.

One SQLite file (WAL, fully synced for what is acknowledged). `apply` and `append` are transactions; whoever
acknowledges does so after they return. Written from one thread, read from any.

Tables: `meta` (incarnation, epoch, last known time), `objects` (the inventory, JSON bytes with stamps),
`outbox` (reports by seq), `pushes` and `push_queues` (readings for others than the cloud), `twins` (per device and
property), `pods` (runtime records: which processes or containers belong to which pod, so that a restarted agent
adopts them), `commands` (what was begun and what became of it, by uid: a command runs at most once), `rules` (what
device rules did and are about to do, by uid), `gaps` (what had to be dropped), `boots` (what each boot knew of time).

Forms: `memory`, `failing`, `sqlite` (stdlib `sqlite3`: SQLAlchemy costs 17 MB of resident memory on a gateway,
see docs/decisions). All pass `tests/contracts/edge_store_contract.py`. `AsyncEdgeStore` (`shell`) is the face
for the agent's event loop, and where the agent's rooms hear of each other's commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol

from skerry.frozen import Frozen
from skerry.objects.blocks import Reading as BlockReading
from skerry.objects.blocks import count_of
from skerry.objects.meta import Key, Stamp
from skerry.objects.reports import GapReport
from skerry.objects.spans import Span
from skerry.sync.ages import known_ms
from skerry.sync.ports import BootTimes, Reading, Taken
from skerry.wire.frames import BULK, PROMPT, Start

META_EPOCH: Final = "epoch"
"""Name in `meta`: the life of the cloud's store that the objects held are of; "" before the first. A commit that
carries it says that a cloud was met which may know less than was told: whoever tells states tells them again."""

META_REVISION: Final = "revision"
"""Name in `meta`: the newest revision of the cloud's store that was acted on."""

META_LEAVING: Final = "outbox_leaving"
"""Name in `meta`: "yes" from before the first report is sent on, until the store is opened again. A store that says
nothing is of an agent that did not know of this, and reports may have left it."""

META_ADDRESS: Final = "node_address"
"""Name in `meta`: the address of this machine that was told last."""

META_CUT: Final = "link_cut"
"""Name in `meta`: `yes` while an operator keeps the link down."""

META_WAY: Final = "link_way"
"""Name in `meta`: the way to the cloud that was welcomed last."""

META_THINNED: Final = "outbox_thinned"
"""Name in `meta`: up to where readings that wait were thinned (`edgecore.store.thinning`)."""

META_KNOWN_MS: Final = "known_ms"
"""Name in `meta`: the newest time of the cloud that was heard of, milliseconds."""
LAST_STEP_MS: Final = 60_000
"""How far behind `BootTimes.last_ms` may be: a flash card need not know the second."""
BOOTS_MAX: Final = 1000
"""Beyond, boots that have nothing to date are forgotten: a gateway may start over and over for months."""

ReportClass = Literal["state", "event", "alarm", "message", "telemetry"]
"""`state` is coalesced by key; the others are kept in order within their budgets and times."""

WhenFull = Literal["drop", "thin"]

LOWEST_FIRST: Final[tuple[ReportClass, ...]] = ("telemetry",)
"""What goes when the disk runs out, in this order. Never anything else."""
FLOOR_KEEPS_BYTES: Final = 64 << 10
"""The newest so many bytes of each class stay also then: what is on its way to the cloud is not what fills a disk."""


CLASSES_OF_LANE: Final[Mapping[int | None, tuple[ReportClass, ...]]] = {
    PROMPT: ("state", "event", "alarm", "message"),
    BULK: ("telemetry",),
    None: ("state", "event", "alarm", "message", "telemetry"),
}
"""Which lane of the session a class travels in; None: all together, to a cloud that knows no lanes."""


class Held(Frozen):
    """One object as held."""

    key: Key
    stamp: Stamp
    body: bytes


class NewReport(Frozen):
    """Something to tell the cloud."""

    report_class: ReportClass
    kind: str
    """What it is: `pod_status`, `node_status`, `twin_reported`, `twin_desired`, `telemetry`, `event` ..."""
    key: str
    """Coalescing key of `state` reports; the series of `telemetry`; "" for events."""
    body: bytes


class NewReading(NamedTuple):
    """A reading for its device's history. It waits with others in a block (`edgecore.store.packing`)."""

    reading: BlockReading
    """As it was taken: how long ago that is, the store reckons."""
    taken_ms: int
    """When, by the monotonic clock."""


class OutboxReport(Frozen):
    """The same, numbered and dated."""

    seq: int
    """A block has as many numbers as readings, and this is the last of them."""
    report_class: ReportClass
    kind: str
    key: str
    body: bytes
    wall_ms: int
    """The gateway's own clock when it was written."""
    boot_id: str
    """Which boot `monotonic_ms` belongs to."""
    monotonic_ms: int

    @property
    def count(self) -> int:
        """Of how many things it tells, each with a number of its own: more than one in a block of readings."""
        return count_of(self.kind, self.body)


class NewPush(NamedTuple):
    """A reading for somebody other than the cloud, as a Device's `pushMethod` asks."""

    queue: str
    """What goes to one place from one device, in order."""
    body: bytes


class Push(NamedTuple):
    """The same, numbered. Numbers only rise, in all queues together."""

    number: int
    queue: str
    body: bytes


class Pushed(NamedTuple):
    """One that is done with. What was dropped for want of room while it was on its way, and arrived, is not counted
    as dropped."""

    queue: str
    number: int
    arrived: bool = True
    """False: it is given up, and counted as dropped."""


class PushQueue(Frozen):
    """A queue in which something waits, or from which something was dropped since it began."""

    queue: str
    waiting: int
    size_bytes: int
    dropped: int


BESIDE: Final = "\x1f"
"""Names of rows beside the twins of a device begin with this, or are empty; no property's does."""


class TwinRow(Frozen):
    """One property of one device, as JSON (`skerry.objects.twins` reads it), or what is kept beside them."""

    device: Key
    prop: str
    body: bytes

    @property
    def is_twin(self) -> bool:
        """Of a property."""
        return self.prop != "" and not self.prop.startswith(BESIDE)


class EdgeBatch(Frozen):
    """What commits together on the edge. Every part may be empty."""

    puts: tuple[Held, ...] = ()
    deletes: tuple[Key, ...] = ()
    reports: tuple[NewReport, ...] = ()
    readings: tuple[NewReading, ...] = ()
    """In the order in which they were taken; of the class `telemetry`."""
    twins: tuple[TwinRow, ...] = ()
    twin_deletes: tuple[Key, ...] = ()
    """Devices whose rows go."""
    pods: tuple[tuple[str, bytes | None], ...] = ()
    """Runtime records by pod uid; None removes."""
    commands: tuple[tuple[str, bytes | None], ...] = ()
    """What is known of commands by their uid; None removes."""
    pushes: tuple[NewPush, ...] = ()
    """In order; beyond their budget the oldest of the longest queue go, and are counted."""
    pushed: tuple[Pushed, ...] = ()
    push_ends: tuple[str, ...] = ()
    """Queues that nobody wants any more: gone, with all that waits in them."""
    rules: tuple[tuple[str, bytes | None], ...] = ()
    """What device rules did and are about to do, by their uid; None removes."""
    meta: tuple[tuple[str, str], ...] = ()
    reading: Reading | None = None
    """The cloud's clock, as just heard: kept for the present boot."""


DAY_MS: Final = 86_400_000


class OutboxBudgets(Frozen):
    """How many bytes of each ordered class wait for the cloud, and how long; beyond, the oldest go and a gap is
    reported.

    Telemetry is what fills it: half a GiB is two hundred million readings in blocks, a fortnight and more at a
    hundred a second. It can't crowd out alarms, which have room of their own. State needs no budget: there is one
    report a key, and what is the case does not grow old. Nor does an alarm, unless somebody says so. Readings wait
    for as long as the cloud would keep them.
    """

    event: int = 4 << 20
    alarm: int = 16 << 20
    message: int = 16 << 20
    """Of rules: for applications, whatever is in them."""
    telemetry: int = 512 << 20
    push: int = 16 << 20
    """Of all queues of pushes; some hundred thousand readings."""
    event_ttl_ms: int = 30 * DAY_MS
    """Times are of `edgecore.store.expiry`: time that the gateway ran. 0: for ever."""
    alarm_ttl_ms: int = 0
    message_ttl_ms: int = 7 * DAY_MS
    telemetry_ttl_ms: int = 30 * DAY_MS
    telemetry_full: WhenFull = "drop"
    """What goes when its bytes are used up: the oldest readings, or first most of those between others
    (`edgecore.store.thinning`)."""
    free_floor: int = 16 << 20
    """Bytes that stay free on the store's file system, counting what the store's file has room for itself: below,
    the lowest classes go. 0: whatever there is."""

    def of(self, report_class: ReportClass) -> int | None:
        """Bytes; None for no limit."""
        match report_class:
            case "state":
                return None
            case "event":
                return self.event
            case "alarm":
                return self.alarm
            case "message":
                return self.message
            case "telemetry":
                return self.telemetry

    def when_full(self, report_class: ReportClass) -> WhenFull:
        return self.telemetry_full if report_class == "telemetry" else "drop"

    def times(self) -> Mapping[ReportClass, int]:
        """Milliseconds, of the classes that grow old."""
        every: dict[ReportClass, int] = {
            "event": self.event_ttl_ms,
            "alarm": self.alarm_ttl_ms,
            "message": self.message_ttl_ms,
            "telemetry": self.telemetry_ttl_ms,
        }
        return {report_class: ttl_ms for report_class, ttl_ms in every.items() if ttl_ms > 0}


ROW_OVERHEAD_BYTES = 64
"""What a report costs in the outbox beyond its own text."""


def floor_of(boots: Sequence[BootTimes], known: str | None) -> int:
    """The newest time of the cloud known from these boots, oldest first, and from `META_KNOWN_MS`; 0 for none."""
    return max(known_ms(boots), int(known) if known is not None and known.isdecimal() else 0)


def report_cost_bytes(report: NewReport) -> int:
    """What one report takes of its class's budget."""
    return len(report.body) + len(report.kind) + len(report.key) + ROW_OVERHEAD_BYTES


class ClassWaits(Frozen):
    """What waits for the cloud of one class."""

    report_class: ReportClass
    reports: int
    """At least one; of telemetry, readings."""
    size_bytes: int
    oldest: OutboxReport


class StoreStats(Frozen):
    """For people: what waits and what was lost."""

    outbox_reports: int
    outbox_bytes: int
    waiting: tuple[ClassWaits, ...]
    """By class; none of a class of which nothing waits."""
    objects: int
    gaps: tuple[GapReport, ...]


class EdgeStore(Protocol):
    """See the module. Methods are synchronous and short; `apply` may take a disk sync, so the shells call it
    in the store's own thread (`AsyncEdgeStore`). A full disk raises `StorageFullError`, nothing half-written; what
    can't be read any more, `DamagedError`.

    Within a batch deletes come first, then puts, so that an object re-created under its name is one batch.
    A `state` report replaces the waiting one of its kind and key under a new seq, sent or not: the receipt for
    the old seq leaves the new one waiting.
    """

    @property
    def incarnation(self) -> str: ...

    def apply(self, batch: EdgeBatch) -> int:
        """One durable transaction; the outbox's newest seq after it."""
        ...

    def get(self, key: Key) -> Held | None: ...

    def list(self, resource: str, *, namespace: str = "") -> Sequence[Held]:
        """Ordered by key."""
        ...

    def stamps(self) -> Iterable[tuple[Key, Stamp]]:
        """The inventory."""
        ...

    def outbox(self, *, after: int, limit: int, lane: int | None = None) -> Sequence[OutboxReport]:
        """Waiting reports of a lane (None: of all) with seq > `after`, in order. Seqs have holes where state was
        replaced, and where the other lane's are."""
        ...

    def take(
        self, *, after: int, limit: int, lane: int | None = None, until: int | None = None
    ) -> Taken[OutboxReport]:
        """The same, to send them (`edgecore.store.claims`), without those that begin behind `until`. Waits for no
        disk."""
        ...

    def give_back(self, seqs: Sequence[int]) -> None:
        """Nothing of these was sent, though they were taken."""
        ...

    def welcomed(self, settled: Sequence[tuple[int | None, Span]]) -> None:
        """A session begins. The cloud has these spans of lanes (None: of all), and will not have what else was
        taken before, unless it is taken again."""
        ...

    def outbox_head(self) -> int:
        """The newest seq ever given out; survives pruning."""
        ...

    def outbox_left(self) -> int:
        """The newest seq that may have been sent, before this store was opened or since. What the cloud has beyond,
        another copy of this store told it."""
        ...

    def outbox_starts(self) -> Sequence[Start]:
        """The openings of this store since reports may have left it, oldest first (`skerry.sync.starts`)."""
        ...

    def note_sent(self, through: int) -> None:
        """Reports up to this seq are being sent. Costs no write: `META_LEAVING` has told that some would be."""
        ...

    def begin_life(self, incarnation: str, settled: Sequence[tuple[int, Span]]) -> None:
        """A new life of the outbox, in one durable transaction: of each lane what the cloud has is forgotten, the
        rest waits as it was, and nothing of it was sent."""
        ...

    def boots(self) -> Sequence[BootTimes]:
        """What is known of the boots that waiting reports are of, and of the present one, which is the last."""
        ...

    def prune_outbox(self, *, through: int, first: int = 1, lane: int | None = None) -> None:
        """The cloud's receipt: of this lane (None: of all) everything from `first` to `through` is durable there."""
        ...

    def salvage(self) -> bool:
        """Save a part of what a damaged store before this one had for the cloud; whether there is more. Nothing of
        the outbox is told to anybody before it says no: a receipt covers all numbers below it. A short write."""
        ...

    def twins(self, device: Key | None = None) -> Sequence[TwinRow]: ...

    def pods(self) -> Sequence[tuple[str, bytes]]:
        """What is known of pods, by uid."""
        ...

    def pod(self, uid: str) -> bytes | None:
        """The same of one; None for one of which nothing is."""
        ...

    def rules(self) -> Sequence[tuple[str, bytes]]:
        """What is known of device rules, by uid."""
        ...

    def commands(self) -> Sequence[tuple[str, bytes]]:
        """By uid."""
        ...

    def pushes(self, queue: str, *, after: int = 0, limit: int) -> Sequence[Push]:
        """Of one queue, the oldest first."""
        ...

    def push_queues(self) -> Sequence[PushQueue]:
        """Ordered by name."""
        ...

    def meta(self, name: str) -> str | None: ...

    def stats(self) -> StoreStats: ...

    def damage(self) -> str:
        """What is wrong with all that is kept, "" for nothing. It reads everything, which takes a slow card half a
        minute: from a thread of its own, beside all others. Raises `UnavailableError` where it can't."""
        ...

    def close(self) -> None: ...

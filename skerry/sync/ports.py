"""What the session machines are given, and what they know of time. They know nothing of nodes or databases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from skerry.frozen import Frozen
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.spans import Span
from skerry.wire.frames import ObjectState, Start


class Instant(Frozen):
    """Now, on both of a machine's clocks (`skerry.ports.Clock`)."""

    monotonic_s: float
    wall_ms: int


class Reading(Frozen):
    """The cloud's clock as a boot heard it once: it read `server_ms` at some moment from `said_ms` to `heard_ms`."""

    said_ms: int
    """Monotonic clock when `Hello` was said."""
    heard_ms: int
    """Monotonic clock when `Welcome` was heard."""
    server_ms: int


class BootTimes(Frozen):
    """What a gateway keeps of one boot, to date its reports after the next. Milliseconds."""

    boot_id: str
    opened_ms: int
    """Monotonic clock when the store was first opened in this boot."""
    last_ms: int
    """Monotonic clock at a write near the boot's end."""
    floor_ms: int = 0
    """The newest time of the cloud that was known when the store was first opened; 0 for none."""
    reading: Reading | None = None
    """The newest one; None where this boot never heard the cloud."""


class SyncSettings(Frozen):
    """Limits of a session; both sides have the same defaults. Each is named with its unit and its reason."""

    window_batches: int = 8
    """Batches of objects that may be unacknowledged: enough to fill a link of 250 ms round trip."""
    part_bytes: int = 64 * 1024
    """Largest `Objects`, `Stamps` or `Reports` frame that is not one large object; less on a link that was seen to be
    slow (`skerry.sync.priorities.Pace`)."""
    batch_bytes: int = 128 * 1024
    """A batch takes no further object beyond this, nor beyond two parts of a slow link."""
    group_bytes_max: int = 8 * 1024 * 1024
    """An object and all it refers to stay in one batch up to this; beyond, what is referred to goes first."""
    fetch_keys: int = 64
    """Keys an edge has asked for and not been answered: what it has room for."""
    report_frames: int = 8
    """`Reports` frames that may lack a receipt."""
    reports_max: int = 256
    """Reports in one frame; also how much of a backlog is sent before live telemetry, rather than beside it."""
    readings_max: int = 2048
    """The same of readings, which travel in blocks: what a cloud takes up in a tenth of a second, so that what is
    live waits no longer for it."""
    backlog_frames: int = 2
    """`Reports` frames of the backlog that may lack a receipt: one on its way while one is being committed."""
    backlog_bytes_s: int = 128 * 1024
    """How fast a backlog is sent, bytes of reports in a second, before frames are compressed: ten thousand gateways
    that come back at once leave the cloud room to breathe."""
    heartbeat_s: float = 30.0
    """The cloud's choice, told in `Welcome`: two in which nothing is heard end a session. An idle gateway asks after
    4/3 of it (`skerry.sync.edge.PING_HEARTBEATS`): with 30 s, 2160 times a day, of 214 bytes on IPv4 with the answer
    and TCP's acknowledgement of it: 0.46 MB."""
    greeting_s_max: float = 20.0
    """From the opening of the link to `Hello`, and to `Welcome`: a slow modem's few round trips."""
    behind_s_max: float = 10.0
    """How long a cloud replica that is behind the node waits for its own view."""
    compare_s: float = 900.0
    """Between comparisons while connected."""
    compare_s_min: float = 60.0
    """No cloud asks for all buckets more often: a disagreement that does not heal must not spin."""


class View(Protocol):
    """What one edge should hold now: a live, pure function of the cloud's store."""

    @property
    def revision(self) -> Revision:
        """Position in the log that the view reflects. Never goes back within an epoch."""
        ...

    def stamps(self) -> Iterable[tuple[Key, Stamp]]:
        """All of it, what is referred to before what refers."""
        ...

    def state(self, key: Key) -> ObjectState | None:
        """The object, or None when it is not in the view."""
        ...

    def closure(self, key: Key) -> Sequence[Key]:
        """What the object refers to, itself left out, in the order in which it must arrive."""
        ...

    def secret(self, key: Key) -> bool:
        """Travels in a frame of its own: deflated together with text that somebody else chose, the frame's length
        would tell how alike the two are."""
        ...

    def prompt(self, key: Key) -> bool:
        """Goes before what isn't, together with its closure: somebody waits for a machine to obey."""
        ...


class OutboxItem(Protocol):
    """One report as the edge keeps it (`edgecore.store.port.OutboxReport`)."""

    @property
    def seq(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def wall_ms(self) -> int: ...
    @property
    def boot_id(self) -> str: ...
    @property
    def monotonic_ms(self) -> int: ...


_Item_co = TypeVar("_Item_co", bound=OutboxItem, covariant=True)


class Taken(Frozen, Generic[_Item_co]):
    """What of an outbox was given out to be sent."""

    items: Sequence[_Item_co]
    complete: bool = True
    """False: a write under way has hold of what would come next. Ask again when it has ended."""


class Outbox(Protocol):
    """What an edge still has to tell (`edgecore.store.port.EdgeStore` is one)."""

    def outbox(self, *, after: int, limit: int, lane: int | None = None) -> Sequence[OutboxItem]:
        """Items of a lane (None: of all) with `seq` > `after`, ascending."""
        ...

    def take(self, *, after: int, limit: int, lane: int | None = None, until: int | None = None) -> Taken[OutboxItem]:
        """The same, to send them, those that begin behind `until` left out: blocks of readings among them grow no
        more, and none of them is dropped before a receipt came or they are given back. Waits for no write."""
        ...

    def give_back(self, seqs: Sequence[int]) -> None:
        """Nothing of these was sent, though they were taken: they may be dropped."""
        ...

    def welcomed(self, settled: Sequence[tuple[int | None, Span]]) -> None:
        """A session begins, whose cloud has these spans of lanes (None: of all). Whatever else was taken before has
        not arrived, and no more will come of it: it may be dropped."""
        ...

    def outbox_head(self) -> int:
        """The newest number ever given out."""
        ...

    def outbox_left(self) -> int:
        """The newest number that may have been sent, by this run of the agent or by those before it."""
        ...

    def outbox_starts(self) -> Sequence[Start]:
        """Of the agent, since reports may have left, oldest first, the present one last unless there are too many."""
        ...

    def note_sent(self, through: int) -> None:
        """Numbers up to this one are being sent."""
        ...

    def boots(self) -> Sequence[BootTimes]:
        """The boots that waiting reports are of, and the present one, oldest first."""
        ...

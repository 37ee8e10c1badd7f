"""The edge's memory: what it holds from the cloud, what it must tell the cloud, and what it is doing.

One SQLite file (WAL, fully synced for what is acknowledged). `apply` and `append` are transactions; whoever
acknowledges does so after they return. Written from one thread, read from any.

Tables: `meta` (incarnation, epoch, last known time), `objects` (the inventory, JSON bytes with stamps),
`outbox` (reports by seq), `twins` (per device and property), `pods` (runtime records: which processes or
containers belong to which pod, so that a restarted agent adopts them), `gaps` (what had to be dropped).

Forms: `memory`, `failing`, `sqlite` (stdlib `sqlite3`: SQLAlchemy costs 17 MB of resident memory on a gateway,
see docs/decisions). All pass `tests/contracts/edge_store_contract.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from skerry.objects.meta import Key, Stamp

ReportClass = Literal["state", "event", "alarm", "telemetry"]
"""`state` is coalesced by key; the others are kept in order within their budgets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One object as held."""

    key: Key
    stamp: Stamp
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReport:
    """Something to tell the cloud."""

    report_class: ReportClass
    kind: str
    """What it is: `pod_status`, `node_status`, `twin_reported`, `twin_desired`, `telemetry`, `event` ..."""
    key: str
    """Coalescing key of `state` reports; the series of `telemetry`; "" for events."""
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxReport:
    """The same, numbered and dated."""

    seq: int
    report_class: ReportClass
    kind: str
    key: str
    body: bytes
    wall_ms: int
    """The gateway's own clock when it was written."""
    boot_id: str
    """Which boot `monotonic_ms` belongs to."""
    monotonic_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinRow:
    """One property of one device, as JSON (`skerry.objects.twins` reads it)."""

    device: Key
    prop: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeBatch:
    """What commits together on the edge. Every part may be empty."""

    puts: tuple[Held, ...] = ()
    deletes: tuple[Key, ...] = ()
    reports: tuple[NewReport, ...] = ()
    twins: tuple[TwinRow, ...] = ()
    twin_deletes: tuple[Key, ...] = ()
    """Devices whose rows go."""
    pods: tuple[tuple[str, bytes | None], ...] = ()
    """Runtime records by pod uid; None removes."""
    meta: tuple[tuple[str, str], ...] = ()


class EdgeStore(Protocol):
    """See the module. Methods are synchronous and short; `apply` may take a disk sync, so the shells call it
    in the store's own thread (`AsyncEdgeStore`). A full disk raises `StorageFullError`, nothing half-written."""

    @property
    def incarnation(self) -> str: ...

    def apply(self, batch: EdgeBatch) -> int:
        """One durable transaction; the outbox's newest seq after it."""
        ...

    def get(self, key: Key) -> Held | None: ...

    def list(self, resource: str, *, namespace: str = "") -> Sequence[Held]: ...

    def stamps(self) -> Iterable[tuple[Key, Stamp]]:
        """The inventory."""
        ...

    def outbox(self, *, after: int, limit: int) -> Sequence[OutboxReport]: ...

    def outbox_head(self) -> int:
        """The newest seq ever given out; survives pruning."""
        ...

    def prune_outbox(self, *, through: int) -> None:
        """The cloud's receipt: everything up to `through` is durable there."""
        ...

    def twins(self, device: Key | None = None) -> Sequence[TwinRow]: ...

    def pods(self) -> Sequence[tuple[str, bytes]]: ...

    def meta(self, name: str) -> str | None: ...

    def close(self) -> None: ...

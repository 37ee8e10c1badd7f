"""What a gateway tells the cloud about its node and pods: the bodies of outbox reports, for both ends.

(The bodies about twins are in `skerry.objects.twins`.) Each is JSON, so that either end may be newer: fields
unknown to the reader are left alone. `kind` is what `NewReport.kind` says; the coalescing key is given for
each. Nothing here names the node: a link carries the reports of one node, proven by its certificate.
"""

from __future__ import annotations

from skerry.errors import ProtocolError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, bool_at, encode_object, int_at, map_at, str_at

POD_STATUS = "pod_status"
NODE_STATUS = "node_status"
EVENT = "event"
GAP = "gap"
SERIES_GAP = "series_gap"

BACKLOG = "UpstreamBacklog"
"""Type of a condition in the status that a gateway tells of its Node: True while something has waited for the cloud
for a minute."""


class PodStatusReport(Frozen):
    """State, keyed by the pod's uid: the whole `status` as it is on the gateway.

    `gone` says that nothing of the pod is left there: its containers ended, its volumes were removed. A pod
    that waits for deletion may then leave the store at once.
    """

    namespace: str
    name: str
    uid: str
    status: JsonObject
    gone: bool = False

    def encode(self) -> bytes:
        return encode_object(
            {
                "namespace": self.namespace,
                "name": self.name,
                "uid": self.uid,
                "status": self.status,
                "gone": self.gone,
            }
        )

    @classmethod
    def decode(cls, body: JsonObject) -> PodStatusReport:
        """Raises `ProtocolError` where the pod is not named."""
        report = cls(
            namespace=str_at(body, "namespace"),
            name=str_at(body, "name"),
            uid=str_at(body, "uid"),
            status=map_at(body, "status"),
            gone=bool_at(body, "gone"),
        )
        if not (report.namespace and report.name and report.uid):
            raise ProtocolError("pod_status: namespace, name and uid are required")
        return report


class NodeStatusReport(Frozen):
    """State, keyed by "": labels the gateway gives itself, and its whole `status`.

    The cloud creates the Node where there is none, adds the labels (never removes any), and keeps for itself
    what only it can know: whether the gateway is heard.
    """

    labels: JsonObject
    status: JsonObject

    def encode(self) -> bytes:
        return encode_object({"labels": self.labels, "status": self.status})

    @classmethod
    def decode(cls, body: JsonObject) -> NodeStatusReport:
        return cls(labels=map_at(body, "labels"), status=map_at(body, "status"))


class EventReport(Frozen):
    """In order: a core/v1 Event, complete but for what the cloud gives (uid, resourceVersion, creationTimestamp)."""

    event: JsonObject

    def encode(self) -> bytes:
        return encode_object(self.event)

    @classmethod
    def decode(cls, body: JsonObject) -> EventReport:
        """Raises `ProtocolError` where the event has no name, namespace or subject."""
        if not (str_at(body, "metadata", "name") and str_at(body, "metadata", "namespace")):
            raise ProtocolError("event: metadata.name and metadata.namespace are required")
        if not str_at(body, "involvedObject", "kind"):
            raise ProtocolError("event: involvedObject is required")
        return cls(event=body)


class GapReport(Frozen):
    """State, keyed by the class: what an outbox had to drop, because the class's byte budget was used up (`thinned`
    of them from between others, which stayed), or its time was over (`expired`), or the disk ran out (`for_room`),
    or its file was damaged (`damaged`).

    `dropped` and `size_bytes` count this episode (it ends when the cloud has a report of it), `total` all since
    the outbox was made. The times are the gateway's wall clock of the first and the last report dropped. A
    report that was on its way is not dropped (`edgecore.store.claims`); after a crash of the agent nobody knows what
    was, and this is an upper bound.
    """

    report_class: str
    dropped: int
    size_bytes: int
    total: int
    first_seq: int
    last_seq: int
    first_wall_ms: int
    last_wall_ms: int
    expired: int = 0
    for_room: int = 0
    damaged: int = 0
    thinned: int = 0
    unknown: bool = False
    """More were lost with a damaged file than are counted here, and nobody knows how many."""

    def encode(self) -> bytes:
        return encode_object(
            {
                "class": self.report_class,
                "dropped": self.dropped,
                "bytes": self.size_bytes,
                "total": self.total,
                "firstSeq": self.first_seq,
                "lastSeq": self.last_seq,
                "firstMs": self.first_wall_ms,
                "lastMs": self.last_wall_ms,
                "expired": self.expired,
                "forRoom": self.for_room,
                "damaged": self.damaged,
                "thinned": self.thinned,
                "unknown": self.unknown,
            }
        )

    @classmethod
    def decode(cls, body: JsonObject) -> GapReport:
        return cls(
            report_class=str_at(body, "class"),
            dropped=int_at(body, "dropped"),
            size_bytes=int_at(body, "bytes"),
            total=int_at(body, "total"),
            first_seq=int_at(body, "firstSeq"),
            last_seq=int_at(body, "lastSeq"),
            first_wall_ms=int_at(body, "firstMs"),
            last_wall_ms=int_at(body, "lastMs"),
            expired=int_at(body, "expired"),
            for_room=int_at(body, "forRoom"),
            damaged=int_at(body, "damaged"),
            thinned=int_at(body, "thinned"),
            unknown=bool_at(body, "unknown"),
        )


class SeriesGapReport(Frozen):
    """State, keyed by the series (`skerry.objects.twins.series_of`): readings of it that an outbox had to drop.

    Counts one episode, as `GapReport` does. `first_seq`, of the first report dropped, names the episode: a later
    report of the same one says more, not something else.
    """

    first_seq: int
    dropped: int
    first_wall_ms: int
    last_wall_ms: int
    thinned: int = 0
    """Of `dropped`: from between readings that stayed."""

    def encode(self) -> bytes:
        return encode_object(
            {
                "firstSeq": self.first_seq,
                "dropped": self.dropped,
                "thinned": self.thinned,
                "firstMs": self.first_wall_ms,
                "lastMs": self.last_wall_ms,
            }
        )

    @classmethod
    def decode(cls, body: JsonObject) -> SeriesGapReport:
        return cls(
            first_seq=int_at(body, "firstSeq"),
            dropped=int_at(body, "dropped"),
            thinned=int_at(body, "thinned"),
            first_wall_ms=int_at(body, "firstMs"),
            last_wall_ms=int_at(body, "lastMs"),
        )

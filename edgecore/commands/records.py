"""What this gateway knows of one command: a row of the edge store's `commands` table, and what the cloud is told.

Pure. The row is written before anything is done about the command, in one transaction with the report that says so;
it stays for as long as the command could come again. Losing the row is losing the store, and then the store has
another incarnation, for which the command is not meant.
"""

from __future__ import annotations

from typing import cast

from edgecore.store.port import NewReport
from skerry.frozen import Frozen, replace
from skerry.objects.commands import (
    FINAL,
    REPORT,
    RESULT_BYTES_MAX,
    CommandReport,
    CommandSpec,
    Outcome,
    Phase,
    command_spec,
)
from skerry.objects.json import JsonObject, decode_object, encode_object, int_at, map_at, str_at
from skerry.objects.meta import name_of, namespace_of


class Moment(Frozen):
    """An instant on this gateway: its wall clock may be wrong, its monotonic clock is true within one boot."""

    wall_ms: int
    boot_id: str
    monotonic_ms: int

    def ago_ms(self, now: Moment) -> int:
        if self.boot_id == now.boot_id:
            return max(0, now.monotonic_ms - self.monotonic_ms)
        return max(0, now.wall_ms - self.wall_ms)


class CommandRecord(Frozen):
    """See the module. `phase` is Delivered, Running or final."""

    namespace: str
    name: str
    uid: str
    created: str
    """The object's creationTimestamp, to show it when the object is gone."""
    spec: JsonObject
    phase: Phase
    delivered: Moment
    epoch: str
    """The cloud's epoch in which the phase was told: a restored cloud is told again."""
    reason: str = ""
    message: str = ""
    started: Moment | None = None
    finished: Moment | None = None
    result: JsonObject | None = None

    @property
    def final(self) -> bool:
        return self.phase in FINAL

    @property
    def command(self) -> CommandSpec:
        return command_spec({"spec": self.spec})

    def running(self, now: Moment) -> CommandRecord:
        """Begun: from here on it may have taken effect."""
        return replace(self, phase="Running", started=now)

    def ended(self, phase: Phase, reason: str, message: str, now: Moment) -> CommandRecord:
        return replace(self, phase=phase, reason=reason, message=message, finished=now)

    def after(self, outcome: Outcome, now: Moment) -> CommandRecord:
        """Carried out, well or not."""
        ended = self.ended(outcome.phase, outcome.reason, outcome.message[:1024], now)
        if len(encode_object(outcome.result)) <= RESULT_BYTES_MAX:
            return replace(ended, result=outcome.result)
        left_out = f"the result was over {RESULT_BYTES_MAX} bytes and is left out"
        return replace(ended, message=f"{ended.message}; {left_out}" if ended.message else left_out)

    def report(self, now: Moment, incarnation: str) -> NewReport:
        """What the cloud is to know. The newest replaces an unsent older one."""
        told = CommandReport(
            namespace=self.namespace,
            name=self.name,
            uid=self.uid,
            incarnation=incarnation,
            phase=self.phase,
            reason=self.reason,
            message=self.message,
            result=self.result or {},
            delivered_ago_ms=self.delivered.ago_ms(now),
            started_ago_ms=self.started.ago_ms(now) if self.started else None,
            finished_ago_ms=self.finished.ago_ms(now) if self.finished else None,
        )
        return NewReport(report_class="state", kind=REPORT, key=self.uid, body=told.encode())

    def encode(self) -> bytes:
        row: JsonObject = {
            "namespace": self.namespace,
            "name": self.name,
            "created": self.created,
            "spec": self.spec,
            "phase": self.phase,
            "reason": self.reason,
            "message": self.message,
            "result": self.result,
            "epoch": self.epoch,
            "delivered": _moment(self.delivered),
        }
        if self.started is not None:
            row["started"] = _moment(self.started)
        if self.finished is not None:
            row["finished"] = _moment(self.finished)
        return encode_object(row)

    @classmethod
    def decode(cls, uid: str, body: bytes) -> CommandRecord:
        row = decode_object(body)
        return cls(
            namespace=str_at(row, "namespace"),
            name=str_at(row, "name"),
            uid=uid,
            created=str_at(row, "created"),
            spec=map_at(row, "spec"),
            phase=cast("Phase", str_at(row, "phase")),
            reason=str_at(row, "reason"),
            message=str_at(row, "message"),
            result=map_at(row, "result") or None,
            epoch=str_at(row, "epoch"),
            delivered=_read(map_at(row, "delivered")),
            started=_read(map_at(row, "started")) if "started" in row else None,
            finished=_read(map_at(row, "finished")) if "finished" in row else None,
        )


def delivered(obj: JsonObject, uid: str, now: Moment, epoch: str) -> CommandRecord:
    """The first that is written of a command."""
    return CommandRecord(
        namespace=namespace_of(obj),
        name=name_of(obj),
        uid=uid,
        created=str_at(obj, "metadata", "creationTimestamp"),
        spec=map_at(obj, "spec"),
        phase="Delivered",
        delivered=now,
        epoch=epoch,
    )


def _moment(at: Moment) -> JsonObject:
    return {"wallMs": at.wall_ms, "boot": at.boot_id, "monotonicMs": at.monotonic_ms}


def _read(row: JsonObject) -> Moment:
    return Moment(wall_ms=int_at(row, "wallMs"), boot_id=str_at(row, "boot"), monotonic_ms=int_at(row, "monotonicMs"))

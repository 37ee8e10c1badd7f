"""How far a sink is, as its status says it, and what it says of its readiness. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from cloudcore.sinks.halving import Refusal, Sent
from cloudcore.store.port import StoredRecord
from skerry.errors import UnavailableError
from skerry.frozen import Frozen, replace
from skerry.objects.conditions import Condition
from skerry.objects.json import JsonObject, int_at, map_at, str_at
from skerry.objects.meta import generation_of


class HeldError(UnavailableError):
    """Every row that was tried is refused: nothing is passed over."""


class Progress(Frozen):
    """How far a sink is."""

    cursor: int
    sent: int = 0
    skipped: int = 0
    """Rows that the other side has no form for."""
    refused: int = 0
    trimmed: int = 0
    """Rows, of whatever device, that the history had given up before they were read."""
    last_refused: str = ""
    behind: int = 0

    @classmethod
    def of(cls, sink: JsonObject, *, newest: int) -> Progress:
        """As the status says; of a new sink, what comes from now on."""
        status = map_at(sink, "status")
        if "cursor" not in status:
            return cls(cursor=newest)
        return cls(
            cursor=min(int_at(status, "cursor"), newest),
            sent=int_at(status, "sent"),
            skipped=int_at(status, "skipped"),
            refused=int_at(status, "refused"),
            trimmed=int_at(status, "trimmed"),
            last_refused=str_at(status, "lastRefused"),
        )

    def moved(self, records: Sequence[StoredRecord], through: int) -> Progress:
        """On to a number; `records` are those that were read behind the cursor. What lacks among them was trimmed."""
        lacking = through - self.cursor - _upto(records, through)
        return replace(self, cursor=through, trimmed=self.trimmed + lacking)

    def counted(self, sent: Sent) -> Progress:
        """With what became of rows."""
        return replace(
            self,
            sent=self.sent + sent.taken,
            skipped=self.skipped + sent.skipped,
            refused=self.refused + len(sent.refused),
            last_refused=sent.refused[-1].text if sent.refused else self.last_refused,
        )

    def shown(self) -> JsonObject:
        counts: JsonObject = {
            "cursor": self.cursor,
            "behind": self.behind,
            "sent": self.sent,
            "skipped": self.skipped,
            "refused": self.refused,
            "trimmed": self.trimmed,
        }
        return counts | ({"lastRefused": self.last_refused} if self.last_refused else {})


class Held(Frozen):
    """Rows behind the cursor that were all refused, one by one, and what lies between them."""

    first: Refusal
    last: Refusal
    before: int
    """Records up to the first of them that the history had."""
    through: int
    """Number of the last record that was looked at."""
    records: int
    """Records up to that."""
    refused: int
    skipped: int

    @classmethod
    def of(cls, records: Sequence[StoredRecord], sent: Sent) -> Held:
        """Of the records behind the cursor, whose rows were sent in vain."""
        first = sent.refused[0]
        return cls(
            first=first,
            last=sent.refused[-1],
            before=_upto(records, first.row.number),
            through=sent.through,
            records=_upto(records, sent.through),
            refused=len(sent.refused),
            skipped=sent.skipped,
        )

    def widened(self, records: Sequence[StoredRecord], sent: Sent) -> Held:
        """With those behind them, in vain as well."""
        return Held(
            first=self.first,
            last=sent.refused[-1] if sent.refused else self.last,
            before=self.before,
            through=records[-1].number if records else self.through,
            records=self.records + len(records),
            refused=self.refused + len(sent.refused),
            skipped=self.skipped + sent.skipped,
        )

    def first_taken(self, progress: Progress, *, skipped: int) -> Progress:
        """It was not the rows' fault: on from the first of them."""
        number = self.first.row.number
        return replace(
            progress,
            cursor=number,
            sent=progress.sent + 1 - skipped,
            skipped=progress.skipped + skipped,
            trimmed=progress.trimmed + number - progress.cursor - self.before,
        )

    def passed_over(self, progress: Progress) -> Progress:
        """It was: others are taken, and these never."""
        return replace(
            progress,
            cursor=self.through,
            refused=progress.refused + self.refused,
            skipped=progress.skipped + self.skipped,
            trimmed=progress.trimmed + self.through - progress.cursor - self.records,
            last_refused=self.last.text,
        )

    @property
    def text(self) -> str:
        """For people."""
        return (
            f"none of {self.refused} rows is taken, so they wait: {self.last.text[:350]} "
            "(spec.refusalPolicy: Skip passes over them)"
        )


def _upto(records: Sequence[StoredRecord], number: int) -> int:
    return sum(1 for record in records if record.number <= number)


def within(records: Sequence[StoredRecord], bytes_max: int) -> Sequence[StoredRecord]:
    """As many of the first of them as have so many bytes together; one at least."""
    ends = accumulate(len(record.body) for record in records)
    fitting = sum(1 for end in ends if end <= bytes_max)
    return records[: max(1, fitting)]


def sending(sink: JsonObject) -> Condition:
    """All is well."""
    return Condition(type="Ready", status="True", reason="Sending", observed_generation=generation_of(sink))


def paused(sink: JsonObject) -> Condition:
    """Somebody wants it so."""
    return _not(sink, "Paused", "spec.paused: nothing is sent; what comes meanwhile is sent later")


def failing(sink: JsonObject, error: UnavailableError) -> Condition:
    """What stands in the way."""
    return _not(sink, "Refused" if isinstance(error, HeldError) else "Failing", str(error))


def _not(sink: JsonObject, reason: str, why: str) -> Condition:
    return Condition(
        type="Ready", status="False", reason=reason, message=why[:500], observed_generation=generation_of(sink)
    )

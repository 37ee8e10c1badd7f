"""GET of a device property's history: every reading that its gateway told, and where it had to drop some.

Readings are in order of time, and those of one gateway in its own order (`cloudcore.store.dates`), whenever they
arrived. A page begins where the one before it ended; what arrives late belongs before that and is not shown any more.
Whoever must have every reading follows the numbers instead (`after`): what arrives later has a higher one. With
`step`, rows are thinned here, where they are (`skerry.objects.history`).

A subresource of ours on KubeEdge's Device (`devices/NAME/history?property=P`), because the kind itself has no
place for more than the last value. Readings outlive the Device that they came from.
"""

from __future__ import annotations

from typing import Final

from cloudcore.api.call import Call, Reply
from cloudcore.api.writing import parse, plain_reply
from cloudcore.store.port import Place, StoredRecord
from skerry.objects.history import (
    HistoryQuestion,
    Hole,
    Point,
    Steps,
    Thinning,
    answer_of,
    question_of,
    token_of,
)
from skerry.objects.history import Place as Told
from skerry.objects.json import Json, JsonObject, bool_at, dig, int_at, str_at
from skerry.objects.times import micro_time_text
from skerry.objects.twins import series_of

SCAN_ROWS: Final = 2000
"""Read at once to be thinned: ten milliseconds in which nobody else is answered."""
SCANNED_MAX: Final = 1_000_000
"""Rows read for one answer, or for its first step if that has more: the next page goes on."""


async def history(call: Call) -> Reply:
    """Readings of one property, since a time, at most `limit` of them (1000; 10,000 at most).

    In order of time, the oldest first or (`order=newest`) the newest; `metadata.continue` is the `continue` of the
    next page. With `after`, a number, in the order in which they arrived after that one, and `metadata.continue` is
    the `after` of the next page. It is left out on the last page.
    """
    question = question_of(call.query.text)
    series = series_of(call.target.namespace, call.target.name, question.prop)
    if question.steps is not None:
        items, token = await _steps(call, series, question, question.steps)
    else:
        found, token = await _page(call, series, question)
        items = [_reading(record) for record in found]
    named = {"namespace": call.target.namespace, "name": call.target.name}
    return plain_reply(call, answer_of(question, items=[*items], token=token, **named))


async def _page(call: Call, series: str, question: HistoryQuestion) -> tuple[list[StoredRecord], str]:
    """The page that is asked for, and where the next begins; "" for nowhere."""
    objects, limit, since_ms = call.parts.objects, question.limit, question.since_ms
    if question.after is not None:
        found = await objects.arrivals(series, after=question.after, since_ms=since_ms, limit=limit + 1)
        within = [record for record in found[:limit] if record.at_ms <= question.until_ms]
        return within, str(found[limit - 1].number) if len(found) > limit else ""
    place = Place(*question.place) if question.place is not None else _begin(question)
    found = await objects.records(
        series, after=place, since_ms=since_ms, limit=limit + 1, newest_first=question.newest_first
    )
    found = [record for record in found if record.at_ms <= question.until_ms]
    if len(found) <= limit:
        return list(found), ""
    return list(found[:limit]), token_of(question.order, Told(*found[limit - 1].place))


def _begin(question: HistoryQuestion) -> Place | None:
    """The newest first begin below the end of the time that is asked for."""
    if not question.newest_first or question.until_ms >= 2**63 - 1:
        return None
    return Place(question.until_ms + 1, 0, 0)


async def _steps(call: Call, series: str, question: HistoryQuestion, thinning: Thinning) -> tuple[list[Json], str]:
    """Rows of steps, and where the next page begins."""
    steps, shown, place, scanned = Steps(thinning, question.told), list[Json](), None, 0
    while True:
        found = await call.parts.objects.records(series, after=place, since_ms=question.since_ms, limit=SCAN_ROWS)
        for record in found:
            if record.at_ms > question.until_ms:
                return [*shown, *steps.end()], ""
            shown += steps.add(_point(record))
            if len(shown) >= question.limit and steps.open_ms is not None:
                return shown, steps.token
        if len(found) < SCAN_ROWS:
            return [*shown, *steps.end()], ""
        place, scanned = found[-1].place, scanned + len(found)
        if scanned >= SCANNED_MAX and shown and steps.open_ms is not None:
            return shown, steps.token


def _point(record: StoredRecord) -> Point:
    body = parse(record.body)
    if "gap" in body:
        where = f"{str_at(body, 'node')}.{str_at(body, 'gap', 'life')}".rstrip(".")
        hole = Hole(where, int_at(body, "gap", "id"), int_at(body, "gap", "count"))
        return Point(record.at_ms, hole=hole)
    value = dig(body, "value")
    return Point(record.at_ms, value if isinstance(value, str) else None, str_at(body, "q") != "good")


def _reading(record: StoredRecord) -> JsonObject:
    body = parse(record.body)
    if "gap" in body:
        return _hole(record, body)
    reading: JsonObject = {
        "number": record.number,
        "time": micro_time_text(record.at_ms),
        "value": dig(body, "value"),
        "type": str_at(body, "type"),
        "quality": str_at(body, "q"),
        "sequence": dig(body, "seq"),
        "node": str_at(body, "node"),
    }
    if bool_at(body, "dated", "estimated"):
        reading["estimated"] = True
    if int_at(body, "dated", "errorMs"):
        reading["errorMs"] = int_at(body, "dated", "errorMs")
    if str_at(body, "reason"):
        reading["reason"] = str_at(body, "reason")
    if dig(body, "source_seq") is not None:
        reading["sourceSequence"] = dig(body, "source_seq")
    return reading


def _hole(record: StoredRecord, body: JsonObject) -> JsonObject:
    """Readings that there were and that the gateway had to drop, `thinned` of them from between others that stayed. A
    later hole with the same `node`, `id` and `life` counts more of the same, and stands for both."""
    gap: JsonObject = {
        "id": int_at(body, "gap", "id"),
        "count": int_at(body, "gap", "count"),
        "from": micro_time_text(int_at(body, "gap", "fromMs")),
        "to": micro_time_text(int_at(body, "gap", "toMs")),
    }
    if str_at(body, "gap", "life"):
        gap["life"] = str_at(body, "gap", "life")
    if int_at(body, "gap", "thinned"):
        gap["thinned"] = int_at(body, "gap", "thinned")
    return {
        "number": record.number,
        "time": micro_time_text(record.at_ms),
        "node": str_at(body, "node"),
        "gap": gap,
    }

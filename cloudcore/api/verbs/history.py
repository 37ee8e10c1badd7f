"""GET of a device property's history: every reading that its gateway told, and where it had to drop some.

Readings are in order of time, and those of one gateway in its own order (`cloudcore.store.dates`), whenever they
arrived. A page begins where the one before it ended; what arrives late belongs before that and is not shown any more.
Whoever must have every reading follows the numbers instead (`after`): what arrives later has a higher one.

A subresource of ours on KubeEdge's Device (`devices/NAME/history?property=P`), because the kind itself has no
place for more than the last value. Readings outlive the Device that they came from.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from cloudcore.api.call import Call, Reply
from cloudcore.api.writing import parse, plain_reply
from cloudcore.store.port import Place, StoredRecord
from skerry.errors import BadRequestError
from skerry.objects.json import Json, JsonObject, bool_at, dig, int_at, str_at
from skerry.objects.times import micro_time_text, parse_time
from skerry.objects.twins import series_of

_LIMIT: Final = 1000
_LIMIT_MAX: Final = 10_000
_NUMBER: Final = re.compile(r"\d{1,18}")
_TOKEN: Final = re.compile(r"(oldest|newest)\.(\d{1,19})\.(\d{1,19})\.(\d{1,19})")
_HIGHEST: Final = 2**63 - 1

_Order = Literal["oldest", "newest"]


async def history(call: Call) -> Reply:
    """Readings of one property, since a time, at most `limit` of them (1000; 10,000 at most).

    In order of time, the oldest first or (`order=newest`) the newest; `metadata.continue` is the `continue` of the
    next page. With `after`, a number, in the order in which they arrived after that one, and `metadata.continue` is
    the `after` of the next page. It is left out on the last page.
    """
    prop = call.query.text("property")
    if not prop:
        raise BadRequestError("property: required: which property's history? (`?property=NAME`)")
    limit = min(_number(call, "limit", default=_LIMIT) or _LIMIT, _LIMIT_MAX)
    series = series_of(call.target.namespace, call.target.name, prop)
    metadata: JsonObject = {"name": call.target.name, "namespace": call.target.namespace}
    found, token = await _page(call, series, limit)
    if token:
        metadata["continue"] = token
    items: list[Json] = [_reading(record) for record in found]
    shown: JsonObject = {
        "kind": "DeviceHistory",
        "apiVersion": "skerry.dev/v1",
        "metadata": metadata,
        "property": prop,
        "items": items,
    }
    return plain_reply(call, shown)


async def _page(call: Call, series: str, limit: int) -> tuple[list[StoredRecord], str]:
    """The page that is asked for, and where the next begins; "" for nowhere."""
    since = call.query.text("sinceTime")
    since_ms = parse_time(since) if since else 0
    objects = call.parts.objects
    order, place = _order(call), None
    token = call.query.text("continue")
    if token:
        order, place = _place(token, order)
    if call.query.text("after"):
        if order or token:
            raise BadRequestError("after: goes by arrival and without `order` and `continue`: leave one of them out")
        after = _number(call, "after", default=0)
        found = await objects.arrivals(series, after=after, since_ms=since_ms, limit=limit + 1)
        return list(found[:limit]), str(found[limit - 1].number) if len(found) > limit else ""
    newest_first = order == "newest"
    found = await objects.records(series, after=place, since_ms=since_ms, limit=limit + 1, newest_first=newest_first)
    if len(found) <= limit:
        return list(found), ""
    at_ms, seq, number = found[limit - 1].place
    return list(found[:limit]), f"{order or 'oldest'}.{at_ms}.{seq}.{number}"


def _order(call: Call) -> _Order | None:
    match call.query.text("order"):
        case "":
            return None
        case "oldest":
            return "oldest"
        case "newest":
            return "newest"
        case other:
            raise BadRequestError(f"order: must be `oldest` or `newest`, not {other!r}")


def _place(token: str, order: _Order | None) -> tuple[_Order, Place]:
    """Where a page ended, and in which order it was."""
    found = _TOKEN.fullmatch(token)
    numbers = tuple(map(int, found.groups()[1:])) if found else ()
    if found is None or max(numbers) > _HIGHEST:
        raise BadRequestError(f"continue: must be what `metadata.continue` of a page said, not {token[:80]!r}")
    before: _Order = "newest" if found[1] == "newest" else "oldest"
    if order not in (None, before):
        raise BadRequestError(f"order: the page before was in order `{before}`: go on with that, or begin anew")
    return before, Place(*numbers)


def _number(call: Call, name: str, *, default: int) -> int:
    text = call.query.text(name)
    if not text:
        return default
    if not _NUMBER.fullmatch(text):
        hint = ": a page in order of time goes on with `continue`" if _TOKEN.fullmatch(text) else ""
        raise BadRequestError(f"{name}: must be a whole number, not {text!r}{hint}")
    return int(text)


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
    """Readings that there were and that the gateway had to drop. A later hole with the same `node` and `id` counts
    more of the same, and stands for both."""
    gap: JsonObject = {
        "id": int_at(body, "gap", "id"),
        "count": int_at(body, "gap", "count"),
        "from": micro_time_text(int_at(body, "gap", "fromMs")),
        "to": micro_time_text(int_at(body, "gap", "toMs")),
    }
    return {
        "number": record.number,
        "time": micro_time_text(record.at_ms),
        "node": str_at(body, "node"),
        "gap": gap,
    }

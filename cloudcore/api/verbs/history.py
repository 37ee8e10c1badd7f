"""GET of a device property's history: every reading that its gateway told, and where it had to drop some.

Readings are in the order in which they arrived. After a cut that is not the order of time: what is read now arrives
before the backlog. Each has its time, and the gateway's own sequence number, to be sorted by.

A subresource of ours on KubeEdge's Device (`devices/NAME/history?property=P`), because the kind itself has no
place for more than the last value. Readings outlive the Device that they came from.
"""

from __future__ import annotations

import re
from typing import Final

from cloudcore.api.call import Call, Reply
from cloudcore.api.writing import parse, plain_reply
from cloudcore.store.port import StoredRecord
from skerry.errors import BadRequestError
from skerry.objects.json import Json, JsonObject, dig, int_at, str_at
from skerry.objects.times import micro_time_text, parse_time
from skerry.objects.twins import series_of

_LIMIT: Final = 1000
_LIMIT_MAX: Final = 10_000
_NUMBER: Final = re.compile(r"\d{1,18}")


async def history(call: Call) -> Reply:
    """Readings of one property after a number or since a time, as they arrived.

    At most `limit` of them (1000; 10,000 at most). `metadata.continue` is the `after` of the next page, and is left
    out on the last one.
    """
    prop = call.query.text("property")
    if not prop:
        raise BadRequestError("property: required: which property's history? (`?property=NAME`)")
    limit = min(_number(call, "limit", default=_LIMIT) or _LIMIT, _LIMIT_MAX)
    since = call.query.text("sinceTime")
    series = series_of(call.target.namespace, call.target.name, prop)
    found = await call.parts.objects.records(
        series,
        after=_number(call, "after", default=0),
        since_ms=parse_time(since) if since else 0,
        limit=limit + 1,
    )
    page = found[:limit]
    metadata: JsonObject = {"name": call.target.name, "namespace": call.target.namespace}
    if len(found) > limit:
        metadata["continue"] = str(page[-1].number)
    items: list[Json] = [_reading(record) for record in page]
    shown: JsonObject = {
        "kind": "DeviceHistory",
        "apiVersion": "skerry.dev/v1",
        "metadata": metadata,
        "property": prop,
        "items": items,
    }
    return plain_reply(call, shown)


def _number(call: Call, name: str, *, default: int) -> int:
    text = call.query.text(name)
    if not text:
        return default
    if not _NUMBER.fullmatch(text):
        raise BadRequestError(f"{name}: must be a whole number, not {text!r}")
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

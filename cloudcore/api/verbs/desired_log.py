"""GET of the log of what was wanted of a device: who wanted what instead of what, when, and what became of it.

A subresource of ours on KubeEdge's Device (`devices/NAME/desiredlog`), the newest first. It outlives the Device, and
is bounded as the history of its values is.
"""

from __future__ import annotations

import re
from typing import Final

from cloudcore.api.call import Call, Reply
from cloudcore.api.writing import parse, plain_reply
from skerry.errors import BadRequestError
from skerry.objects.desired_log import log_series, shown
from skerry.objects.json import Json, JsonObject
from skerry.objects.times import micro_time_text, parse_time

LIMIT: Final = 100
LIMIT_MAX: Final = 1000
_ROWS_EACH: Final = 4
"""Of a change and its answers: a value that fails is tried again, and its answers differ in their reasons."""
_NUMBER: Final = re.compile(r"\d{1,9}")


async def desired_log(call: Call) -> Reply:
    """Changes of desired values, at most `limit` of them (100; 1000 at most), of one `property` where it is named."""
    text = call.query.text("limit")
    if text and not _NUMBER.fullmatch(text):
        raise BadRequestError(f"limit: must be a whole number, not {text!r}")
    limit = min(int(text or LIMIT) or LIMIT, LIMIT_MAX)
    since = call.query.text("sinceTime")
    prop = call.query.text("property")
    found = await call.parts.objects.records(
        log_series(call.target.namespace, call.target.name),
        since_ms=parse_time(since) if since else 0,
        limit=LIMIT_MAX * _ROWS_EACH,
        newest_first=True,
    )
    rows = [(record.number, micro_time_text(record.at_ms), parse(record.body)) for record in found]
    wanted = [item for item in shown(rows) if prop in ("", item["property"])]
    items: list[Json] = [*wanted[:limit]]
    told: JsonObject = {
        "kind": "DesiredLog",
        "apiVersion": "skerry.dev/v1",
        "metadata": {"name": call.target.name, "namespace": call.target.namespace},
        "items": items,
    }
    return plain_reply(call, told)

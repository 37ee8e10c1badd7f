"""GET of the log of what was wanted of a device: who wanted what instead of what, when, and what became of it.

A subresource of ours on KubeEdge's Device (`devices/NAME/desiredlog`), the newest first. It outlives the Device, and
is bounded as the history of its values is.
"""

from __future__ import annotations

from typing import Final

from cloudcore.api.call import Call, Reply
from cloudcore.api.writing import parse, plain_reply
from skerry.objects import desired_log as log
from skerry.objects.times import micro_time_text, parse_time

_ROWS_EACH: Final = 4
"""Of a change and its answers: a value that fails is tried again, and its answers differ in their reasons."""


async def desired_log(call: Call) -> Reply:
    """Changes of desired values, at most `limit` of them (100; 1000 at most), of one `property` where it is named."""
    limit = log.log_limit(call.query.text("limit"))
    since = call.query.text("sinceTime")
    namespace, device = call.target.namespace, call.target.name
    found = await call.parts.objects.records(
        log.log_series(namespace, device),
        since_ms=parse_time(since) if since else 0,
        limit=log.LIMIT_MAX * _ROWS_EACH,
        newest_first=True,
    )
    rows = [(record.number, micro_time_text(record.at_ms), parse(record.body)) for record in found]
    return plain_reply(call, log.desired_log(namespace, device, rows, prop=call.query.text("property"), limit=limit))

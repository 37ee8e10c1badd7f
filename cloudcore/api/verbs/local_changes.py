"""GET of what was done at a gateway by hand: who restarted, stopped or held what there, and when.

A subresource of ours on Kubernetes' Node (`nodes/NAME/localchanges?limit=100&sinceTime=T`), the newest first. It
outlives the Node, and is bounded as the history of values is.
"""

from __future__ import annotations

from cloudcore.api.call import Call, Reply
from cloudcore.api.writing import parse, plain_reply
from skerry.objects.desired_log import log_limit
from skerry.objects.local_changes import LocalChange, changes_list, changes_series
from skerry.objects.times import parse_time


async def local_changes(call: Call) -> Reply:
    """At most `limit` of them (100; 1000 at most)."""
    since = call.query.text("sinceTime")
    found = await call.parts.objects.records(
        changes_series(call.target.name),
        since_ms=parse_time(since) if since else 0,
        limit=log_limit(call.query.text("limit")),
        newest_first=True,
    )
    rows = [LocalChange.decode(parse(record.body)).shown(record.at_ms) for record in found]
    return plain_reply(call, changes_list(call.target.name, rows))

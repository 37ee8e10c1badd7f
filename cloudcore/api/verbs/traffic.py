"""GET of a node's traffic: bytes between its gateway and this cloud, by hour, day, direction and class, and
the caps in force.

A subresource of ours on Kubernetes' Node (`nodes/NAME/traffic?sinceTime=T`); a day back where no time is given.
"""

from __future__ import annotations

from typing import Final

from cloudcore.api.call import Call, Reply
from cloudcore.api.writing import plain_reply
from skerry.objects.json import JsonObject
from skerry.objects.times import parse_time, time_text

_DAY_MS: Final = 24 * 3_600_000


async def traffic(call: Call) -> Reply:
    """What the hub counted, the running hour included."""
    since = call.query.text("sinceTime")
    since_ms = parse_time(since) if since else call.parts.clock.wall_ms() - _DAY_MS
    book = await call.parts.traffic.book(call.target.name, since_ms)
    bandwidth = call.parts.traffic.bandwidth(call.target.name)
    shown: JsonObject = {
        "kind": "NodeTraffic",
        "apiVersion": "skerry.dev/v1",
        "metadata": {"name": call.target.name},
        "since": time_text(since_ms),
        "total": book.since(since_ms).shown(),
        **book.shown(),
        **({"bandwidth": bandwidth} if bandwidth else {}),
    }
    return plain_reply(call, shown)

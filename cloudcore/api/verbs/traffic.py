"""GET of a node's traffic: bytes between its gateway and this cloud, by hour, day, direction and class, and
the caps in force.

A subresource of ours on Kubernetes' Node (`nodes/NAME/traffic?sinceTime=T`); a day back where no time is given. Books
have hours, and days further back: `since` is where the one begins that T lies in, and `coveredSeconds` how long the
figures are of: from there or, where that is later, from when the node was first known. What was counted outlives the
Node that it is of.
"""

from __future__ import annotations

from typing import Final

from cloudcore.api.call import Call, Reply
from cloudcore.api.writing import plain_reply
from skerry.errors import BadRequestError, NotFoundError
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import Key
from skerry.objects.times import ms_at, parse_time, time_text
from skerry.objects.traffic import DAY_MS, HOUR_MS, whole_since

_NODES: Final = "nodes"


async def traffic(call: Call) -> Reply:
    """What the hub counted, the running hour included."""
    name, now_ms, counted = call.target.name, call.parts.clock.wall_ms(), call.parts.traffic
    asked = call.query.text("sinceTime")
    asked_ms = parse_time(asked) if asked else now_ms - DAY_MS
    if asked_ms > now_ms:
        raise BadRequestError(f"sinceTime: {asked} lies in the future")
    since_ms = whole_since(asked_ms, now_ms, days_kept=counted.days_kept)
    book = await counted.book(name, since_ms)
    stored = call.parts.cache.read(Key(_NODES, "", name))
    if stored is None and not await counted.known(name):
        raise NotFoundError(f'nodes "{name}" not found')
    node = {} if stored is None else call.parts.cache.obj(stored)
    first_ms = first_counted_ms(book.begin_ms, ms_at(str_at(node, "metadata", "creationTimestamp")) or None, now_ms)
    bandwidth = counted.bandwidth(name)
    shown: JsonObject = {
        "kind": "NodeTraffic",
        "apiVersion": "skerry.dev/v1",
        "metadata": {"name": name},
        "since": time_text(since_ms),
        "coveredSeconds": max(0, now_ms - max(since_ms, first_ms)) // 1000,
        "total": book.since(since_ms).shown(),
        **book.shown(),
        **({"bandwidth": bandwidth} if bandwidth else {}),
    }
    return plain_reply(call, shown)


def first_counted_ms(begin_ms: int | None, made_ms: int | None, now_ms: int) -> int:
    """Since when there is something to count: the book begins with a whole hour, in which the Node may not have been
    there yet; or it is of a Node of that name that was there before."""
    if begin_ms is None or made_ms is None:
        return begin_ms or made_ms or now_ms
    return made_ms if begin_ms <= made_ms < begin_ms + HOUR_MS else min(begin_ms, made_ms)

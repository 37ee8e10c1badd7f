"""Events end after an hour, and the oldest when there are too many."""

from __future__ import annotations

from cloudcore.api.expire import EventExpiry, ExpirySettings, Seen, expired, seen_at
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, Revision
from tests.cloudcore.api.conftest import ApiWorld

HOUR_MS = 3_600_000


def seen(name: str, at_ms: int) -> Seen:
    return Seen(Key("events", "ns", name), Revision(1), at_ms)


def test_what_is_older_than_its_life_or_too_many_is_over() -> None:
    now = 10 * HOUR_MS
    events = [seen("old", now - HOUR_MS - 1), seen("edge", now - HOUR_MS), seen("young", now)]
    assert [each.key.name for each in expired(events, now_ms=now, settings=ExpirySettings())] == ["old"]
    few = ExpirySettings(events_max=1)
    assert [each.key.name for each in expired(events, now_ms=now, settings=few)] == ["old", "edge"]


def test_a_time_from_a_clock_that_is_ahead_does_not_count() -> None:
    event: JsonObject = {
        "metadata": {"creationTimestamp": "2026-11-21T10:00:00Z"},
        "lastTimestamp": "2090-01-01T00:00:00Z",
    }
    assert seen_at(event, now_ms=1_800_000_000_000) == 1_795_255_200_000


async def test_an_event_is_gone_an_hour_after_it_was_last_seen(world: ApiWorld) -> None:
    url = "/api/v1/namespaces/default/events"
    about = {"name": "p", "namespace": "default"}
    for name in ("a", "b"):
        await world.post(url, {"metadata": {"name": name}, "involvedObject": about})
    expiry = EventExpiry(world.objects, world.scheme, world.clock)
    world.clock.advance(3000)
    again = {"lastTimestamp": "2025-06-15T15:56:40Z"}
    await world.ask("PATCH", f"{url}/b", again, content_type="application/merge-patch+json")
    assert await expiry.sweep() == 0
    world.clock.advance(700)
    assert await expiry.sweep() == 1
    assert [item["metadata"]["name"] for item in (await world.get(url))["items"]] == ["b"]

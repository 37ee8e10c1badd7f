from __future__ import annotations

import pytest

from cloudcore.api.conversion import Version, version_of
from cloudcore.registry.kinds import builtin_scheme
from skerry.objects.json import JsonObject, clone, dig, map_at

EVENT: JsonObject = {
    "apiVersion": "v1",
    "kind": "Event",
    "metadata": {"name": "e", "namespace": "default"},
    "firstTimestamp": "2026-11-21T03:00:00Z",
    "lastTimestamp": "2026-11-21T03:04:05Z",
}


def spoken(group: str, version: str, plural: str) -> Version:
    scheme = builtin_scheme()
    kind = scheme.at(group, version, plural)
    assert kind is not None
    return version_of(scheme, kind)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, "2026-11-21T03:04:05.000000Z"),
        ({"lastTimestamp": None}, "2026-11-21T03:00:00.000000Z"),
        ({"lastTimestamp": None, "firstTimestamp": None}, None),
        ({"eventTime": "2026-11-21T01:02:03.000004Z"}, "2026-11-21T01:02:03.000004Z"),
    ],
)
def test_an_event_counted_the_older_way_shows_when_it_was_seen_last(fields: JsonObject, shown: str | None):
    version = spoken("events.k8s.io", "v1", "events")
    assert version.speak({**EVENT, **fields})["eventTime"] == shown


def test_a_time_that_was_only_shown_is_not_kept():
    version = spoken("events.k8s.io", "v1", "events")
    assert version.keep(version.speak(EVENT)) == EVENT
    timed: JsonObject = {**EVENT, "eventTime": "2026-11-21T01:02:03.000004Z"}
    assert version.keep(version.speak(timed)) == timed


def test_an_older_autoscaler_always_shows_its_replicas():
    version = spoken("autoscaling", "v1", "horizontalpodautoscalers")
    fresh: JsonObject = {"metadata": {"name": "h"}, "spec": {"maxReplicas": 3}}
    assert map_at(version.speak(clone(fresh)), "status") == {"currentReplicas": 0, "desiredReplicas": 0}
    scaled: JsonObject = {**fresh, "status": {"currentReplicas": 2, "desiredReplicas": 3}}
    assert dig(version.speak(scaled), "status", "currentReplicas") == 2

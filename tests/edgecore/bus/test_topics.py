"""Which topics are heard, and whose they are."""

from __future__ import annotations

import pytest

from edgecore.bus.topics import (
    DevicePath,
    DeviceRequest,
    MembershipRequest,
    membership_topic,
    parse_topic,
    subscriptions,
)


@pytest.mark.parametrize(
    ("topic", "asked"),
    [
        (
            "$hw/events/device/ns/d/twin/update",
            DeviceRequest(request="twin/update", device=DevicePath("ns", "d")),
        ),
        ("$hw/events/device/ns/d/twin/get", DeviceRequest(request="twin/get", device=DevicePath("ns", "d"))),
        (
            "$hw/events/device/ns/d/state/update",
            DeviceRequest(request="state/update", device=DevicePath("ns", "d")),
        ),
        ("$hw/events/device/d/twin/update", DeviceRequest(request="twin/update", device=DevicePath("", "d"))),
        ("$hw/events/node/eu-1/membership/get", MembershipRequest()),
        ("$hw/events/node/eu-2/membership/get", None),
        ("$hw/events/device/ns/d/twin/update/result", None),
        ("$hw/events/device/ns/d/twin/cloud_updated", None),
        ("$hw/events/device//d/twin/get", None),
        ("$hw/events/device/a/b/c/twin/get", None),
        ("hall/temperature", None),
    ],
)
def test_a_topic_says_what_is_asked(topic: str, asked: object) -> None:
    assert parse_topic(topic, "eu-1") == asked


def test_what_is_spoken_on_is_not_heard() -> None:
    heard = subscriptions("eu-1")
    assert "$hw/events/device/+/+/twin/update" in heard and "$hw/events/device/+/twin/get" in heard
    assert membership_topic("eu-1", "get") in heard
    assert not any(topic.endswith(("/+", "/#", "result", "delta", "_updated")) for topic in heard)


def test_news_is_told_in_the_form_in_which_a_device_is_named() -> None:
    assert DevicePath("ns", "d").topic("twin/update/delta") == "$hw/events/device/ns/d/twin/update/delta"
    assert DevicePath("", "d").topic("twin/get/result") == "$hw/events/device/d/twin/get/result"

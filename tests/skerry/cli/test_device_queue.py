"""What waits, how fast it goes, and what was dropped: figures of gateways in rows and sentences."""

from __future__ import annotations

from skerry.cli.device_queue import Sample, class_gap, classes_listed, gaps_listed, left_of, sentence, series_gaps
from skerry.objects.json import Json, JsonObject


def sample(at_s: float, *waiting: JsonObject, gaps: list[Json] | None = None) -> Sample:
    return Sample(at_s=at_s, status={"node": "eu-1", "outbox": {"waiting": [*waiting], "gaps": gaps or []}})


def waits(name: str, reports: int, age_ms: int) -> JsonObject:
    return {"class": name, "reports": reports, "bytes": 2048, "since": "2026-01-01T00:00:00Z", "ageMs": age_ms}


def test_classes_are_in_order_of_weight_with_the_rate_at_which_they_grow_or_go() -> None:
    first = sample(1.0, waits("telemetry", 100, 9000), waits("state", 5, 9000))
    last = sample(3.0, waits("telemetry", 60, 9000), gaps=[{"class": "alarm", "total": 3}])
    rows = classes_listed(first, last).rows
    assert [row.cells for row in rows] == [
        ("alarm", "0", "0 B", "-", "-", "3", "-"),
        ("state", "0", "0 B", "-", "-2.5/s", "0", "-"),
        ("telemetry", "60", "2.0 kB", "9s", "-20.0/s", "0", "-"),
    ]
    assert rows[2].obj["perSecond"] == -20.0


def test_what_waits_to_be_pushed_is_shown_with_the_reason() -> None:
    push: JsonObject = {
        "namespace": "plant",
        "device": "scale",
        "property": "gross",
        "method": "http",
        "place": "http://h",
    }
    push |= {"bytes": 2048, "dropped": 7}
    first = Sample(at_s=1.0, status={"node": "eu-1", "pushes": [{**push, "waiting": 4}]})
    last = Sample(at_s=3.0, status={"node": "eu-1", "pushes": [{**push, "waiting": 10, "reason": "no answer"}]})
    (row,) = classes_listed(first, last).rows
    assert row.cells == (
        "push of plant/scale gross to http://h (http)",
        "10",
        "2.0 kB",
        "-",
        "+3.0/s",
        "7",
        "no answer",
    )
    assert (row.obj["class"], row.obj["place"], row.obj["waiting"]) == ("push", "http://h", 10)


def test_a_class_is_drained_when_its_oldest_was_written_after_the_wait_began() -> None:
    now = sample(12.0, waits("state", 5, 3000), waits("telemetry", 60, 1000))
    assert left_of(now, 10.0) == 5
    assert left_of(now, 8.0) == 0
    assert left_of(now, 11.5) == 65
    assert left_of(sample(12.0, {"class": "state", "reports": 2}), 8.0) == 2, "of an unknown age is not gone"


def test_why_something_was_dropped_is_said_in_words() -> None:
    gap: JsonObject = {"class": "telemetry", "dropped": 4812, "total": 5000, "from": "a", "to": "b", "expired": 12}
    told = class_gap(gap, "eu-1")
    assert sentence(told) == (
        "telemetry: 4,812 dropped, a to b, because their time was over before the cloud could be told (12), the "
        "class had used up its room (4800); 5,000 since the outbox was made"
    )
    full = class_gap({"class": "state", "dropped": 2, "total": 2, "forRoom": 2, "from": "a", "to": "b"}, "eu-1")
    assert full["why"] == "the disk was nearly full"
    unknown = class_gap({"class": "state", "dropped": 0, "damaged": 0, "unknown": True}, "eu-1")
    assert sentence(unknown) == "state: at least 0 dropped, at an unknown time, because nobody knows"
    (row,) = gaps_listed([told]).rows
    assert row.cells[:5] == ("telemetry", "eu-1", "4,812", "a", "b")


def test_a_hole_that_grew_is_told_once() -> None:
    def hole(node: str, number: int, count: int, life: str = "a") -> JsonObject:
        return {"node": node, "gap": {"id": number, "life": life, "count": count, "from": "a", "to": "b"}}

    rows: list[JsonObject] = [hole("n", 1, 3), {"value": "1"}, hole("n", 1, 9), hole("m", 1, 2), hole("n", 1, 4, "b")]
    told = [(gap["node"], gap["dropped"]) for gap in series_gaps("boiler/t", rows)]
    assert told == [("n", 9), ("m", 2), ("n", 4)], "another life of an outbox counts anew"

"""Apps of KubeEdge's over the event bus: what they say becomes twins, and what is wanted reaches them."""

from __future__ import annotations

import json

from edgecore.bus import messages
from edgecore.store.port import EdgeBatch
from skerry.objects.meta import Key
from tests.edgecore.bus.stage import BOILER, LAMP, UPDATE, device, playing

LAMP_TOPIC = "$hw/events/device/default/lamp/"


def update(**props: object) -> dict[str, object]:
    return {"event_id": "e1", "timestamp": 0, "twin": props}


def actual(value: str, *, at: int = 0) -> dict[str, object]:
    return {"actual": {"value": value, "metadata": {"timestamp": at}}, "metadata": {"type": "int"}}


async def test_what_an_app_read_becomes_a_reported_value_and_is_answered_when_it_is_durable() -> None:
    async with playing() as stage:
        mid = stage.broker.hear(UPDATE, update(level=actual("21", at=1_750_000_000_000)))
        await stage.until(lambda: stage.broker.on("lamp/twin/edge_updated"))
        assert stage.reported() == ("21", "good")
        held = stage.twin().reported
        assert held is not None and held.source_ms == 1_750_000_000_000
        assert mid in stage.broker.acknowledged
        assert [topic.removeprefix(LAMP_TOPIC) for topic, _ in stage.broker.said if topic.startswith(LAMP_TOPIC)] == [
            "twin/update/result",
            "twin/update/document",
            "twin/edge_updated",
        ]
        (result,) = stage.broker.on("lamp/twin/update/result")
        assert result["event_id"] == "e1" and result["twin"]["level"]["actual"]["value"] == "21"
        (document,) = stage.broker.on("lamp/twin/update/document")
        assert "actual" not in document["twin"]["level"]["last"]
        assert document["twin"]["level"]["current"]["actual"]["value"] == "21"
        (edge,) = stage.broker.on("lamp/twin/edge_updated")
        assert edge["twin"]["level"]["actual_version"] == {"cloud": 0, "edge": 1}
        await stage.until(lambda: {each.device: each.state for each in stage.keeper.devices()}[LAMP] == "online")


async def test_a_value_that_the_cloud_wants_is_told_as_a_delta_and_verified_by_what_the_app_reads() -> None:
    async with playing() as stage:
        stage.broker.hear(UPDATE, update(level=actual("21")))
        await stage.until(lambda: stage.reported() == ("21", "good"))
        await stage.want_in_cloud(LAMP, "bluetooth", "25")
        await stage.until(lambda: stage.broker.on("lamp/twin/update/delta"))
        delta = stage.broker.on("lamp/twin/update/delta")[0]
        assert delta["delta"] == {"level": "25"} and delta["twin"]["level"]["expected"]["value"] == "25"
        await stage.until(lambda: stage.broker.on("lamp/twin/cloud_updated"))
        cloud = stage.broker.on("lamp/twin/cloud_updated")[0]
        assert cloud["twin"]["level"]["expected_version"] == {"cloud": 1, "edge": 0}
        stage.broker.hear(UPDATE, update(level=actual("25")))
        await stage.until(lambda: (ack := stage.twin().ack) is not None and ack.state == "verified")
        await stage.until(lambda: len(stage.broker.on("lamp/twin/update/result")) == 2)
        assert all(each["delta"] == {"level": "25"} for each in stage.broker.on("lamp/twin/update/delta"))


async def test_an_expected_value_is_wanted_by_the_edge() -> None:
    async with playing() as stage:
        stage.broker.hear("$hw/events/device/default/boiler/twin/update", update(level={"expected": {"value": "30"}}))
        await stage.until(lambda: (ack := stage.twin(BOILER).ack) is not None and ack.state == "verified")
        desired = stage.twin(BOILER).desired
        assert desired is not None and (desired.value, desired.side, desired.origin) == ("30", "edge", "mqtt")
        assert str(desired.ver) == "0.1"
        await stage.until(lambda: stage.broker.on("boiler/twin/update/result"))
        (result,) = stage.broker.on("boiler/twin/update/result")
        assert result["twin"]["level"]["expected"]["value"] == "30" and "actual" not in result["twin"]["level"]
        await stage.until(lambda: stage.reported(BOILER) == ("30", "good"))


async def test_a_mapper_that_repeats_a_superseded_value_does_not_bring_it_back() -> None:
    async with playing() as stage:

        def repeats(expected: str, read: str) -> None:
            stage.broker.hear(UPDATE, update(level={"expected": {"value": expected}, "actual": {"value": read}}))

        await stage.want_in_cloud(LAMP, "bluetooth", "25")
        await stage.until(lambda: stage.broker.on("lamp/twin/cloud_updated"))
        repeats("20", "20")
        repeats("", "20")
        await stage.until(lambda: stage.reported() == ("20", "good"))
        desired = stage.twin().desired
        assert desired is not None and desired.value == "25"
        repeats("25", "21")
        repeats("26", "21")
        await stage.until(lambda: (now := stage.twin().desired) is not None and now.value == "26")
        newest = stage.twin().desired
        assert newest is not None and str(newest.ver) == "1.1"


async def test_what_makes_no_sense_is_refused_in_kubeedges_words_and_nothing_of_it_is_taken() -> None:
    async with playing() as stage:
        for payload, code, reason in [
            (b"rubbish", 400, messages.UNREADABLE),
            (update(level=actual("\ud800")), 400, messages.UNREADABLE),  # half of a character
            (update(level=actual("warm")), 400, "the value is not int or integer"),
            (update(level={"expected": {"value": "warm"}}), 400, "the value is not int or integer"),
            (update(level={"expected": {"value": "95"}}), 400, "95 is above the maximum of 90"),
            (update(level=actual("3"), power=actual("1")), 404, '"power" is not among the properties'),
            (update(name={"expected": {"value": "x"}}), 400, "name is read-only"),
        ]:
            mid = stage.broker.hear(UPDATE, payload)
            await stage.until(lambda: mid in stage.broker.acknowledged)  # noqa: B023
            await stage.until(lambda: len(stage.broker.on("lamp/twin/update/result")) == mid)  # noqa: B023
            result = stage.broker.on("lamp/twin/update/result")[-1]
            assert result["code"] == code and result["reason"].startswith(reason), result
        assert stage.reported() == (None, "") and stage.twin().desired is None


async def test_an_app_does_not_tell_what_a_driver_of_ours_reads() -> None:
    async with playing() as stage:
        stage.broker.hear("$hw/events/device/default/boiler/twin/update", update(level=actual("99")))
        await stage.until(lambda: stage.broker.on("boiler/twin/update/result"))
        (result,) = stage.broker.on("boiler/twin/update/result")
        assert result["code"] == 409 and "read by the gateway itself" in result["reason"]
        assert stage.reported(BOILER) == ("20", "good")


async def test_twins_are_told_to_who_asks_and_unknown_devices_are_said_to_be() -> None:
    async with playing() as stage:
        stage.broker.hear("$hw/events/device/default/boiler/twin/get", {"event_id": "g"})
        stage.broker.hear("$hw/events/device/default/nobody/twin/get", {"event_id": "n"})
        stage.broker.hear("$hw/events/device/default/nobody/twin/update", update(level=actual("1")))
        await stage.until(lambda: len(stage.broker.on("/result")) == 3)
        twins, nobody, unknown = stage.broker.on("/result")
        assert twins["event_id"] == "g" and twins["twin"]["level"]["actual"]["value"] == "20"
        assert twins["twin"]["name"] == {"optional": False, "metadata": {"type": "string"}}
        assert (nobody["code"], nobody["reason"]) == (404, "Device default/nobody not found while getting twin")
        assert (unknown["code"], unknown["event_id"], unknown["reason"]) == (404, "e1", messages.NO_DEVICE)


async def test_an_app_that_names_devices_without_their_namespace_is_answered_so() -> None:
    async with playing() as stage:
        stage.broker.hear("$hw/events/device/lamp/twin/update", update(level=actual("21")))
        await stage.until(lambda: ("$hw/events/device/lamp/twin/update/result") in dict(stage.broker.said))
        await stage.want_in_cloud(LAMP, "bluetooth", "25")
        await stage.until(lambda: "$hw/events/device/lamp/twin/update/delta" in dict(stage.broker.said))
        assert "$hw/events/device/default/lamp/twin/update/delta" in dict(stage.broker.said)


async def test_the_state_that_an_app_says_is_the_devices_and_its_values_grow_old_with_it() -> None:
    async with playing() as stage:
        stage.broker.hear(UPDATE, update(level=actual("21")))
        await stage.until(lambda: stage.reported() == ("21", "good"))
        state = "$hw/events/device/default/lamp/state/update"
        stage.broker.hear(state, {"state": "offline"})
        await stage.until(lambda: stage.reported() == ("21", "stale"))
        await stage.until(
            lambda: next(each for each in stage.keeper.devices() if each.device == LAMP).state == "offline"
        )
        (result,) = stage.broker.on("state/update/result")
        assert result["device"] == {"name": "lamp", "state": "offline"}
        stage.broker.hear(state, {"state": "gone"})
        stage.broker.hear(state, {"state": "online"})
        await stage.until(lambda: len(stage.broker.on("state/update/result")) == 2)
        assert stage.broker.on("state/update/result")[1]["device"]["lastOnlineTime"].endswith("Z")
        stage.broker.hear("$hw/events/device/default/boiler/state/update", {"state": "offline"})
        await stage.until(lambda: stage.broker.on("boiler/state/update/result"))
        assert stage.broker.on("boiler/state/update/result")[0]["code"] == 409


async def test_devices_are_told_to_who_asks_and_when_they_come_or_go() -> None:
    async with playing() as stage:
        stage.broker.hear("$hw/events/node/eu-1/membership/get", {"event_id": "m"})
        await stage.until(lambda: stage.broker.on("membership/get/result"))
        (told,) = stage.broker.on("membership/get/result")
        assert [each["id"] for each in told["devices"]] == ["default/boiler", "default/lamp"]
        assert told["devices"][0]["description"] == "the boiler" and told["devices"][0]["state"] == "online"
        fan = Key(LAMP.resource, "default", "fan")
        await stage.put(fan, device("fan", "bluetooth"))
        await stage.until(lambda: stage.broker.on("membership/updated"))
        assert stage.broker.on("membership/updated")[0]["added_devices"][0]["id"] == "default/fan"
        await stage.store.apply(EdgeBatch(deletes=(fan,)))
        await stage.until(lambda: len(stage.broker.on("membership/updated")) == 2)
        assert stage.broker.on("membership/updated")[1]["removed_devices"] == [{"id": "default/fan"}]


async def test_a_message_that_comes_again_before_it_was_acknowledged_is_followed_once() -> None:
    async with playing() as stage:
        stage.broker.takes = False
        payload = update(level={"expected": {"value": "30"}})
        mid = stage.broker.hear(UPDATE, payload)
        await stage.until(lambda: stage.broker.on("lamp/twin/update/result"))
        stage.broker.takes = True
        stage.broker.hear(UPDATE, payload, again=mid)
        await stage.until(lambda: mid in stage.broker.acknowledged)
        assert len(stage.broker.on("lamp/twin/update/result")) == 1
        stage.broker.hear(UPDATE, payload, retained=True)
        stage.broker.hear("$hw/events/device/default/lamp/twin/get", {})
        await stage.until(lambda: stage.broker.on("lamp/twin/get/result"))
        assert len(stage.broker.on("lamp/twin/update/result")) == 1, "a retained request is of another day"
        desired = stage.twin().desired
        assert desired is not None and str(desired.ver) == "0.1"


async def test_what_was_wanted_while_the_broker_was_away_is_told_when_it_is_back() -> None:
    async with playing() as stage:
        assert stage.broker.hooks is not None
        stage.broker.hear(UPDATE, update(level=actual("21")))
        await stage.until(lambda: stage.reported() == ("21", "good"))
        stage.broker.hooks.disconnected("lost")
        await stage.want_in_cloud(LAMP, "bluetooth", "25")
        await stage.until(lambda: (ack := stage.twin().ack) is not None and ack.state == "failed")
        assert stage.broker.on("delta") == []
        stage.broker.hooks.connected(False)
        await stage.until(lambda: stage.broker.on("lamp/twin/update/delta"))


async def test_a_null_leaves_a_property_of_the_model_where_it_is() -> None:
    async with playing() as stage:
        mid = stage.broker.hear(UPDATE, update(level=None))
        await stage.until(lambda: mid in stage.broker.acknowledged)
        await stage.until(lambda: stage.broker.on("lamp/twin/update/result"))
        assert json.dumps(stage.broker.on("lamp/twin/update/result")[0]["twin"]) == "{}"

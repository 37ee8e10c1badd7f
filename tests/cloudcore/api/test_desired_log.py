"""The log of what was wanted of a device, as the API tells it."""

from __future__ import annotations

import pytest

from cloudcore.store.port import Batch, Record
from skerry.objects.json import JsonObject, encode_object
from tests.cloudcore.api.conftest import ApiWorld

URL = "/apis/devices.kubeedge.io/v1beta1/namespaces/ns/devices/plc/desiredlog"


def change(prop: str, value: str, ver: str) -> JsonObject:
    desired: JsonObject = {"value": value, "ver": ver, "hlc": "1.0", "side": "cloud", "origin": "ann"}
    return {"prop": prop, "before": None, "desired": desired, "revision": "r", "uid": "u"}


async def noted(world: ApiWorld, *bodies: JsonObject) -> None:
    records = [
        Record(series="desired:ns/plc", at_ms=1000 * (number + 1), body=encode_object(body))
        for number, body in enumerate(bodies)
    ]
    await world.store.commit(Batch(records=tuple(records)))


async def test_the_newest_comes_first_with_its_answer_and_may_be_of_one_property(world: ApiWorld) -> None:
    ack: JsonObject = {"prop": "t", "ack": {"for": "1.0", "state": "refused", "reason": "no"}, "uid": "u"}
    await noted(world, change("t", "20", "1.0"), ack, change("fan", "1", "1.0"), change("t", "21", "2.0"))
    shown = await world.get(URL)
    assert (shown["kind"], [item["value"] for item in shown["items"]]) == ("DesiredLog", ["21", "1", "20"])
    assert shown["items"][2]["answer"] == {"state": "refused", "reason": "no", "time": "1970-01-01T00:00:02.000000Z"}
    assert [item["value"] for item in (await world.get(f"{URL}?property=t&limit=1"))["items"]] == ["21"]


@pytest.mark.parametrize("query", ["limit=x", "sinceTime=yesterday"])
async def test_a_question_that_makes_no_sense_is_refused(world: ApiWorld, query: str) -> None:
    assert (await world.ask("GET", f"{URL}?{query}")).code == 400

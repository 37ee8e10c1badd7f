"""A device property's history, and the holes in it."""

from __future__ import annotations

import json

from cloudcore.store.port import Batch, Record
from tests.cloudcore.api.conftest import ApiWorld

URL = "/apis/devices.kubeedge.io/v1beta1/namespaces/ns/devices/plc/history?property=t"


async def test_a_hole_is_told_from_a_reading(world: ApiWorld) -> None:
    gap = {"id": 4, "count": 7, "fromMs": 1_000, "toMs": 61_000}
    bodies = [{"value": "1", "type": "INT", "q": "good", "seq": 1, "node": "eu-1"}, {"gap": gap, "node": "eu-1"}]
    records = [Record(series="ns/plc/t", at_ms=90_000, body=json.dumps(body).encode()) for body in bodies]
    await world.store.commit(Batch(records=tuple(records)))
    reading, hole = (await world.get(URL))["items"]
    assert (reading["value"], reading["sequence"], "gap" in reading) == ("1", 1, False)
    assert hole == {
        "number": reading["number"] + 1,
        "time": "1970-01-01T00:01:30.000000Z",
        "node": "eu-1",
        "gap": {
            "id": 4,
            "count": 7,
            "from": "1970-01-01T00:00:01.000000Z",
            "to": "1970-01-01T00:01:01.000000Z",
        },
    }

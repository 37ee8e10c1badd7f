"""Which rows go where, and in what words."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcore.sinks.forms import LITERAL_MAX, influx_lines, json_rows, remote_write, signature, snappy
from cloudcore.sinks.mqtt import TOPIC, topic_of
from cloudcore.sinks.rows import Row, Selector, row_of
from cloudcore.store.port import StoredRecord
from skerry.frozen import replace
from skerry.objects.json import JsonObject

AT_MS = 1_790_000_000_000
ROW = Row(
    number=7,
    at_ms=AT_MS,
    namespace="plant",
    device="pump-1",
    prop="flow",
    node="eu-1",
    value="21.5",
    type="FLOAT",
    quality="good",
    seq=4,
)
HOLE = Row(
    number=8,
    at_ms=AT_MS,
    namespace="plant",
    device="pump-1",
    prop="flow",
    node="eu-1",
    hole=12,
    gap_id=1,
    gap_life="0a1b",
    thinned=5,
    hole_from_ms=AT_MS - 60_000,
    hole_to_ms=AT_MS,
)


def record(series: str, body: JsonObject) -> StoredRecord:
    return StoredRecord(series=series, number=7, at_ms=AT_MS, body=json.dumps(body).encode())


def test_readings_and_holes_are_rows_and_nothing_else_is() -> None:
    body: JsonObject = {"seq": 4, "value": "21.5", "type": "FLOAT", "q": "good", "node": "eu-1", "ts_src": 1}
    assert row_of(record("plant/pump-1/flow", body)) == ROW
    gap: JsonObject = {"id": 1, "life": "0a1b", "count": 12, "thinned": 5, "fromMs": AT_MS - 60_000, "toMs": AT_MS}
    assert row_of(record("plant/pump-1/flow", {"gap": gap, "node": "eu-1"})) == replace(HOLE, number=7)
    doubtful: JsonObject = {**body, "source_seq": 9, "dated": {"estimated": True, "errorMs": 40}}
    row = row_of(record("plant/pump-1/flow", doubtful))
    assert row is not None and row == replace(ROW, source_seq=9, estimated=True, error_ms=40)
    told = row.shown("e")
    assert (told["sourceSequence"], told["estimated"], told["errorMs"]) == (9, True, 40), (
        "no time looks surer than it is"
    )
    assert b",estimated=true " in influx_lines([row], measurement="m").body
    for series in ("desired:plant/pump-1/flow", "desired:plant/pump-1", "other"):
        assert row_of(record(series, body)) is None, "the log of what was wanted is nobody's reading"
    assert row_of(record("plant/pump-1/flow", {"verb": "set"})) is None
    assert row_of(replace(record("plant/pump-1/flow", {}), body=b"[]")) is None
    slashed = row_of(record("plant/pump-1/a/b", body))
    assert slashed is not None and slashed.prop == "a/b"
    empty = row_of(record("plant/pump-1/flow", {"gap": {"id": 1}, "node": "eu-1"}))
    assert empty is not None and (empty.hole, empty.gap) == (1, ".1"), "a hole is of something"


@pytest.mark.parametrize(
    ("value", "kind", "number"),
    [
        ("21.5", "FLOAT", 21.5),
        ("true", "BOOLEAN", 1.0),
        ("on", "STRING", None),
        ("5", "STRING", None),
        ("nan", "FLOAT", None),
        ("9007199254740992", "INT", 9007199254740992.0),
        ("9007199254740993", "INT", None),
        (None, "FLOAT", None),
    ],
)
def test_a_number_is_the_value_or_none(value: str | None, kind: str, number: float | None) -> None:
    assert replace(ROW, value=value, type=kind).float == number


def test_a_sink_takes_what_every_list_of_its_selector_matches() -> None:
    sink: JsonObject = {
        "metadata": {"namespace": "plant"},
        "spec": {"selector": {"devices": ["pump-*"], "qualities": ["good"]}},
    }
    selector = Selector.of(sink)
    assert selector.takes(ROW) and selector.takes(HOLE), "a hole has no quality"
    assert not selector.takes(replace(ROW, namespace="other"))
    assert not selector.takes(replace(ROW, device="fan-1"))
    assert not selector.takes(replace(ROW, quality="uncertain"))
    every = Selector.of({"metadata": {"namespace": "kube-system"}, "spec": {"selector": {"namespaces": ["*"]}}})
    assert every.takes(replace(ROW, namespace="other"))
    assert not Selector.of({"metadata": {"namespace": "p"}}).takes(ROW), "of its own namespace alone"


def test_json_says_all_that_is_known() -> None:
    told = json.loads(json_rows([ROW, HOLE], sink="plant/s", epoch="e1").body)
    assert told["sink"] == "plant/s"
    assert "°C".encode() in json_rows([replace(ROW, value="°C")], sink="s", epoch="e").body, "as it is, not escaped"
    assert told["items"][0] == {
        "epoch": "e1",
        "number": 7,
        "time": "2026-09-21T14:13:20.000000Z",
        "namespace": "plant",
        "device": "pump-1",
        "property": "flow",
        "node": "eu-1",
        "value": "21.5",
        "type": "FLOAT",
        "quality": "good",
        "sequence": 4,
    }
    hole = told["items"][1]
    assert hole["gap"] == {
        "id": 1,
        "life": "0a1b",
        "count": 12,
        "thinned": 5,
        "from": "2026-09-21T14:12:20.000000Z",
        "to": "2026-09-21T14:13:20.000000Z",
    }
    assert hole["epoch"] == "e1" and "value" not in hole and "quality" not in hole


def test_a_signature_is_of_the_time_and_the_body() -> None:
    # printf '1790000000.{}' | openssl dgst -sha256 -hmac key
    assert signature(b"key", 1_790_000_000, b"{}") == (
        "t=1790000000,v1=099d33989336226b12c85da813adf6100e1bbab1e91bede9a41ddeb7882d66b8"
    )
    assert signature(b"key", 1, b"{}") != signature(b"key", 2, b"{}") != signature(b"other", 2, b"{}")


def test_lines_of_influx_are_escaped_and_typed() -> None:
    odd = replace(ROW, device="a b,c=d\\", prop="x\ny", value='say "hi"\\', type="STRING", quality="uncertain")
    first, second, third, fourth = (
        influx_lines([ROW, odd, replace(ROW, value="true", type="BOOLEAN"), HOLE], measurement="read ings")
        .body.decode()
        .splitlines()
    )
    assert influx_lines([ROW], measurement="a=b,c\\").body.startswith(b"a=b\\,c_,namespace="), "a sign of tags alone"
    late = influx_lines([replace(ROW, number=3_000_042, value=None)], measurement="m").body
    assert late.endswith(f' quality="good",sequence=4i {AT_MS}000042\n'.encode())
    named = "namespace=plant,device=pump-1,property=flow,node=eu-1"
    assert first == f'read\\ ings,{named} value=21.5,quality="good",sequence=4i {AT_MS}000007'
    assert second == (
        "read\\ ings,namespace=plant,device=a\\ b\\,c\\=d_,property=x\\ y,node=eu-1 "
        f'text="say \\"hi\\"\\\\",quality="uncertain",sequence=4i {AT_MS}000007'
    )
    assert " flag=true," in third
    assert fourth == f"read\\ ings,{named},gap=0a1b.1 dropped=12i,thinned=5i {AT_MS}000008"


def unsnapped(data: bytes) -> bytes:
    """What a reader of the block format gets of literals with two bytes of length."""
    size, shift, at = 0, 0, 0
    while True:
        byte = data[at]
        at += 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    found = bytearray()
    while at < len(data):
        tag, length = struct.unpack_from("<BH", data, at)
        assert tag == 61 << 2
        found += data[at + 3 : at + 4 + length]
        at += 4 + length
    assert len(found) == size
    return bytes(found)


@given(st.binary(max_size=300), st.sampled_from([0, 1, 500]))
def test_snappy_literals_are_read_back(data: bytes, times: int) -> None:
    assert unsnapped(snappy(data * times)) == data * times
    assert LITERAL_MAX <= 1 << 16


def test_long_data_is_several_literals() -> None:
    data = bytes(number % 251 for number in range(2 * LITERAL_MAX + 5))
    assert unsnapped(snappy(data)) == data


def fields(data: bytes) -> list[tuple[int, Any]]:
    """Of one message of Protocol Buffers, as its specification has them: number and value."""
    found: list[tuple[int, Any]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            found.append((number, varint()))
        elif kind == 1:
            found.append((number, struct.unpack_from("<d", data, at)[0]))
            at += 8
        else:
            assert kind == 2
            length = varint()
            found.append((number, data[at : at + length]))
            at += length
    return found


def test_a_write_request_is_as_prometheus_has_it() -> None:
    """WriteRequest{timeseries=1}, TimeSeries{labels=1, samples=2}, Label{name=1, value=2}, and a Sample has its value
    as 1 and its time as 2."""
    rows = [
        ROW,
        replace(ROW, at_ms=AT_MS + 5, value="-2"),
        replace(ROW, prop="on", value="true", type="BOOLEAN", node=""),
    ]
    found: dict[tuple[tuple[bytes, bytes], ...], list[tuple[float, int]]] = {}
    for number, series in fields(unsnapped(remote_write(rows, metric="m").body)):
        assert number == 1
        labels, samples = list[tuple[bytes, bytes]](), list[tuple[float, int]]()
        for part, body in fields(series):
            (first, one), (second, two) = fields(body)
            assert (part in (1, 2), first, second) == (True, 1, 2)
            (labels if part == 1 else samples).append((one, two))
        found[tuple(labels)] = samples
    about = ((b"__name__", b"m"), (b"device", b"pump-1"), (b"namespace", b"plant"))
    assert found == {
        (*about, (b"node", b"eu-1"), (b"property", b"flow")): [(21.5, AT_MS), (-2.0, AT_MS + 5)],
        (*about, (b"property", b"on")): [(1.0, AT_MS)],
    }


def test_samples_are_of_numbers_in_order_of_time() -> None:
    formed = remote_write(
        [replace(ROW, at_ms=AT_MS + 5, value="2"), ROW, replace(ROW, value="off", type="STRING"), HOLE], metric="m"
    )
    assert formed.taken == 2
    request = unsnapped(formed.body)
    first, second = (struct.pack("<d", number) for number in (21.5, 2.0))
    assert 0 < request.index(b"__name__") < request.index(b"device") < request.index(b"property")
    assert request.index(first) < request.index(second)
    assert remote_write([HOLE], metric="m").taken == 0
    assert remote_write([ROW, replace(ROW, value="3")], metric="m").taken == 1, "of one moment it knows one"


def test_names_stay_within_their_level_of_a_topic() -> None:
    assert topic_of(TOPIC, ROW) == "skerry/plant/pump-1/flow"
    assert topic_of("a/{node}/{property}", replace(ROW, prop="x/+#")) == "a/eu-1/x___"

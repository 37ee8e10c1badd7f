"""Where readings are pushed, by KubeEdge's fields, and what is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from devices.pushes import (
    HttpPush,
    InfluxPush,
    MqttPush,
    OtelPush,
    PushTarget,
    Told,
    content_type_of,
    decode_push,
    encode_push,
    payload_of,
    push_targets,
    pushes_in,
    queue_name,
)
from skerry.objects.json import JsonObject, decode_object

EXAMPLE = Path(__file__).parents[2] / "examples" / "08-kubeedge-devices" / "custom-protocol.yaml"
AT = "p.visitors.configData.push"
HTTP: JsonObject = {"hostName": "http://127.0.0.1", "port": 9090, "requestPath": "/weights", "timeout": 10}
MQTT: JsonObject = {"address": "tcp://127.0.0.1:1883", "topic": "yard/tare", "qos": 1, "retained": True}
INFLUX: JsonObject = {
    "influxdb2ClientConfig": {"url": "http://127.0.0.1:8086", "org": "my yard", "bucket": "weights"},
    "influxdb2DataConfig": {"measurement": "gross", "tag": {"unit": "kg, wet"}, "fieldKey": "value"},
}


def told(**changed: Any) -> Told:
    values: dict[str, Any] = {
        "namespace": "plant", "device": "scale", "prop": "gross", "value": "12000.5", "type": "FLOAT", "unit": "kg",
        "quality": "good", "reason": "", "source_ms": 1_767_225_600_123, "seq": 7,
    }  # fmt: skip
    return Told(**{**values, **changed})


def target(asked: JsonObject, ours: JsonObject | None = None) -> PushTarget:
    method = next(iter(asked))
    named: JsonObject = {"influxdb2" if method == "dbMethod" else method: ours or {}}
    (found,), untold = pushes_in({"pushMethod": asked}, {"push": named}, "p")
    assert untold == ()
    return found


def payload(of: PushTarget, reading: Told) -> bytes | None:
    return payload_of(of, reading, time_text=lambda ms: f"<{ms}>")


def test_payloads_have_the_shapes_of_kubeedge_s_mappers() -> None:
    http = target({"http": HTTP})
    assert isinstance(http.to, HttpPush)
    assert (str(http.to.origin), http.to.target, http.to.timeout_s) == ("http://127.0.0.1:9090", "/weights", 10)
    assert payload(http, told()) == b"gross=12000.5&time=<1767225600123>"
    assert content_type_of(http) == "application/x-www-form-urlencoded"
    mqtt = target({"mqtt": MQTT})
    assert isinstance(mqtt.to, MqttPush)
    assert (str(mqtt.to.broker), mqtt.to.qos, mqtt.to.retained) == ("127.0.0.1:1883", 1, True)
    assert payload(mqtt, told()) == b"time is <1767225600123>  yard/tare: 12000.5"
    assert payload(http, told(value=None, quality="bad")) is payload(mqtt, told(quality="stale")) is None


def test_influxdb_gets_a_line_and_json_says_all() -> None:
    influx = target({"dbMethod": {"influxdb2": INFLUX}})
    assert isinstance(influx.to, InfluxPush)
    assert influx.to.http.target == "/api/v2/write?org=my%20yard&bucket=weights&precision=ns"
    assert payload(influx, told()) == rb"gross,unit=kg\,\ wet value=12000.5 1767225600123000007"
    assert (
        payload(influx, told(type="BOOLEAN", value="true")) == rb"gross,unit=kg\,\ wet value=true 1767225600123000007"
    )
    assert payload(influx, told(type="STRING", value='a "b"')) == (
        rb'gross,unit=kg\,\ wet value="a \"b\"" 1767225600123000007'
    )
    json = target({"http": HTTP}, {"format": "json"})
    body = payload(json, told(value=None, quality="bad", reason="silent"))
    assert body is not None and decode_object(body) == {
        "namespace": "plant", "device": "scale", "property": "gross", "value": None, "type": "FLOAT", "unit": "kg",
        "quality": "bad", "reason": "silent", "timestamp": 1_767_225_600_123, "sequence": 7,
    }  # fmt: skip
    assert content_type_of(json) == "application/json"


def test_lines_have_strokes_as_they_are_and_times_of_their_own() -> None:
    odd: JsonObject = {
        **INFLUX,
        "influxdb2DataConfig": {"measurement": "m\\", "tag": {"at": "C:\\temp"}, "fieldKey": "a=b"},
    }
    influx = target({"dbMethod": {"influxdb2": odd}})
    first, second = (payload(influx, told(value="1", type="INT", seq=seq)) for seq in (8, 1_000_009))
    assert first == rb"m_,at=C:\temp a\=b=1 1767225600123000008"
    assert second == rb"m_,at=C:\temp a\=b=1 1767225600123000009"


@pytest.mark.parametrize(
    ("type", "value", "influx", "otel"),
    [
        ("INT", "9007199254740992", True, True),
        ("INT", "9007199254740993", False, True),
        ("INT", "9223372036854775808", True, False),
        ("INT", "abc", False, False),
        ("DOUBLE", "1e999", False, False),
        ("FLOAT", "nan", False, False),
        ("BOOLEAN", "true", True, True),
        ("STRING", "nan", True, False),
    ],
)
def test_what_would_become_another_value_is_not_pushed(type: str, value: str, influx: bool, otel: bool) -> None:
    line = payload(target({"dbMethod": {"influxdb2": INFLUX}}), told(type=type, value=value))
    metric = payload(target({"otel": {"endpointURL": "http://h"}}), told(type=type, value=value))
    assert (line is not None, metric is not None) == (influx, otel)


@pytest.mark.parametrize(
    ("type", "value", "field", "number"),
    [
        ("FLOAT", "21.5", "as_double", 21.5),
        ("INT", "9007199254740993", "as_int", 9007199254740993),
        ("BOOLEAN", "true", "as_int", 1),
    ],
)
def test_a_collector_gets_a_point_that_opentelemetry_s_own_code_reads(
    type: str, value: str, field: str, number: float
) -> None:
    otel = target({"otel": {"endpointURL": "http://127.0.0.1:4318"}})
    assert isinstance(otel.to, OtelPush) and otel.to.http.target == "/v1/metrics"
    body = payload(otel, told(type=type, value=value))
    assert body is not None and content_type_of(otel) == "application/json"
    asked = json_format.Parse(body, ExportMetricsServiceRequest())
    (metric,) = asked.resource_metrics[0].scope_metrics[0].metrics
    (point,) = metric.gauge.data_points
    assert (metric.name, metric.unit, point.WhichOneof("value")) == ("gross", "kg", field)
    assert (getattr(point, field), point.time_unix_nano) == (number, 1_767_225_600_123_000_000)
    assert {each.key: each.value.string_value for each in point.attributes} == {
        "namespace": "plant",
        "device": "scale",
    }


def test_what_is_no_number_is_no_metric() -> None:
    device: JsonObject = {
        "spec": {"properties": [{"name": "p", "pushMethod": {"otel": {"endpointURL": "http://h"}}}]}
    }
    model: JsonObject = {"spec": {"properties": [{"name": "p", "type": "STRING"}]}}
    assert push_targets(device, model) == (
        {},
        ("spec.properties[p].pushMethod.otel: metrics are numbers, and this is a STRING",),
    )


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_a_form_is_read_back_as_what_was_sent(prop: str, value: str) -> None:
    sent = payload(target({"http": HTTP}), told(prop=f"p{prop}", value=value))
    assert sent is not None
    assert parse_qs(sent.decode("ascii"), keep_blank_values=True, strict_parsing=True)[f"p{prop}"] == [value]


@given(st.builds(told, value=st.none() | st.text(max_size=20), prop=st.text(max_size=9), seq=st.integers(0, 2**60)))
def test_what_waits_is_read_back(reading: Told) -> None:
    queue = queue_name(reading.namespace, reading.device, reading.prop, target({"mqtt": MQTT}))
    assert decode_push(queue, encode_push(reading)) == reading


def test_published_devices_say_what_is_pushed_and_what_is_left_to_mappers() -> None:
    device = next(doc for doc in yaml.safe_load_all(EXAMPLE.read_text()) if doc["kind"] == "Device")
    found, untold = push_targets(device, None)
    assert {prop: [each.method for each in targets] for prop, targets in found.items()} == {
        "gross": ["http", "influxdb2"],
        "tare": ["mqtt"],
        "plate": ["otel"],
    }
    assert [each.place for each in found["gross"]] == ["http://127.0.0.1:9090", "http://127.0.0.1:8086"]
    assert sorted(each.partition(": ")[0].partition(".pushMethod.")[2] for each in untold) == [
        "anomalyDetection", "dbMethod.TDEngine", "dbMethod.mysql", "dbMethod.redis",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "ours", "said"),
    [
        ({"http": {"port": 1}}, {}, "p.pushMethod.http.hostName: required"),
        ({"http": {"hostName": "ftp://h"}}, {}, "p.pushMethod.http.hostName: must be a URL"),
        ({"http": {"hostName": "http://a:b@h"}}, {}, f"http.hostName: credentials are {AT}.http.username"),
        ({"http": {"hostName": "http://h", "port": 99999}}, {}, "http.port: 99999 is not one of"),
        ({"http": {"hostName": "http://h", "port": -1}}, {}, "http.port: -1 is not one of"),
        ({"http": {"hostName": "http://h:1", "port": 2}}, {}, "http.port: 2, and hostName says 1"),
        ({"http": {"hostName": "http://h/x", "port": 80}}, {}, "http.hostName: a path is written as requestPath"),
        ({"http": {"hostName": "http://h?x=1"}}, {}, "http.hostName: has neither ? nor #"),
        ({"http": {"hostName": "http://h#f"}}, {}, "http.hostName: has neither ? nor #"),
        ({"http": {"hostName": "http://[h"}}, {}, "http.hostName: 'http://[h' is no URL"),
        ({"http": {"hostName": "http://h", "requestPath": "/a b"}}, {}, "http.requestPath: blanks"),
        ({"http": {"hostName": "http://h", "requestPath": "/a#b"}}, {}, "http.requestPath: a server is not told"),
        ({"http": HTTP}, {"http": {"tls": {}}}, f"{AT}.http.tls is for https://"),
        ({"http": HTTP}, {"http": {"username": "ann"}}, f"{AT}.http: username and passwordFile belong together"),
        ({"http": HTTP}, {"http": {"tokenFile": "token"}}, f"{AT}.http.tokenFile: 'token' is no whole path"),
        (
            {"http": HTTP},
            {"http": {"tokenFile": "/t", "username": "a", "passwordFile": "/f"}},
            "has both tokenFile and username",
        ),
        ({"http": HTTP}, {"http": {"format": "xml"}}, f"{AT}.http.format: 'xml' is not one of kubeedge, json"),
        ({"http": HTTP}, {"http": {"fromat": "json"}}, "did you mean format"),
        ({"http": HTTP}, {"format": "json"}, f"{AT}.format"),
        ({"mqtt": MQTT}, {"mqtt": {"tokenFile": "/t"}}, f"{AT}.mqtt.tokenFile"),
        ({"mqtt": {"address": "tcp://a:b@h", "topic": "t"}}, {}, f"credentials are {AT}.mqtt.username"),
        ({"mqtt": {"address": "ws://h", "topic": "t"}}, {}, "write tcp://HOST:PORT"),
        ({"mqtt": {"address": "h:1883", "topic": "a/#"}}, {}, "mqtt.topic: required, without + and #"),
        ({"mqtt": {"address": "h:1883", "topic": "a", "qos": 3}}, {}, "mqtt.qos: 3 is not one of"),
        ({"mqtt": {"address": "tcp://[h", "topic": "a"}}, {}, "is no address"),
        ({"dbMethod": {"influxdb2": {}}}, {}, "influxdb2ClientConfig.bucket: required"),
        ({"dbMethod": {"http": HTTP}}, {}, "dbMethod.http: not done by this gateway"),
        ({"otel": {}}, {}, "otel.endpointURL: required"),
        ({"otel": {"endpointURL": "h:4318"}}, {}, "otel.endpointURL: must be a URL"),
        ({"otel": {"endpointURL": "http://a:b@h"}}, {}, f"otel.endpointURL: credentials are {AT}.otel.username"),
        ({"anomalyDetection": {"method": "x"}}, {}, "anomalyDetection: not done by this gateway"),
    ],
)
def test_what_can_t_be_pushed_to_is_said_with_its_field(asked: JsonObject, ours: JsonObject, said: str) -> None:
    found, (why,) = pushes_in({"pushMethod": asked}, {"push": ours} if ours else {}, "p")
    assert found == () and said in why


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"http": {"hostName": "http://10.0.0.9"}}, "http"),
        ({"mqtt": {"address": "10.0.0.8", "topic": "t"}}, "mqtt"),
        ({"otel": {"endpointURL": "http://collector:4318"}}, "otel"),
        (
            {"dbMethod": {"influxdb2": INFLUX | {"influxdb2ClientConfig": {"url": "http://db", "bucket": "b"}}}},
            "influxdb2",
        ),
    ],
)
def test_credentials_go_to_their_own_server_and_over_tls_unless_that_is_not_wanted(
    asked: JsonObject, named: str
) -> None:
    user: JsonObject = {"username": "ann", "passwordFile": "/f"}
    _, (why,) = pushes_in({"pushMethod": asked}, {"push": {named: user}}, "p")
    assert why.startswith(f"{AT}.{named}: credentials would go to ") and "say allowPlain: true" in why
    (_,), none = pushes_in({"pushMethod": asked}, {"push": {named: {**user, "allowPlain": True}}}, "p")
    assert none == ()
    both: JsonObject = {"http": {"hostName": "http://10.0.0.9"}, "mqtt": {"address": "tcp://localhost", "topic": "t"}}
    (http, mqtt), _ = pushes_in({"pushMethod": both}, {"push": {"mqtt": user}}, "p")
    assert isinstance(http.to, HttpPush) and isinstance(mqtt.to, MqttPush)
    assert (http.to.username, http.to.password_file, mqtt.to.broker.username) == ("", "", "ann")


def test_the_how_to_s_device_pushes_and_keeps_the_broker_s_password_to_the_broker() -> None:
    page = (
        (EXAMPLE.parents[2] / "docs" / "howto" / "send-readings-on.md")
        .read_text()
        .partition("## From the gateway")[2]
    )
    spec = yaml.safe_load(page.partition("```yaml")[2].partition("```")[0])
    found, untold = push_targets({"spec": spec}, None)
    http, mqtt = found["temperature"]
    assert untold == () and isinstance(http.to, HttpPush) and isinstance(mqtt.to, MqttPush)
    assert (http.to.password_file, mqtt.to.broker.tls, http.format) == ("", True, "json")


def test_a_broker_always_says_that_a_reading_arrived() -> None:
    for qos, sent in ((0, 1), (1, 1), (2, 2)):
        mqtt = target({"mqtt": {**MQTT, "qos": qos}})
        assert isinstance(mqtt.to, MqttPush) and mqtt.to.qos == sent


def test_what_kubeedge_leaves_open_has_a_default_and_credentials_come_from_files() -> None:
    for timeout, seconds in ((0, 10), (3, 3), (900, 60), (1500, 1.5)):
        timed = target({"http": {"hostName": "h", "timeout": timeout}})
        assert isinstance(timed.to, HttpPush) and timed.to.timeout_s == seconds
    bare = target({"http": {"hostName": "h/"}})
    assert isinstance(bare.to, HttpPush) and (bare.place, bare.to.target, bare.to.timeout_s) == ("http://h", "/", 10)
    secure = target(
        {"mqtt": {"address": "ssl://h", "topic": "t"}}, {"username": "a", "passwordFile": "/f", "tls": {}}
    )
    assert isinstance(secure.to, MqttPush)
    assert (secure.place, secure.to.broker.username, secure.to.broker.tls) == ("mqtts://h:8883", "a", True)

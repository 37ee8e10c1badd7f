"""Device rules are read whole or refused, with every field that is wrong and what to write instead."""

from __future__ import annotations

from typing import Any

import pytest

from skerry.errors import InvalidError
from skerry.objects.device_rules import (
    ACTIONS_MAX,
    FIRINGS,
    PAYLOAD_LENGTH_MAX,
    VALUES_MAX,
    AlarmAction,
    CallAction,
    DeviceRule,
    PublishAction,
    SetAction,
    followed_device,
    node_of_rule,
    read_rule,
)
from skerry.objects.json import JsonObject

PROPERTIES: dict[str, JsonObject] = {
    "temp": {"name": "temp", "type": "FLOAT", "accessMode": "ReadOnly"},
    "level": {"name": "level", "type": "INT", "minimum": "0", "maximum": "90"},
    "pump": {"name": "pump", "type": "BOOLEAN"},
    "name": {"name": "name", "type": "STRING"},
    "raw": {"name": "raw", "type": "BYTES"},
}


def type_of(device: str, prop: str) -> JsonObject | str | None:
    if device != "boiler":
        return None
    return PROPERTIES.get(prop) or f"model m has no property {prop}"


def spec(**more: Any) -> dict[str, Any]:
    return {
        "nodeName": "eu-1",
        "values": [
            {"name": "t", "device": "boiler", "property": "temp"},
            {"name": "pump", "device": "boiler", "property": "pump", "accept": ["good", "uncertain"]},
        ],
        "when": "t > 80 && !pump",
        "actions": [{"set": {"device": "boiler", "property": "pump", "value": "true"}}],
        **more,
    }


def read(**more: Any) -> DeviceRule:
    made = {key: value for key, value in spec(**more).items() if value is not ...}
    return read_rule({"metadata": {"name": "x", "namespace": "d", "uid": "u"}, "spec": made}, type_of)


def test_a_rule_is_read_with_what_it_leaves_out() -> None:
    rule = read()
    assert (rule.key.name, rule.key.namespace, rule.uid, rule.node) == ("x", "d", "u", "eu-1")
    assert (rule.mode, rule.priority, rule.firings) == ("Enforce", 0, FIRINGS)
    assert rule.sources[0].accept == {"good"}
    assert rule.sources[1].accept == {"good", "uncertain"}
    assert rule.when is not None
    assert rule.when.type == "bool"
    assert [*rule.named()] == [("boiler", "temp"), ("boiler", "pump")]
    assert [*rule.wanted()] == [("boiler", "pump")]
    assert not rule.watches_time
    assert read(when="age.t > 60.0").watches_time
    assert read(until="age.t < 1.0").watches_time


def test_a_rule_that_names_no_gateway_follows_the_first_device_that_it_names() -> None:
    spec: dict[str, Any] = {
        "values": [{"name": "t", "device": "a", "property": "p"}],
        "actions": [{"alarm": {}}, {"set": {"device": "b"}}],
        "otherwise": [{"set": {"device": "c"}}],
    }
    made: dict[str, Any] = {"spec": spec, "status": {"nodeName": "eu-1"}}
    assert (followed_device(made), node_of_rule(made)) == ("a", "eu-1")
    assert (followed_device({"spec": {**spec, "values": []}}), node_of_rule({"spec": spec})) == ("b", "")
    assert followed_device({"spec": {**spec, "values": [], "actions": [{"alarm": {}}]}}) == "c"
    named = {**made, "spec": {**spec, "nodeName": "us-1"}}
    assert (followed_device(named), node_of_rule(named)) == ("", "us-1")
    assert node_of_rule({"spec": {}, "status": {"nodeName": "eu-1"}}) == ""
    assert read(nodeName=...).node == ""


def test_actions_of_every_form_are_read() -> None:
    actions = [
        {"set": {"device": "boiler", "property": "level", "valueExpression": "int(t) + 1", "expiresSeconds": 60}},
        {"publish": {"topic": "a/b", "payloadExpression": "'t=' + string(t)"}, "deadlineSeconds": 5},
        {"call": {"port": 8080, "path": "/x?y", "headers": {"A": "b"}, "body": "hello"}, "atLeastOnce": True},
        {"alarm": {"severity": "Critical", "message": "too hot"}},
    ]
    rule = read(actions=actions, otherwise=[{"alarm": {"message": "over"}}])
    deeds = [action.deed for action in rule.actions]
    assert [type(deed) for deed in deeds] == [SetAction, PublishAction, CallAction, AlarmAction]
    assert isinstance(deeds[0], SetAction)
    assert deeds[0].expires_s == 60
    assert isinstance(deeds[2], CallAction)
    assert (deeds[2].method, deeds[2].headers) == ("POST", (("A", "b"),))
    assert [action.deadline_s for action in rule.actions] == [30, 5, 30, 30]
    assert [action.at_least_once for action in rule.actions] == [False, False, True, False]


def test_types_that_nobody_knows_yet_are_found_when_they_are_needed() -> None:
    other = {"name": "t", "device": "other", "property": "x"}
    assert read(values=[other], when="t > 80", actions=[{"alarm": {"message": "m"}}]).when is not None


@pytest.mark.parametrize(
    ("more", "field", "words"),
    [
        (
            {"nodeName": ..., "values": [], "when": "true", "actions": [{"alarm": {"message": "m"}}]},
            "spec.nodeName",
            "name the gateway",
        ),
        ({"nodeName": "A_"}, "spec.nodeName", "Invalid"),
        ({"when": ...}, "spec.when", "a condition, or a schedule"),
        ({"when": "t >"}, "spec.when", "at character 4"),
        ({"when": "t + 1.0"}, "spec.when", "true or false is wanted"),
        ({"when": "t == 'a'"}, "spec.when", "never equal"),
        ({"when": "level > 1"}, "spec.when", "there are: age, previous, pump, quality, t"),
        ({"until": "x"}, "spec.until", "no name"),
        ({"mode": "Maybe"}, "spec.mode", "write Enforce, Shadow, Off"),
        ({"priority": 101}, "spec.priority", "between -100 and 100"),
        ({"forSeconds": -1}, "spec.forSeconds", "between 0"),
        ({"limit": {"count": 0}}, "spec.limit.count", "between 1"),
        ({"limit": {"seconds": 0}}, "spec.limit.seconds", "between 1"),
        ({"schedule": "0 6 * *"}, "spec.schedule", "five fields"),
        ({"schedule": "@daily", "timeZone": "Mars/Base"}, "spec.timeZone", "Europe/Berlin"),
        ({"timeZone": "UTC"}, "spec.timeZone", "no schedule"),
        ({"schedule": "@daily", "until": "true"}, "spec.until", "leave it out"),
        ({"schedule": "@daily", "otherwise": []}, "spec.otherwise", "leave it out"),
        ({"actions": []}, "spec.actions", "set, publish, call, alarm"),
        ({"actions": [{"alarm": {"message": "m"}}] * (ACTIONS_MAX + 1)}, "spec.actions", "Too many"),
        ({"values": [{"name": "t", "device": "boiler", "property": "temp"}] * 2}, "spec.values[1].name", "Duplicate"),
        (
            {"values": [{"name": f"v{n}", "device": "boiler", "property": "temp"} for n in range(VALUES_MAX + 1)]},
            "spec.values",
            "Too many",
        ),
        ({"values": [{"name": "in", "device": "a", "property": "b"}]}, "spec.values[0].name", "taken"),
        ({"values": [{"name": "age", "device": "a", "property": "b"}]}, "spec.values[0].name", "taken"),
        ({"values": [{"name": "1", "device": "a", "property": "b"}]}, "spec.values[0].name", "letters"),
        ({"values": [{"name": "v", "property": "b"}]}, "spec.values[0].device", "name a Device"),
        ({"values": [{"name": "v", "device": "A", "property": "b"}]}, "spec.values[0].device", "Invalid"),
        ({"values": [{"name": "v", "device": "a"}]}, "spec.values[0].property", "name a property"),
        (
            {"values": [{"name": "v", "device": "boiler", "property": "z"}]},
            "spec.values[0].property",
            "no property z",
        ),
        ({"values": [{"name": "v", "device": "boiler", "property": "raw"}]}, "spec.values[0].property", "BYTES"),
        (
            {"values": [{"name": "t", "device": "a", "property": "b", "accept": ["fine"]}]},
            "spec.values[0].accept",
            "good, uncertain, bad, stale",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_its_field_and_the_mend(more: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidError) as caught:
        read(**more)
    found = {cause.field: cause.message for cause in caught.value.causes}
    assert field in found
    assert words in found[field]


@pytest.mark.parametrize(
    ("action", "field", "words"),
    [
        ({}, "", "exactly one of"),
        ({"set": {}, "alarm": {}}, "", "exactly one of"),
        ({"alarm": {"message": "m"}, "deadlineSeconds": 0}, ".deadlineSeconds", "between 1"),
        ({"set": {"device": "boiler", "property": "pump"}}, ".set.value", "valueExpression"),
        ({"set": {"device": "boiler", "property": "pump", "value": "7"}}, ".set.value", "not a BOOLEAN"),
        ({"set": {"device": "boiler", "property": "level", "value": "91"}}, ".set.value", "above the maximum"),
        ({"set": {"device": "boiler", "property": "temp", "value": "7"}}, ".set.value", "read-only"),
        (
            {"set": {"device": "boiler", "property": "temp", "valueExpression": "t + 1.0"}},
            ".set.property",
            "read-only",
        ),
        ({"set": {"device": "boiler", "property": "z", "value": "7"}}, ".set.property", "no property z"),
        (
            {"set": {"device": "boiler", "property": "pump", "valueExpression": "1"}},
            ".set.valueExpression",
            "true or false is wanted",
        ),
        (
            {"set": {"device": "boiler", "property": "level", "valueExpression": "t"}},
            ".set.valueExpression",
            "a whole number",
        ),
        (
            {"set": {"device": "boiler", "property": "level", "value": "1", "valueExpression": "1"}},
            ".set.value",
            "leave one out",
        ),
        ({"publish": {"payload": ""}}, ".publish.topic", "name a topic"),
        ({"publish": {"topic": "a/#", "payload": ""}}, ".publish.topic", "can't have"),
        *(
            ({"publish": {"topic": topic, "payload": ""}}, ".publish.topic", "use set")
            for topic in (
                "$hw/events/device/other/d/twin/update",
                "$hw/events/node/n/membership/get",
                "$SYS/x",
                "$share/g/x",
                "skerry/gw/other/d/p/set",
            )
        ),
        ({"publish": {"topic": "a"}}, ".publish.payload", "payloadExpression"),
        ({"publish": {"topic": "a", "payload": "x" * (PAYLOAD_LENGTH_MAX + 1)}}, ".publish.payload", "Too long"),
        ({"publish": {"topic": "a", "payloadExpression": "t"}}, ".publish.payloadExpression", "a string is wanted"),
        ({"call": {}}, ".call.port", "between 1 and 65535"),
        ({"call": {"port": 80, "method": "BREW"}}, ".call.method", "GET"),
        ({"call": {"port": 80, "path": "x"}}, ".call.path", "slash"),
        ({"call": {"port": 80, "headers": {"a b": "c"}}}, ".call.headers[a b]", "header"),
        *(
            ({"call": {"port": 80, "headers": {"a": value}}}, ".call.headers[a]", "header")
            for value in ("a\nb", "a\x01", " a", "a ", "\u20ac", "x" * 1025)
        ),
        *(
            ({"call": {"port": 80, "headers": {name: "1"}}}, f".call.headers[{name}]", "leave it out")
            for name in ("Host", "content-length", "Transfer-Encoding", "Connection", "Idempotency-Key")
        ),
        ({"alarm": {}}, ".alarm.message", "messageExpression"),
        ({"alarm": {"message": "m", "severity": "Loud"}}, ".alarm.severity", "Critical"),
    ],
)
def test_what_is_wrong_with_an_action_is_said_at_its_place(action: dict[str, Any], field: str, words: str) -> None:
    for name in ("actions", "otherwise"):
        more: dict[str, Any] = {name: [action]}
        with pytest.raises(InvalidError) as caught:
            read(**more)
        found = {cause.field: cause.message for cause in caught.value.causes}
        assert f"spec.{name}[0]{field}" in found
        assert words in found[f"spec.{name}[0]{field}"]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidError) as caught:
        read(nodeName="A_", when="t >", mode="Maybe")
    assert {cause.field for cause in caught.value.causes} == {"spec.nodeName", "spec.when", "spec.mode"}
